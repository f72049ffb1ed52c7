"""Making a backup, coming back from one, and letting in who did."""

from exercised import refuses, works
from stories_members import refuse_appends, swallow_appends

from core_kit.backups import bring, cheap, make, opened, refused
from meshd.keys.states import KeysNotReady
from meshd.restoring import known_as_device
from world.machine import Machine
from world.world import World

PASSPHRASE = "correct horse battery"


async def pair(world: World) -> tuple[Machine, Machine, bytes]:
    """Ann and bob, and ann's backup with all that it can hold."""
    ann, bob = await world.mesh("ann", "bob")
    return ann, bob, await make(ann, recovery=True, include_device_key=True)


async def restored(world: World) -> tuple[Machine, Machine, str]:
    """Ann, bob, and the code of a machine that was restored from ann's backup without its recovery key."""
    ann, bob = await world.mesh("ann", "bob")
    new = await world.machine("new")
    (row,) = (await opened(new, "backup.restore", await make(ann)))["meshes"]
    return ann, bob, str(row["code"])


@works("backup.make")
async def a_backup_names_what_it_holds_and_leaves_out(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await ann.call("mesh.new", name="here", me="ann")
    ann.app.shipments.stretched = cheap
    made = await ann.call("backup.make", passphrase=PASSPHRASE, recovery=True)
    assert (made["meshes"], made["left_out"], made["recovery"]) == (["team"], ["here"], ["team"])
    assert made["device_key"] is False
    assert (await ann.call("backup.make", passphrase=PASSPHRASE))["recovery"] == []


@refuses("backup.make", "no_mesh")
async def a_backup_of_nothing(world: World) -> str:
    return await (await world.machine("ann")).refusal("backup.make", passphrase=PASSPHRASE)


@refuses("backup.make", "mesh_local_only")
async def a_backup_of_what_ends_with_this_machine(world: World) -> str:
    ann = await world.machine("ann")
    await ann.call("mesh.new", name="here", me="ann")
    return await ann.refusal("backup.make", passphrase=PASSPHRASE)


@refuses("backup.make", "not_found")
async def a_backup_of_recovery_keys_that_are_not_here(world: World) -> str:
    _, bob = await world.mesh("ann", "bob")
    return await bob.refusal("backup.make", passphrase=PASSPHRASE, recovery=True)


def no_memory(passphrase: bytes, salt: bytes) -> bytes:
    raise KeysNotReady("256 MiB of memory were not to be had; try again")


@refuses("backup.make", "keys_unavailable")
async def a_backup_on_a_machine_without_memory(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    ann.app.shipments.stretched = no_memory
    return await ann.refusal("backup.make", passphrase=PASSPHRASE)


@refuses("backup.make", "too_large")
async def a_backup_beyond_all_bounds(world: World) -> str:
    import meshd.families.backup as family

    ann, _ = await world.mesh("ann", "bob")
    ann.app.shipments.stretched = cheap
    limit, family.MAX_BACKUP = family.MAX_BACKUP, 1_000  # type: ignore[misc]
    try:
        return await ann.refusal("backup.make", passphrase=PASSPHRASE)
    finally:
        family.MAX_BACKUP = limit  # type: ignore[misc]


@works("backup.read")
async def a_backup_is_read_once(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    ann.app.shipments.stretched = cheap
    made = await ann.call("backup.make", passphrase=PASSPHRASE)
    piece = await ann.call("backup.read", parcel=made["parcel"], offset=0)
    assert (len(piece["body"]), piece["more"]) == (made["size"], False)
    assert await ann.refusal("backup.read", parcel=made["parcel"], offset=0) == "not_found"


@refuses("backup.read", "not_found")
async def reading_a_backup_that_nobody_made(world: World) -> str:
    return await (await world.machine("ann")).refusal("backup.read", parcel="ab" * 16, offset=0)


@works("backup.bring")
async def a_backup_comes_in_pieces(world: World) -> None:
    ann, _, data = await pair(world)
    parcel = await bring(ann, data, piece=700)
    ann.app.shipments.stretched = cheap
    assert (await ann.call("backup.check", parcel=parcel, passphrase=PASSPHRASE))["meshes"]


@refuses("backup.bring", "not_found")
async def going_on_with_a_backup_that_was_not_begun(world: World) -> str:
    ann = await world.machine("ann")
    return await ann.refusal("backup.bring", size=10, parcel="ab" * 16, body=b"x")


@refuses("backup.bring", "too_large")
async def bringing_too_large_a_backup(world: World) -> str:
    return await (await world.machine("ann")).refusal("backup.bring", size=2**31, body=b"x")


@works("backup.check")
async def a_backup_is_verified_and_shown(world: World) -> None:
    ann, _, data = await pair(world)
    told = await opened(ann, "backup.check", data)
    (row,) = told["meshes"]
    assert (told["device"], told["device_key"]) == (ann.app.node.device.hex(), True)
    assert (row["mesh"], row["me"], row["members"], row["recovery"]) == ("team", "ann", 2, True)
    (status,) = (await ann.call("daemon.status"))["meshes"]
    assert status["recovery_key"] == "not backed up", "looking changes nothing"


@works("backup.confirm")
async def a_verified_backup_counts_for_its_recovery_keys(world: World) -> None:
    ann, _, data = await pair(world)
    assert (await opened(ann, "backup.confirm", data, drop_recovery=True))["dropped"] == ["team"]
    (status,) = (await ann.call("daemon.status"))["meshes"]
    assert status["recovery_key"] == "offline"


@works("backup.restore")
async def a_restored_machine_has_the_mesh_and_waits_to_be_let_in(world: World) -> None:
    ann, _, _ = await pair(world)
    new = await world.machine("new")
    told = await opened(new, "backup.restore", await make(ann))
    (row,) = told["meshes"]
    assert (told["restart"], row["state"], row["ask"]) == (False, "waiting", "nobody else")
    assert not known_as_device(new.app.node, new.mesh().id)
    assert len((await new.call("member.list"))["members"]) == 2


async def _opening(world: World, method: str, code: str) -> str:
    ann, _, data = await pair(world)
    if code == "not_found":
        return await ann.refusal(method, parcel="ab" * 16, passphrase=PASSPHRASE)
    if code == "bad_backup":
        return await refused(ann, method, data, passphrase="another passphrase")
    parcel = await bring(ann, data)
    ann.app.shipments.stretched = no_memory
    return await ann.refusal(method, parcel=parcel, passphrase=PASSPHRASE)


def _register(method: str, code: str) -> None:
    @refuses(method, code)
    async def story(world: World) -> str:
        return await _opening(world, method, code)


for _method in ("backup.check", "backup.confirm", "backup.restore"):
    for _code in ("not_found", "bad_backup", "keys_unavailable"):
        _register(_method, _code)


@works("backup.recovery")
async def the_recovery_key_can_be_printed(world: World) -> None:
    ann, _, _ = await pair(world)
    told = await ann.call("backup.recovery", mesh="team")
    assert (told["mesh"], len(told["key"].split("-"))) == ("team", 14)


@refuses("backup.recovery", "not_found")
async def printing_a_recovery_key_that_is_not_here(world: World) -> str:
    _, bob, _ = await pair(world)
    return await bob.refusal("backup.recovery")


@refuses("backup.recovery", "no_mesh")
async def printing_a_recovery_key_of_no_mesh(world: World) -> str:
    return await (await world.machine("ann")).refusal("backup.recovery")


@refuses("backup.recovery", "unknown_mesh")
async def printing_a_recovery_key_of_another_mesh(world: World) -> str:
    ann, _, _ = await pair(world)
    return await ann.refusal("backup.recovery", mesh="nowhere")


@works("device.restore")
async def a_restored_machine_is_let_in(world: World) -> None:
    ann, _, code = await restored(world)
    told = await ann.call("device.restore", peer="ann", code=code)
    new = world.machines["new"]
    assert (told["device"], told["member"], told["epoch"]) == (new.app.node.device.hex(), "ann", 2)
    await new.until_online()


@refuses("device.restore", "unknown_recipient")
async def letting_in_for_nobody(world: World) -> str:
    ann, _, code = await restored(world)
    return await ann.refusal("device.restore", peer="zoe", code=code)


@refuses("device.restore", "unknown_mesh")
async def letting_into_another_mesh(world: World) -> str:
    ann, _, code = await restored(world)
    return await ann.refusal("device.restore", peer="ann", code=code, mesh="nowhere")


@refuses("device.restore", "no_mesh")
async def letting_into_no_mesh(world: World) -> str:
    return await (await world.machine("ann")).refusal("device.restore", peer="ann", code="x" * 20)


@refuses("device.restore", "broker_unreachable")
async def letting_in_without_a_broker(world: World) -> str:
    ann, _, code = await restored(world)
    await world.unplug(ann)
    return await ann.refusal("device.restore", peer="ann", code=code)


@refuses("device.restore", "timeout")
async def letting_in_by_a_broker_that_does_not_answer(world: World) -> str:
    ann, _, code = await restored(world)
    swallow_appends(world, ann)
    return await ann.refusal("device.restore", peer="ann", code=code)


@refuses("device.restore", "broker_refused")
async def letting_in_by_a_broker_without_room(world: World) -> str:
    ann, _, code = await restored(world)
    refuse_appends(world, ann)
    return await ann.refusal("device.restore", peer="ann", code=code)
