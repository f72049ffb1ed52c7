"""Making meshes, joining, listing."""

from dataclasses import replace

import trio
from exercised import refuses, works

from mesh_broker.client import PeerInfo
from mesh_protocol.invite import parse_link
from mesh_protocol.wire.codec import decode, encode
from mesh_protocol.wire.framing import encode_frame, split_message
from mesh_protocol.wire.items import pack_items, unpack_items
from world.broker import TOKEN
from world.machine import Machine
from world.network import Change
from world.world import World

ELSEWHERE = PeerInfo("203.0.113.5", False)
NOBODY = "ws://127.0.0.1:9"


def other_bodies(change: "Change", wanted: str) -> Change:
    """Changes the answers of calls of `wanted`; what else there is passes."""
    asked: set[int] = set()

    def pass_on(frame: bytes) -> list[bytes]:
        header, _ = split_message(frame)
        match decode(header):
            case [0, int() as number, str() as method, *_] if method == wanted:
                asked.add(number)
            case [1, int() as number, None, _] if number in asked:
                return change(frame)
        return [frame]

    return pass_on


@works("mesh.new")
async def a_mesh_is_made_at_a_broker(world: World) -> None:
    house = await world.broker()
    ann = await world.machine("ann")
    made = await ann.call("mesh.new", name="The Team", me="ann", broker=house.url)
    assert (made["mesh"], made["me"], made["broker"]) == ("the-team", "ann", house.url)
    assert len(bytes.fromhex(made["id"])) == 32
    house.peer = ELSEWHERE
    named = f"{house.url}#{TOKEN.decode()}"
    assert (await ann.call("mesh.new", name="second", me="ann", broker=named))["broker"] == house.url


@refuses("mesh.new", "bad_name")
async def a_name_with_a_line_break(world: World) -> str:
    ann = await world.machine("ann")
    assert await ann.refusal("mesh.new", name="team", me="ann\nbob") == "bad_name"
    return await ann.refusal("mesh.new", name="te\nam", me="ann")


@refuses("mesh.new", "broker_unreachable")
async def nobody_listens_there(world: World) -> str:
    ann = await world.machine("ann")
    code = await ann.refusal("mesh.new", name="team", me="ann", broker=NOBODY)
    assert (await ann.call("mesh.list"))["meshes"] == []
    return code


@refuses("mesh.new", "broker_refused")
async def the_hello_is_spoilt_on_its_way(world: World) -> str:
    house = await world.broker()
    ann = await world.machine("ann")

    def spoil(frame: bytes) -> list[bytes]:
        header, body = split_message(frame)
        match decode(header):
            case [0, number, "hello", dict() as params]:
                return [encode_frame(encode([0, number, "hello", {**params, "sig": bytes(64)}]), body)]
        return [frame]

    world.network.cable("ann", house.url).outgoing = spoil
    return await ann.refusal("mesh.new", name="team", me="ann", broker=house.url)


@refuses("mesh.new", "admission_needed")
async def a_stranger_has_no_token(world: World) -> str:
    house = await world.broker()
    house.peer = ELSEWHERE
    ann = await world.machine("ann")
    wrong = f"{house.url}#{'x' * 43}"
    assert await ann.refusal("mesh.new", name="team", me="ann", broker=wrong) == "admission_needed"
    return await ann.refusal("mesh.new", name="team", me="ann", broker=house.url)


@works("mesh.join")
async def joining_by_a_link(world: World) -> None:
    (ann,) = await world.mesh("ann")
    bob = await world.machine("bob")
    joined = await bob.call("mesh.join", url=await world.invite(ann), me="bob")
    assert (joined["mesh"], joined["me"], joined["state"]) == ("team", "bob", "joined")
    assert joined["id"] == ann.mesh().id.hex()
    there = {row["to"]: row["online"] for row in (await bob.call("peer.list"))["peers"]}
    assert there == {"ann": True, "bob": True}, "who has just let him in is not called away"
    await ann.until_knows("bob")


async def stranger(world: World) -> tuple[Machine, Machine]:
    """A member, and a machine that is none."""
    (ann,) = await world.mesh("ann")
    return ann, await world.machine("bob")


@refuses("mesh.join", "bad_invite")
async def what_was_pasted_is_no_link(world: World) -> str:
    return await (await world.machine("bob")).refusal("mesh.join", url="https://example.org/", me="bob")


@refuses("mesh.join", "bad_name")
async def joining_under_an_impossible_name(world: World) -> str:
    ann, bob = await stranger(world)
    return await bob.refusal("mesh.join", url=await world.invite(ann), me="b b")


@refuses("mesh.join", "invite_unknown")
async def a_link_with_another_secret(world: World) -> str:
    ann, bob = await stranger(world)
    link = parse_link(await world.invite(ann))
    return await bob.refusal("mesh.join", url=replace(link, secret=bytes(32)).url(), me="bob")


@refuses("mesh.join", "invite_used")
async def a_link_that_let_somebody_in(world: World) -> str:
    ann, bob = await stranger(world)
    url = await world.invite(ann)
    await (await world.machine("eve")).call("mesh.join", url=url, me="eve")
    return await bob.refusal("mesh.join", url=url, me="bob")


@refuses("mesh.join", "invite_closed")
async def a_link_whose_invite_was_closed(world: World) -> str:
    ann, bob = await stranger(world)
    made = await ann.call("mesh.invite")
    await ann.call("invite.close", invite=made["id"])
    return await bob.refusal("mesh.join", url=made["url"], me="bob")


@refuses("mesh.join", "invite_denied")
async def somebody_says_no_while_one_waits(world: World) -> str:
    ann, bob = await stranger(world)
    url = str((await ann.call("mesh.invite", approve=True))["url"])
    codes: list[str] = []

    async def join() -> None:
        codes.append(await bob.refusal("mesh.join", url=url, me="bob", wait_s=60))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(join)
        await world.until(lambda: ann.mesh().knocks, what="he waits")
        await ann.call("invite.deny", who="bob")
    return codes[0]


@refuses("mesh.join", "invite_expired")
async def a_link_of_yesterday(world: World) -> str:
    ann, bob = await stranger(world)
    url = str((await ann.call("mesh.invite", expires_s=60))["url"])
    await trio.sleep(61)
    return await bob.refusal("mesh.join", url=url, me="bob")


@refuses("mesh.join", "already_member")
async def joining_twice(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("mesh.join", url=await world.invite(ann), me="ann")


@refuses("mesh.join", "broker_unreachable")
async def the_links_broker_is_gone(world: World) -> str:
    ann, bob = await stranger(world)
    url = await world.invite(ann)
    await world.network.brokers[ann.mesh().row.broker_url].stop()
    return await bob.refusal("mesh.join", url=url, me="bob")


@refuses("mesh.join", "broker_refused")
async def another_broker_answers_there(world: World) -> str:
    ann, bob = await stranger(world)
    url = await world.invite(ann)
    home = ann.mesh().row.broker_url
    other = await world.broker(name="other")
    eve = await world.machine("eve")
    await eve.call("mesh.new", name="eve", me="eve", broker=other.url)
    world.network.brokers[home] = other
    assert await bob.refusal("mesh.join", url=url, me="bob") == "unknown_on_broker"
    link = parse_link(await world.invite(eve))

    def spoil(frame: bytes) -> list[bytes]:
        header, body = split_message(frame)
        match decode(header):
            case [0, number, "hello", dict() as params]:
                return [encode_frame(encode([0, number, "hello", {**params, "nonce": bytes(32)}]), body)]
        return [frame]

    world.network.cable("bob", other.url).outgoing = spoil
    return await bob.refusal("mesh.join", url=link.url(), me="bob")


@refuses("mesh.join", "unknown_on_broker")
async def the_broker_does_not_know_the_mesh(world: World) -> str:
    ann, bob = await stranger(world)
    link = parse_link(await world.invite(ann))
    other = await world.broker(name="other")
    return await bob.refusal("mesh.join", url=replace(link, broker_url=other.url).url(), me="bob")


@refuses("mesh.join", "chain_invalid")
async def the_chain_that_is_served_is_broken(world: World) -> str:
    ann, bob = await stranger(world)
    url = await world.invite(ann)

    def drop_the_first(frame: bytes) -> list[bytes]:
        header, body = split_message(frame)
        return [encode_frame(header, pack_items(unpack_items(body)[1:]))]

    cable = world.network.cable("bob", ann.mesh().row.broker_url)
    changed = other_bodies(drop_the_first, "chain.read")
    cable.outgoing = cable.incoming = changed
    return await bob.refusal("mesh.join", url=url, me="bob")


@works("mesh.list")
async def the_meshes_of_a_machine(world: World) -> None:
    (ann,) = await world.mesh("ann")
    await ann.call("mesh.new", name="here", me="me", broker=ann.mesh().row.broker_url)
    rows = (await ann.call("mesh.list"))["meshes"]
    assert [(row["mesh"], row["me"], row["state"], row["default"]) for row in rows] == [
        ("team", "ann", "joined", True),
        ("here", "me", "joined", False),
    ]
