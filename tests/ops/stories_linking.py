"""Linking another device of the same person."""

from functools import partial
from types import SimpleNamespace

import trio
from exercised import REFUSALS, refuses, works

from mesh_protocol.wire.codec import decode, encode
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.framing import encode_frame, split_message
from world.machine import Machine
from world.network import Change
from world.talk import Answer
from world.world import World

NOBODYS = "0" * 16


async def words_are_shown(world: World) -> tuple[Machine, Machine, Answer, Answer]:
    """ann's machine, her phone, and the attempt on both, which wait for her yes."""
    (ann,) = await world.mesh("ann")
    phone = await world.machine("phone")
    offer = await ann.call("link.open")
    joined = await phone.call("link.join", url=offer["url"])
    for machine, attempt in ((ann, offer), (phone, joined)):
        assert (await machine.call("link.wait", id=attempt["id"], seen="waiting"))["state"] == "words"
    return ann, phone, offer, joined


async def outcome(machine: Machine, attempt: Answer) -> str:
    """What an attempt ends with, whatever it gets through before."""
    seen = "waiting"
    with trio.fail_after(90):
        while True:
            try:
                seen = (await machine.call("link.wait", id=attempt["id"], seen=seen, wait_s=30))["state"]
            except MeshError as error:
                return error.code


@works("link.open")
async def a_link_is_shown(world: World) -> None:
    (ann,) = await world.mesh("ann")
    offer = await ann.call("link.open")
    assert offer["url"].startswith("mesh://link/1?")
    assert len(offer["qr"].splitlines()) > 20
    assert offer["expires_ms"] == ann.app.node.now() + 600_000
    assert (await ann.call("link.wait", id=offer["id"]))["state"] == "waiting"


@works("link.join")
async def a_machine_answers_a_link(world: World) -> None:
    (ann,) = await world.mesh("ann")
    offer = await ann.call("link.open")
    phone = await world.machine("phone")
    joined = await phone.call("link.join", url=offer["url"])
    assert (joined["state"], joined["words"]) == ("waiting", [])


@works("link.wait")
async def both_sides_come_to_the_same_words(world: World) -> None:
    ann, phone, offer, joined = await words_are_shown(world)
    mine = await ann.call("link.wait", id=offer["id"])
    theirs = await phone.call("link.wait", id=joined["id"])
    assert mine["words"] == theirs["words"]
    assert mine["device"] == phone.app.node.device.hex()
    assert theirs["device"] == ann.app.node.device.hex()


@works("link.confirm")
async def a_yes_links_it(world: World) -> None:
    ann, phone, offer, joined = await words_are_shown(world)
    assert (await ann.call("link.confirm", id=offer["id"], same=True))["state"] == "done"
    done = await phone.call("link.wait", id=joined["id"], seen="words", wait_s=30)
    while done["state"] != "done":
        done = await phone.call("link.wait", id=joined["id"], seen=done["state"], wait_s=30)
    assert done["mesh"] == "team"
    await phone.until_online()
    assert phone.mesh().row.member == ann.mesh().row.member


@works("link.end")
async def an_attempt_is_given_up(world: World) -> None:
    ann, phone, offer, joined = await words_are_shown(world)
    assert (await phone.call("link.end", id=joined["id"]))["state"] == "failed"
    await world.until(lambda: ann.app.linking.find(offer["id"]).over, what="the other side is told")
    assert phone.app.node.meshes == {}


# What may go wrong.


async def not_such_an_attempt(world: World, method: str) -> str:
    (ann,) = await world.mesh("ann")
    more = {"same": True} if method == "link.confirm" else {}
    return await ann.refusal(method, id=NOBODYS, **more)


for _method in ("link.wait", "link.confirm", "link.end"):
    REFUSALS[_method, "not_found"] = partial(not_such_an_attempt, method=_method)


@refuses("link.confirm", "words_differ")
async def the_words_differ(world: World) -> str:
    ann, _, offer, _ = await words_are_shown(world)
    return await ann.refusal("link.confirm", id=offer["id"], same=False)


@refuses("link.wait", "words_differ")
async def the_words_differed(world: World) -> str:
    ann, _, offer, _ = await words_are_shown(world)
    await ann.refusal("link.confirm", id=offer["id"], same=False)
    return await ann.refusal("link.wait", id=offer["id"])


@refuses("link.wait", "link_ended")
async def the_other_side_left(world: World) -> str:
    ann, phone, offer, _ = await words_are_shown(world)
    await phone.crash()
    return await outcome(ann, offer)


@refuses("link.confirm", "link_ended")
async def a_yes_that_comes_too_late(world: World) -> str:
    ann, phone, offer, joined = await words_are_shown(world)
    await phone.call("link.end", id=joined["id"])
    await world.until(lambda: ann.app.linking.find(offer["id"]).over, what="ann's daemon knows")
    return await ann.refusal("link.confirm", id=offer["id"], same=True)


@refuses("link.wait", "link_unknown")
async def nobody_waits_any_more(world: World) -> str:
    (ann,) = await world.mesh("ann")
    offer = await ann.call("link.open")
    await ann.call("link.end", id=offer["id"])
    phone = await world.machine("phone")
    joined = await phone.call("link.join", url=offer["url"])
    return await phone.refusal("link.wait", id=joined["id"], seen="waiting", wait_s=30)


@refuses("link.wait", "link_used")
async def another_machine_was_first(world: World) -> str:
    _, _, offer, _ = await words_are_shown(world)
    late = await world.machine("late")
    joined = await late.call("link.join", url=offer["url"])
    return await late.refusal("link.wait", id=joined["id"], seen="waiting", wait_s=30)


def _refused_to_meet(code: str) -> tuple[Change, Change]:
    """A broker that lets nobody into a meeting."""
    hellos: set[object] = set()

    def note(frame: bytes) -> list[bytes]:
        match decode(split_message(frame).header):
            case [0, number, "hello", {"meet": True}]:
                hellos.add(number)
        return [frame]

    def refuse(frame: bytes) -> list[bytes]:
        match decode(split_message(frame).header):
            case [1, number, *_] if number in hellos:
                return [encode_frame(encode([1, number, {"code": code, "message": "no", "data": {}}, None]), b"")]
        return [frame]

    return note, refuse


@refuses("link.open", "link_ended")
async def the_broker_lets_nobody_meet(world: World) -> str:
    (ann,) = await world.mesh("ann")
    cable = world.cable(ann)
    cable.outgoing, cable.incoming = _refused_to_meet("link_unknown")
    return await ann.refusal("link.open")


@refuses("link.wait", "broker_unreachable")
async def the_links_broker_does_not_answer(world: World) -> str:
    (ann,) = await world.mesh("ann")
    offer = await ann.call("link.open")
    phone = await world.machine("phone")
    world.cable(phone).down = True
    joined = await phone.call("link.join", url=offer["url"])
    return await phone.refusal("link.wait", id=joined["id"], seen="waiting", wait_s=60)


@refuses("link.join", "bad_link")
async def an_invite_is_no_such_link(world: World) -> str:
    (ann,) = await world.mesh("ann")
    phone = await world.machine("phone")
    return await phone.refusal("link.join", url=await world.invite(ann))


@refuses("link.join", "already_member")
async def linking_what_is_in(world: World) -> str:
    ann, bob = await world.mesh("ann", "bob")
    return await bob.refusal("link.join", url=(await ann.call("link.open"))["url"])


async def opened(machine: Machine, **params: object) -> str:
    return await machine.refusal("link.open", **params)


@refuses("link.open", "unknown_mesh")
async def linking_into_another_mesh(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await opened(ann, mesh="other")


@refuses("link.open", "no_mesh")
async def linking_into_nothing(world: World) -> str:
    return await opened(await world.machine("ann"))


@refuses("link.open", "broker_unreachable")
async def linking_without_a_connection(world: World) -> str:
    (ann,) = await world.mesh("ann")
    await world.unplug(ann)
    return await opened(ann)


def _calls(action: str) -> Change:
    """Drops the calls that open a meeting."""

    def swallow(frame: bytes) -> list[bytes]:
        match decode(split_message(frame).header):
            case [0, _, str() as method, _] if method == action:
                return []
        return [frame]

    return swallow


@refuses("link.open", "timeout")
async def the_broker_does_not_answer_the_host(world: World) -> str:
    (ann,) = await world.mesh("ann")
    world.cable(ann).outgoing = _calls("meet.open")
    return await opened(ann)


@refuses("link.open", "broker_refused")
async def the_broker_opens_no_meeting(world: World) -> str:
    (ann,) = await world.mesh("ann")
    cable, calls = world.cable(ann), set[object]()

    def note(frame: bytes) -> list[bytes]:
        match decode(split_message(frame).header):
            case [0, number, "meet.open", _]:
                calls.add(number)
        return [frame]

    def refuse(frame: bytes) -> list[bytes]:
        match decode(split_message(frame).header):
            case [1, number, *_] if number in calls:
                error = {"code": "not_allowed", "message": "no", "data": {}}
                return [encode_frame(encode([1, number, error, None]), b"")]
        return [frame]

    cable.outgoing, cable.incoming = note, refuse
    return await opened(ann)


@refuses("link.open", "mesh_local_only")
async def linking_where_nobody_else_can_come(world: World) -> str:
    ann = await world.machine("ann")
    house = await world.broker()
    near = partial(world.network.connect, "ann", house.url)
    ann.app.brokers.embedded = SimpleNamespace(connect=near, run=trio.sleep_forever)  # type: ignore[assignment]
    await ann.call("mesh.new", name="here", me="ann")
    return await ann.refusal("link.open")
