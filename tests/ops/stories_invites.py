"""Invites: made, listed, closed, and who waits under them let in or turned away."""

from collections.abc import Awaitable, Callable
from functools import partial
from types import SimpleNamespace

import trio
from exercised import REFUSALS, refuses, works

from mesh_protocol.wire.codec import decode, encode
from mesh_protocol.wire.framing import encode_frame, split_message
from world.machine import Machine
from world.world import World


async def somebody_waits(world: World) -> tuple[Machine, Machine, str]:
    """ann, who may let in; bob, who asked and waits for her yes; the invite's id."""
    (ann,) = await world.mesh("ann")
    made = await ann.call("mesh.invite", approve=True)
    bob = await world.machine("bob")
    asked = await bob.call("mesh.join", url=made["url"], me="bob", wait_s=1)
    assert (asked["state"], asked["waiting_for"]) == ("pending", "ann to say yes and let you in")
    return ann, bob, str(made["id"])


async def listed(machine: Machine, **params: object) -> dict[str, object]:
    return dict(await machine.call("invite.list", **params))


@works("mesh.invite")
async def an_invite_lets_in_as_many_as_it_says(world: World) -> None:
    (ann,) = await world.mesh("ann")
    made = await ann.call("mesh.invite", expires_s=60, uses=2, qr=True)
    assert made["url"].startswith("mesh://join/1?")
    assert (made["expires_ms"], made["uses"], made["approve"]) == (ann.app.node.now() + 60_000, 2, False)
    assert len(made["qr"].splitlines()) > 20
    for name in ("bob", "cid"):
        machine = await world.machine(name)
        assert (await machine.call("mesh.join", url=made["url"], me=name))["state"] == "joined"
    eve = await world.machine("eve")
    assert await eve.refusal("mesh.join", url=made["url"], me="eve") == "invite_used"
    assert (await ann.call("mesh.invite"))["qr"] == ""


@refuses("mesh.invite", "mesh_local_only")
async def inviting_where_nobody_else_can_come(world: World) -> str:
    ann = await world.machine("ann")
    house = await world.broker()
    # The broker inside a daemon writes in a thread, for which virtual time does not wait; this one stands for it.
    near = partial(world.network.connect, "ann", house.url)
    ann.app.brokers.embedded = SimpleNamespace(connect=near, run=trio.sleep_forever)  # type: ignore[assignment]
    assert (await ann.call("mesh.new", name="here", me="ann"))["broker"] == "local:"
    return await ann.refusal("mesh.invite")


@refuses("mesh.invite", "not_allowed")
async def a_plain_member_invites(world: World) -> str:
    _, bob = await world.mesh("ann", "bob")
    return await bob.refusal("mesh.invite")


@refuses("mesh.invite", "invites_spent")
async def inviting_more_often_than_ten_times_within_an_hour(world: World) -> str:
    ann, bob = await world.mesh("ann", "bob")
    await ann.call("member.role", peer="bob", role="admin")
    await world.until(lambda: bob.app.node.device in bob.mesh().state.signers, what="bob signs")
    await trio.sleep(3600)  # who came in by an invite is let in no more often
    await ann.until_online()
    await world.unplug(ann)
    assert await ann.refusal("mesh.invite") == "broker_unreachable"  # opens none, and counts for none
    await world.plug(ann)
    for number in range(10):
        await ann.call("mesh.invite", approve=bool(number % 2))
    refused = await ann.refusal("mesh.invite", uses=3)
    await world.invite(bob)  # another signer has ten of his own
    await ann.call("mesh.new", name="other", me="ann", broker=next(iter(world.network.brokers)))
    await ann.call("mesh.invite", mesh="other")
    await trio.sleep(3600)
    await ann.call("mesh.invite", mesh="team")
    return refused


@works("invite.list")
async def invites_are_listed(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    made = await ann.call("mesh.invite", uses=3, role="admin")
    cid = await world.machine("cid")
    await cid.call("mesh.join", url=made["url"], me="cid")
    await world.until(lambda: "cid" in bob.mesh().names.values(), what="bob knows of cid")
    for machine in (ann, bob):
        (row,) = (await listed(machine))["invites"]  # type: ignore[misc]
        assert (row["id"], row["role"], row["state"]) == (made["id"], "admin", "open")
        assert (row["uses"], row["uses_left"], row["joined"]) == (3, 2, ["cid"])
        assert row["opener"] == f"ann {ann.app.node.device.hex()[:8]}"
    rows = (await listed(ann, all=True))["invites"]
    assert [(row["state"], row["joined"]) for row in rows] == [("open", ["cid"]), ("used", ["bob"])]  # type: ignore[attr-defined]


@refuses("invite.list", "unknown_mesh")
async def listing_the_invites_of_another_mesh(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("invite.list", mesh="other")


@refuses("invite.list", "no_mesh")
async def listing_no_invites(world: World) -> str:
    return await (await world.machine("ann")).refusal("invite.list")


@works("invite.close")
async def an_invite_is_closed(world: World) -> None:
    ann, bob, invite = await somebody_waits(world)
    closed = await ann.call("invite.close", invite=invite[:8])
    assert (closed["id"], closed["state"], closed["turned_away"]) == (invite, "closed", 1)
    await world.until(lambda: bob.mesh().row.trouble == "invite_closed", what="bob is told")
    found = await listed(ann, all=True)
    assert ([row["state"] for row in found["invites"]], found["waiting"]) == (["closed"], [])  # type: ignore[attr-defined]


@works("invite.approve")
async def who_waits_is_let_in(world: World) -> None:
    ann, bob, _ = await somebody_waits(world)
    (row,) = (await listed(ann))["waiting"]  # type: ignore[misc]
    assert (row["name"], row["device"], row["why"]) == ("bob", bob.app.node.device.hex(), "approve")
    let_in = await ann.call("invite.approve", who="bob")
    assert (let_in["name"], let_in["state"]) == ("bob", "joined")
    await bob.until_online()
    assert (await listed(ann))["waiting"] == []
    assert await ann.refusal("invite.approve", who="bob") == "not_found"


@works("invite.deny")
async def who_waits_is_turned_away(world: World) -> None:
    ann, bob, invite = await somebody_waits(world)
    denied = await ann.call("invite.deny", who=bob.app.node.device.hex()[:8])
    assert (denied["name"], denied["state"]) == ("bob", "denied")
    await world.until(lambda: bob.mesh().row.trouble == "invite_denied", what="bob is told")
    (row,) = (await listed(ann))["invites"]  # type: ignore[misc]
    assert (row["id"], row["uses_left"], row["waiting"]) == (invite, 1, [])


# What may go wrong with each.

GIVEN: dict[str, dict[str, object]] = {
    "mesh.invite": {},
    "invite.close": {"invite": ""},
    "invite.approve": {"who": "bob"},
    "invite.deny": {"who": "bob"},
}


async def asked(machine: Machine, method: str, invite: str = "00000000", **more: object) -> str:
    given = {**GIVEN[method], **({"invite": invite} if method == "invite.close" else {}), **more}
    return await machine.refusal(method, **given)


async def in_another_mesh(world: World, method: str) -> str:
    (ann,) = await world.mesh("ann")
    return await asked(ann, method, mesh="other")


async def in_no_mesh(world: World, method: str) -> str:
    return await asked(await world.machine("ann"), method)


async def without_a_connection(world: World, method: str) -> str:
    ann, _, invite = await somebody_waits(world)
    await world.unplug(ann)
    return await asked(ann, method, invite)


async def the_broker_swallows_it(world: World, method: str) -> str:
    ann, _, invite = await somebody_waits(world)

    def swallow(frame: bytes) -> list[bytes]:
        match decode(split_message(frame).header):
            case [0, _, "chain.append" | "join.drop", _]:
                return []
        return [frame]

    world.cable(ann).outgoing = swallow
    return await asked(ann, method, invite)


async def the_brokers_disk_is_full(world: World, method: str) -> str:
    ann, _, invite = await somebody_waits(world)
    calls: set[object] = set()

    def note(frame: bytes) -> list[bytes]:
        match decode(split_message(frame).header):
            case [0, number, "chain.append" | "join.drop", _]:
                calls.add(number)
        return [frame]

    def refuse(frame: bytes) -> list[bytes]:
        match decode(split_message(frame).header):
            case [1, number, *_] if number in calls:
                error = {"code": "storage_full", "message": "full", "data": {}}
                return [encode_frame(encode([1, number, error, None]), b"")]
        return [frame]

    cable = world.cable(ann)
    cable.outgoing, cable.incoming = note, refuse
    return await asked(ann, method, invite)


async def nothing_of_that_name(world: World, method: str) -> str:
    (ann,) = await world.mesh("ann")
    return await asked(ann, method)


async def two_of_that_name(world: World, method: str) -> str:
    (ann,) = await world.mesh("ann")
    made = await ann.call("mesh.invite", approve=True, uses=2)
    for name in ("first", "second"):
        machine = await world.machine(name)
        await machine.call("mesh.join", url=made["url"], me="bob", wait_s=1)
    return await asked(ann, method)


STORIES: dict[str, Callable[..., Awaitable[str]]] = {
    "unknown_mesh": in_another_mesh,
    "no_mesh": in_no_mesh,
    "broker_unreachable": without_a_connection,
    "timeout": the_broker_swallows_it,
    "broker_refused": the_brokers_disk_is_full,
}
MORE: dict[str, Callable[..., Awaitable[str]]] = {"not_found": nothing_of_that_name, "ambiguous_id": two_of_that_name}
for _method in GIVEN:
    for _code, _story in STORIES.items():
        REFUSALS[_method, _code] = partial(_story, method=_method)
for _method in ("invite.approve", "invite.deny"):
    for _code, _story in MORE.items():
        REFUSALS[_method, _code] = partial(_story, method=_method)


@refuses("invite.close", "not_found")
async def an_invite_that_is_not_there(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("invite.close", invite="00000000")
