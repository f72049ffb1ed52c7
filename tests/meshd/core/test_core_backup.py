"""Backups, and coming back from them: as a new machine, by the recovery key, and as the very machine that was lost."""

import trio

from core_kit.backups import PASSPHRASE, bring, cheap, make, opened, refused
from meshd.recovery import parse_recovery, recovery_key
from meshd.store.recovery import read_recovery
from world.machine import Machine
from world.world import World


def device(machine: Machine) -> bytes:
    return machine.app.node.device


async def talk(world: World, one: Machine, two: Machine, text: str = "hello") -> None:
    """Something written by the person of one machine arrives at the other."""
    await one.send(two.name, text, wait="stored")

    async def has() -> bool:
        return text in await two.read()

    await world.until(has, what=f"{two.name} read it")


async def checked(machine: Machine, name: str) -> list[str]:
    """What doctor says under that name."""
    checks = (await machine.call("daemon.doctor"))["checks"]
    return [f"{check['ok']}: {check['text']}" for check in checks if check["name"] == name]


# The recovery key.


async def test_a_recovery_key_is_kept_and_asked_for_until_it_is_in_a_verified_backup(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    key = recovery_key(ann.app.node, ann.mesh())
    assert key is not None
    assert key.public == ann.mesh().state.genesis.recovery_pub
    assert recovery_key(bob.app.node, bob.mesh()) is None
    assert await checked(ann, "recovery team") == ["warn: the recovery key of team has not been backed up"]
    assert await checked(bob, "recovery team") == []
    data = await make(ann, recovery=True)
    assert len(await checked(ann, "recovery team")) == 1, "made is not verified"
    await opened(ann, "backup.confirm", data)
    assert await checked(ann, "recovery team") == []
    (status,) = (await ann.call("daemon.status"))["meshes"]
    assert status["recovery_key"] == "backed up"
    await ann.restart()
    assert recovery_key(ann.app.node, ann.mesh()) is not None


async def test_a_backup_without_recovery_keys_counts_for_none(world: World) -> None:
    (ann,) = await world.mesh("ann")
    told = await opened(ann, "backup.confirm", await make(ann), drop_recovery=True)
    assert told["dropped"] == []
    assert recovery_key(ann.app.node, ann.mesh()) is not None
    assert len(await checked(ann, "recovery team")) == 1


async def test_a_dropped_recovery_key_is_in_the_backup_alone(world: World) -> None:
    (ann,) = await world.mesh("ann")
    printed = (await ann.call("backup.recovery"))["key"]
    data = await make(ann, recovery=True)
    assert (await opened(ann, "backup.confirm", data, drop_recovery=True))["dropped"] == ["team"]
    assert recovery_key(ann.app.node, ann.mesh()) is None
    assert await ann.refusal("backup.recovery") == "not_found"
    assert await ann.refusal("backup.make", passphrase="correct horse", recovery=True) == "not_found"
    (status,) = (await ann.call("daemon.status"))["meshes"]
    assert status["recovery_key"] == "offline"
    assert parse_recovery(printed).public == ann.mesh().state.genesis.recovery_pub
    row = read_recovery(ann.app.node.db.reader, ann.mesh().id)
    assert row is not None
    assert row.sealed is None


# A new machine.


async def test_another_machine_of_ones_own_lets_a_restored_one_in(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.call("trust.set", peer="bob", policy="hold")
    data = await make(ann)
    new = await world.machine("new")
    told = await opened(new, "backup.restore", data)
    (row,) = told["meshes"]
    assert (row["mesh"], row["me"], row["state"], row["ask"]) == ("team", "ann", "waiting", "nobody else")
    assert (await new.call("trust.list"))["peers"][0]["policy"] == "hold"
    await world.until(lambda: new.mesh().link.value == "refused", what="it is no device yet")
    (status,) = (await new.call("daemon.status"))["meshes"]
    assert "let this restored one in" in status["waiting_for"]
    early = await new.send("bob", "written before it was let in")
    assert (await new.progress(early))["state"] == "queued"
    admitted = await ann.call("device.restore", peer="ann", code=row["code"])
    assert (admitted["device"], admitted["unsealed"]) == (device(new).hex(), [])
    await new.until_online()
    assert new.mesh().keys is not None
    assert sorted(new.mesh().keys.epochs) == sorted(ann.mesh().keys.epochs)  # type: ignore[union-attr]
    assert device(new) in new.mesh().state.signers
    await talk(world, bob, ann)
    await new.until_state(early, "stored")
    await talk(world, new, bob, "from the new machine")


async def test_who_waits_to_be_let_in_is_there_within_half_a_minute_of_it_however_long_that_took(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    data = await make(ann)
    for waited in (10, 30, 45, 100):
        new = await world.machine(f"new{waited}")
        told = await opened(new, "backup.restore", data)
        await trio.sleep(waited)
        await ann.call("device.restore", peer="ann", code=told["meshes"][0]["code"])
        await new.until_online(31)
        await ann.call("device.revoke", device=device(new).hex())


async def test_who_has_no_machine_left_is_let_in_by_a_signer_and_everybody_is_told(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    data = await make(bob)
    new = await world.machine("new")
    (row,) = (await opened(new, "backup.restore", data))["meshes"]
    assert row["ask"] == "ann"
    assert await ann.refusal("device.restore", peer="bob", code=row["code"]) == "not_allowed"
    assert await cid.refusal("device.restore", peer="bob", code=row["code"]) == "not_allowed"
    await bob.crash()
    await ann.call("device.revoke", device=device(bob).hex())
    assert await cid.refusal("device.restore", peer="bob", code=row["code"]) == "not_allowed"
    await ann.call("device.restore", peer="bob", code=row["code"])
    await new.until_online()
    await world.until(lambda: cid.mesh().state.is_active(device(new)), what="cid knows the new machine")
    assert await cid.refusal("message.send", to="bob", message="a secret") == "peer_changed"
    shown = await cid.call("verify.show", peer="bob")
    assert shown["state"] == "changed"
    await cid.call("verify.confirm", peer="bob", number=shown["digits"])
    sent = await cid.send("bob", "hello")
    await cid.until_state(sent, "stored")
    assert await new.read() == ["hello"]


async def test_a_code_is_for_its_mesh_and_is_copied_whole(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    new = await world.machine("new")
    (row,) = (await opened(new, "backup.restore", await make(ann)))["meshes"]
    code = row["code"]
    await ann.call("mesh.new", name="other", me="ann", broker=next(iter(world.network.brokers)))
    for wrong in (code[:-4], code[:40] + ("A" if code[40] != "A" else "B") + code[41:], "x", "é" * 20, code + code):
        assert await ann.refusal("device.restore", peer="ann", code=wrong, mesh="team") == "bad_request"
    assert await ann.refusal("device.restore", peer="ann", code=code, mesh="other") == "bad_request"


async def test_restoring_twice_or_where_it_came_from_changes_nothing(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    data = await make(ann)
    assert [row["state"] for row in (await opened(ann, "backup.restore", data))["meshes"]] == ["here"]
    new = await world.machine("new")
    (first,) = (await opened(new, "backup.restore", data))["meshes"]
    await new.restart()
    (again,) = (await opened(new, "backup.restore", data))["meshes"]
    assert again == first
    await ann.call("device.restore", peer="ann", code=again["code"])
    await new.until_online()
    assert [row["state"] for row in (await opened(new, "backup.restore", data))["meshes"]] == ["here"]


# The recovery key lets in.


async def test_with_all_machines_lost_the_recovery_key_lets_a_new_one_in(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    data = await make(ann, recovery=True)
    await ann.crash()
    new = await world.machine("new")
    (row,) = (await opened(new, "backup.restore", data))["meshes"]
    assert (row["state"], "another machine" in row["why"]) == ("waiting", True)
    (row,) = (await opened(new, "backup.restore", data, lost=True))["meshes"]
    assert (row["state"], len(row["revoked"])) == ("restored", 1)
    await new.until_online()
    state = new.mesh().state
    assert (state.is_active(device(ann)), device(new) in state.signers) == (False, True)
    assert state.member_of(device(new)).role == "owner"  # type: ignore[union-attr]
    await world.until(lambda: bob.mesh().state.is_active(device(new)), what="bob knows the new machine")
    assert await bob.refusal("message.send", to="ann", message="a secret") == "peer_changed"
    assert (await bob.call("verify.show", peer="ann"))["changes"][0]["signed_by"] == "the recovery key"
    await talk(world, new, bob)
    await new.call("mesh.invite")
    assert recovery_key(new.app.node, new.mesh()) is not None
    assert await checked(new, "recovery team") == []


async def test_who_was_removed_comes_back_by_the_recovery_key_as_an_owner(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    data = await make(ann, recovery=True)
    await ann.call("member.role", peer="bob", role="owner")
    await bob.call("member.remove", peer="ann")
    await ann.crash()
    new = await world.machine("new")
    (row,) = (await opened(new, "backup.restore", data))["meshes"]
    assert (row["state"], row["me"]) == ("restored", "ann")
    await new.until_online()
    member = new.mesh().state.member_of(device(new))
    assert member is not None
    assert (member.role, new.mesh().row.member) == ("owner", member.member_id)
    await world.until(lambda: bob.mesh().state.is_active(device(new)), what="bob knows the new machine")
    await talk(world, new, bob)
    await new.restart()
    await new.until_online()


async def test_a_broker_that_is_away_is_waited_for_and_another_in_its_place_gets_no_word_of_the_recovery_key(
    world: World,
) -> None:
    ann, _ = await world.mesh("ann", "bob")
    data = await make(ann, recovery=True)
    await ann.crash()
    new = await world.machine("new")
    (url, house), *_ = world.network.brokers.items()
    world.cable(new).down = True
    (row,) = (await opened(new, "backup.restore", data, lost=True))["meshes"]
    assert (row["state"], "does not answer" in row["why"]) == ("waiting", True)
    other = await world.broker(name="another")
    world.cable(new).down = False
    world.network.brokers[url] = other
    (row,) = (await opened(new, "backup.restore", data, lost=True))["meshes"]
    assert (row["state"], "another key" in row["why"]) == ("waiting", True)
    assert not [line for line in other.log if '"recovery"' in line or '"hello' in line]
    world.network.brokers[url] = house
    (row,) = (await opened(new, "backup.restore", data, lost=True))["meshes"]
    assert row["state"] == "restored"
    await new.until_online(120)


async def test_two_machines_restored_by_one_recovery_key_at_once_leave_the_last_one_in(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    data = await make(ann, recovery=True)
    await ann.crash()
    one, two = await world.machine("one"), await world.machine("two")
    states: list[str] = []

    async def restore(machine: Machine) -> None:
        (row,) = (await opened(machine, "backup.restore", data, lost=True))["meshes"]
        states.append(row["state"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(restore, one)
        nursery.start_soon(restore, two)
    assert states == ["restored", "restored"]
    await world.until(
        lambda: sum(bob.mesh().state.is_active(device(each)) for each in (one, two)) == 1, what="one of them is left"
    )
    left = one if bob.mesh().state.is_active(device(one)) else two
    await left.until_online(120)
    await talk(world, left, bob)


# The very machine.


async def test_the_same_machine_comes_back_and_the_lost_one_is_refused(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    data = await make(ann, include_device_key=True)
    for _ in range(3):
        await ann.restart()  # its generation goes on rising after the backup
    await ann.until_online()
    new = await world.machine("new")
    told = await opened(new, "backup.restore", data, same_device=True)
    assert (told["restart"], told["device"]) == (True, device(ann).hex())
    await new.restart()
    await new.until_online()
    assert device(new) == device(ann)
    await world.until(lambda: ann.mesh().link.value == "refused", what="the lost machine is refused")
    assert "another daemon uses this machine's key" in ann.mesh().link_why
    await ann.restart()
    await world.until(lambda: ann.mesh().link.value == "refused", what="also after a start")
    assert new.mesh().link.value == "online"
    await talk(world, bob, _as(new, "ann"))
    await talk(world, new, bob, "back again")
    world.take_errors()


def _as(machine: Machine, name: str) -> Machine:
    machine.name = name
    return machine


async def test_what_was_on_its_way_to_the_lost_machine_is_sealed_anew_for_the_restored_one(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    data = await make(ann, include_device_key=True)
    await ann.crash()
    sent = await bob.send("ann", "are you there?", wait="accepted")
    new = await world.machine("new")
    await opened(new, "backup.restore", data, same_device=True)
    await new.restart()
    await bob.until_state(sent, "stored")
    assert await new.read() == ["are you there?"]
    for text in ("to a key that bob had taken before", "and now?"):
        later = await bob.send("ann", text)
        await bob.until_state(later, "stored")
    rows = bob.app.node.db.reader.execute("SELECT attempt FROM delivery WHERE msg_id=?", (bytes.fromhex(later["id"]),))
    assert [row[0] for row in rows] == [1], (
        "the broker has new one-time prekeys in the place of those that nobody can open"
    )


async def test_the_audit_of_a_restored_machine_begins_anew_and_is_whole(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    data = await make(ann, include_device_key=True)
    await ann.crash()
    new = await world.machine("new")
    await opened(new, "backup.restore", data, same_device=True)
    await new.restart()
    assert (await new.call("audit.verify"))["entries"] > 0


async def test_a_machine_in_a_mesh_does_not_become_another(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    data = await make(ann, include_device_key=True)
    before = device(bob)
    assert await refused(bob, "backup.restore", data, same_device=True) == "not_allowed"
    await bob.restart()
    assert device(bob) == before


async def test_a_machine_under_a_passphrase_becomes_the_restored_one_when_it_is_unlocked(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    data = await make(ann, include_device_key=True)
    wanted = device(ann)
    await ann.crash()
    new = await world.machine("new")
    await new.stop()
    new.stretch = lambda passphrase, salt: cheap(bytes(passphrase), salt)
    await new.start()
    await new.call("keys.protect", passphrase=PASSPHRASE)
    await opened(new, "backup.restore", data, same_device=True)
    await new.stop()
    await new.start(locked=True)
    assert (await new.call("keys.unlock", passphrase=PASSPHRASE))["keys"] == "keys: file, passphrase"
    assert device(new) == wanted
    new.connect_surroundings()
    await new.until_online()


async def test_a_machine_that_becomes_another_enters_no_mesh_before(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    data = await make(ann, include_device_key=True)
    url = await world.invite(ann)
    new = await world.machine("new")
    await opened(new, "backup.restore", data, same_device=True)
    assert await new.refusal("mesh.join", url=url, me="new") == "not_allowed"
    assert await new.refusal("mesh.new", name="other", me="new") == "not_allowed"
    for same in (True, False):
        assert await refused(new, "backup.restore", data, same_device=same) == "not_allowed"
    await ann.crash()
    await new.restart()
    await new.until_online()
    assert (await new.call("mesh.new", name="other", me="ann"))["mesh"] == "other"


async def test_a_backup_without_the_machines_key_cannot_be_that_machine(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    new = await world.machine("new")
    before = device(new)
    assert await refused(new, "backup.restore", await make(ann), same_device=True) == "bad_backup"
    await new.restart()
    assert device(new) == before


# The bytes.


async def test_only_the_right_passphrase_and_every_byte_open_a_backup(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    data = await make(ann, recovery=True, include_device_key=True)
    assert await refused(ann, "backup.check", data, passphrase="another one") == "bad_backup"
    step = max(1, len(data) // 60)
    for place in [*range(60), *range(60, len(data), step), len(data) - 1]:
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        assert await refused(ann, "backup.check", changed) == "bad_backup", place
    for cut in (data[:-1], data[:40], data + b"\0", b"meshd-backup-1\n", b"x"):
        assert await refused(ann, "backup.check", cut) == "bad_backup"


async def test_nothing_secret_stands_readable_in_a_backup(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    data = await make(ann, recovery=True, include_device_key=True)
    keys = ann.mesh().keys
    assert keys is not None
    for secret in (keys.name_key, *keys.epochs.values(), ann.app.keystore.device_seed(), b"ann", b"team", device(ann)):
        assert secret not in data


async def test_pieces_that_do_not_fit_are_refused(world: World) -> None:
    (ann,) = await world.mesh("ann")
    data = await make(ann)
    parcel = (await ann.call("backup.bring", size=len(data), body=data[:100]))["parcel"]
    assert await ann.refusal("backup.check", parcel=parcel, passphrase="x" * 8) == "not_found"
    assert await ann.refusal("backup.bring", size=len(data), parcel=parcel, body=data) == "bad_request"
    assert await ann.refusal("backup.bring", size=len(data), parcel=parcel, body=b"x") == "not_found"
    assert await ann.refusal("backup.bring", size=2**30, body=b"x") == "too_large"
    whole = await bring(ann, data)
    assert await ann.refusal("backup.read", parcel=whole, offset=0) == "not_found"
