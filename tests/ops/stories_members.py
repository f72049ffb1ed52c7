"""Members and devices: listed, taken out, given roles; and what every change of the membership may end with."""

from collections.abc import Callable
from functools import partial

from exercised import REFUSALS, refuses, works

from mesh_protocol.wire.codec import decode, encode
from mesh_protocol.wire.framing import encode_frame, split_message
from world.machine import Machine
from world.world import World

CHANGES: dict[str, dict[str, object]] = {
    "member.remove": {"peer": "bob"},
    "member.kick": {"peer": "bob"},
    "member.ban": {"peer": "bob"},
    "member.unban": {"peer": "bob"},
    "member.role": {"peer": "bob", "role": "admin"},
    "member.allow": {"peer": "bob", "keys": ["invite"]},
    "member.deny": {"peer": "bob", "keys": ["send"]},
    "device.revoke": {},
}


async def rows(machine: Machine, method: str = "member.list", field: str = "members") -> list[dict[str, object]]:
    found = (await machine.call(method))[field]
    assert isinstance(found, list)
    return found


async def state_of(machine: Machine, name: str) -> object:
    return next(row["state"] for row in await rows(machine) if row["member"] == name)


@works("member.list")
async def members_are_listed(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    for machine, me in ((ann, "ann"), (bob, "bob")):
        listed = await rows(machine)
        assert [(row["member"], row["role"], row["state"], row["signer"], row["devices"]) for row in listed] == [
            ("ann", "owner", "member", True, 1),
            ("bob", "member", "member", False, 1),
        ]
        assert [row["member"] for row in listed if row["me"]] == [me]


@works("device.list")
async def devices_are_listed(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    first, second = await rows(bob, "device.list", "devices")
    assert (first["member"], first["here"], first["signer"], first["state"]) == ("ann", False, True, "active")
    assert (second["member"], second["here"], second["signer"]) == ("bob", True, False)
    assert second["device"] == bob.app.node.device.hex()
    assert second["added_by"] == f"ann {ann.app.node.device.hex()[:8]}"
    assert [(row["mine"], row["online"]) for row in (first, second)] == [(False, True), (True, True)]
    assert second["added_ms"] > 0
    assert first["seen_ms"] > 0
    await world.settle(120)
    await ann.stop()
    await world.settle(120)
    first, second = await rows(bob, "device.list", "devices")
    assert (first["online"], second["online"]) == (False, True)
    dan = await world.machine("dan")
    assert await dan.refusal("device.list") == "no_mesh"


async def removal(world: World, method: str, state: str) -> None:
    ann, bob, _ = await world.mesh("ann", "bob", "cid")
    await world.invite(ann)
    (invite,) = [each.hex() for each, found in ann.mesh().state.invites.items() if found.open]
    gone = await ann.call(method, peer="bob")
    assert (gone["member"], gone["state"], gone["epoch"]) == ("bob", state, 2)
    assert (gone["devices"], gone["invites_closed"], gone["invites"]) == (1, 1, [invite[:12]])
    assert (gone["confirmed"], gone["waiting"], gone["unsealed"]) == (1, [], [])
    assert await state_of(ann, "bob") == state
    await world.until(lambda: bob.mesh().link.value == "refused", what="bob is told")


for _method, _state in (("member.remove", "removed"), ("member.kick", "removed"), ("member.ban", "banned")):
    works(_method)(partial(removal, method=_method, state=_state))


@works("member.removals")
async def removals_are_listed_with_who_holds_them(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    assert (await cid.call("member.removals"))["removals"] == []
    await ann.call("member.ban", peer="bob")
    await ann.call("device.revoke", device=cid.app.node.device.hex()[:12])
    second, first = (await ann.call("member.removals"))["removals"]
    assert (first["member"], first["state"], first["id"]) == ("bob", "banned", bob.mesh().row.member.hex())
    assert (second["member"], second["state"], second["id"]) == ("cid", "revoked", cid.app.node.device.hex())
    assert first["record"] < second["record"]
    assert [(row["devices"], row["confirmed"], row["waiting"]) for row in (first, second)] == [(1, 0, [])] * 2
    (only,) = (await ann.call("member.removals", limit=1))["removals"]
    assert only == second


@works("member.unban")
async def a_banned_member_is_unbanned(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await ann.call("member.ban", peer="bob")
    assert (await ann.call("member.unban", peer="bob"))["state"] == "removed"
    assert await state_of(ann, "bob") == "removed"
    assert await ann.refusal("member.unban", peer="bob") == "unknown_recipient"
    await ann.call("member.ban", peer="bob")  # who was removed can be banned too
    assert await state_of(ann, "bob") == "banned"


@works("member.role")
async def an_admin_lets_others_in(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    assert (await ann.call("member.role", peer="bob", role="admin"))["role"] == "admin"
    await world.until(lambda: bob.app.node.device in bob.mesh().state.signers, what="bob signs")
    await world.unplug(ann)
    cid = await world.machine("cid")
    joined = await cid.call("mesh.join", url=await world.invite(bob), me="cid")
    assert joined["state"] == "joined"
    await world.plug(ann)
    assert (await ann.call("member.role", peer="bob", role="member"))["role"] == "member"
    await world.until(lambda: bob.app.node.device not in bob.mesh().state.signers, what="bob signs no more")
    assert await bob.refusal("mesh.invite") == "not_allowed"


@works("device.revoke")
async def a_device_is_revoked(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    gone = await ann.call("device.revoke", device=bob.app.node.device.hex()[:12])
    assert (gone["member"], gone["state"], gone["devices"]) == ("bob", "revoked", 1)
    assert await state_of(ann, "bob") == "member"
    listed = await rows(ann, "device.list", "devices")
    assert [(row["state"], row["online"]) for row in listed] == [("active", True), ("revoked", False)]


# What may go wrong with every change.


async def asked(machine: Machine, method: str, **more: object) -> str:
    """The refusal of a change that concerns bob."""
    given = dict(CHANGES[method])
    if method == "device.revoke":
        given["device"] = "0" * 8
        for other in machine.world.machines.values():
            if other.name == "bob" and machine.app.node.meshes:
                given["device"] = other.app.node.device.hex()
    return await machine.refusal(method, **{**given, **more})


async def ready(world: World, method: str) -> Machine:
    """ann, who may remove bob; for an unban he is banned already."""
    ann, _ = await world.mesh("ann", "bob")
    if method == "member.unban":
        await ann.call("member.ban", peer="bob", wait_s=0)
    return ann


async def another_mesh(world: World, method: str) -> str:
    return await asked(await ready(world, method), method, mesh="other")


async def no_mesh_at_all(world: World, method: str) -> str:
    return await asked(await world.machine("ann"), method)


async def nobody_of_that_name(world: World, method: str) -> str:
    ann = await ready(world, method)
    assert await ann.refusal(method, **{**CHANGES[method], "peer": "ffffffffff"}) == "unknown_recipient"
    return await ann.refusal(method, **{**CHANGES[method], "peer": "zoe"})


async def without_a_connection(world: World, method: str) -> str:
    ann = await ready(world, method)
    await world.unplug(ann)
    return await asked(ann, method)


async def the_broker_does_not_answer(world: World, method: str) -> str:
    ann = await ready(world, method)
    swallow_appends(world, ann)
    return await asked(ann, method)


def swallow_appends(world: World, machine: Machine) -> None:
    """The broker never gets what this machine appends to the chain."""

    def swallow(frame: bytes) -> list[bytes]:
        match decode(split_message(frame).header):
            case [0, _, "chain.append", _]:
                return []
        return [frame]

    world.cable(machine).outgoing = swallow


async def the_brokers_disk_is_full(world: World, method: str) -> str:
    ann = await ready(world, method)
    refuse_appends(world, ann)
    return await asked(ann, method)


def refuse_appends(world: World, machine: Machine) -> None:
    """The broker refuses what this machine appends to the chain."""
    appends: set[object] = set()

    def note(frame: bytes) -> list[bytes]:
        match decode(split_message(frame).header):
            case [0, number, "chain.append", _]:
                appends.add(number)
        return [frame]

    def refuse(frame: bytes) -> list[bytes]:
        match decode(split_message(frame).header):
            case [1, number, *_] if number in appends:
                error = {"code": "storage_full", "message": "full", "data": {}}
                return [encode_frame(encode([1, number, error, None]), b"")]
        return [frame]

    cable = world.cable(machine)
    cable.outgoing, cable.incoming = note, refuse


STORIES: dict[str, Callable[..., object]] = {
    "unknown_mesh": another_mesh,
    "no_mesh": no_mesh_at_all,
    "unknown_recipient": nobody_of_that_name,
    "broker_unreachable": without_a_connection,
    "timeout": the_broker_does_not_answer,
    "broker_refused": the_brokers_disk_is_full,
}
for _method in CHANGES:
    for _code, _story in STORIES.items():
        if (_method, _code) != ("device.revoke", "unknown_recipient"):
            REFUSALS[_method, _code] = partial(_story, method=_method)  # type: ignore[assignment]


@refuses("device.revoke", "not_found")
async def a_device_that_is_not_there(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    return await ann.refusal("device.revoke", device="00000000")


@refuses("member.list", "unknown_mesh")
async def listing_another_mesh(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("member.list", mesh="other")


@refuses("member.list", "no_mesh")
async def listing_nothing(world: World) -> str:
    return await (await world.machine("ann")).refusal("member.list")


@refuses("device.list", "unknown_mesh")
async def listing_another_meshs_devices(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("device.list", mesh="other")


@refuses("device.list", "no_mesh")
async def listing_no_devices(world: World) -> str:
    return await (await world.machine("ann")).refusal("device.list")


@refuses("member.removals", "unknown_mesh")
async def removals_of_another_mesh(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("member.removals", mesh="other")


@refuses("member.removals", "no_mesh")
async def removals_of_nothing(world: World) -> str:
    return await (await world.machine("ann")).refusal("member.removals")
