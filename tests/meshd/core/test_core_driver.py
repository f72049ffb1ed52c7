"""The connection to a broker: tried with growing, random pauses, watched, shared by its meshes, one refusal to one mesh."""

from collections.abc import Callable
from itertools import pairwise

import trio

from mesh_protocol.keys import SigningKey
from mesh_protocol.wire.codec import decode, encode
from mesh_protocol.wire.framing import encode_frame, split_message
from meshd.link.driver import ANSWER_S, CHALLENGE_S, STEADY_S, UNSTEADY_FAILURES, WATCH_S
from meshd.link.table import BACKOFF_CAP_S, backoff_ceiling
from world.machine import Machine
from world.world import World


async def two_meshes(world: World) -> tuple[Machine, Machine]:
    """Ann and bob are in `team` and in `club`, at one broker."""
    ann, bob = await world.mesh("ann", "bob")
    await world.mesh("ann", "bob", title="club")
    return ann, bob


def refusing(mesh: bytes, code: str) -> tuple[Callable[[bytes], list[bytes]], Callable[[bytes], list[bytes]]]:
    """What a cable does to be a broker that refuses the hellos of one mesh: changes for both directions."""
    asked: set[object] = set()

    def outgoing(frame: bytes) -> list[bytes]:
        header = decode(split_message(frame).header)
        if isinstance(header, list) and header[0] == 0 and header[2] == "hello":
            params = header[3]
            if isinstance(params, dict) and params["mesh"] == mesh:
                asked.add(header[1])
        return [frame]

    def incoming(frame: bytes) -> list[bytes]:
        header = decode(split_message(frame).header)
        if isinstance(header, list) and header[0] == 1 and header[1] in asked:
            asked.discard(header[1])
            error = {"code": code, "message": "not today", "data": {}}
            return [encode_frame(encode([1, header[1], error, None]))]
        return [frame]

    return outgoing, incoming


async def test_tries_come_with_full_jitter_under_a_growing_ceiling(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    cable = world.cable(ann)
    await world.unplug(ann)
    cable.tries.clear()
    await trio.sleep(1200)
    pauses = [later - earlier for earlier, later in pairwise(cable.tries)]
    assert len(pauses) > 40
    for number, pause in enumerate(pauses):
        assert 0 <= pause <= backoff_ceiling(number + 3) + 0.001
    late = pauses[10:]
    assert max(late) <= BACKOFF_CAP_S
    assert min(late) < 8 < 22 < max(late), "all over the range, not at its ceiling"
    cable.down = False
    before = trio.current_time()
    await ann.until_online()
    assert trio.current_time() - before <= BACKOFF_CAP_S


async def test_two_machines_do_not_come_back_in_step(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    broker = next(iter(world.network.brokers.values()))
    await broker.stop()
    for machine in (ann, bob):
        world.cable(machine).tries.clear()
    await trio.sleep(300)
    assert not set(world.cable(ann).tries[5:]) & set(world.cable(bob).tries[5:])
    await broker.start()
    await ann.until_online()
    await bob.until_online()


async def test_a_connection_that_served_is_tried_again_quickly(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    cable = world.cable(ann)
    for _ in range(5):
        await trio.sleep(STEADY_S)
        before, tries = trio.current_time(), len(cable.tries)
        await cable.cut()
        await world.until(lambda n=tries: len(cable.tries) > n, what="it tried again")  # type: ignore[misc]
        assert trio.current_time() - before < 0.3
        await ann.until_online()


async def test_a_connection_that_breaks_again_and_again_is_tried_less_often_but_not_rarely(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    cable = world.cable(ann)
    for _ in range(10):
        before, tries = trio.current_time(), len(cable.tries)
        await cable.cut()
        await world.until(lambda n=tries: len(cable.tries) > n, what="it tried again")  # type: ignore[misc]
        assert trio.current_time() - before <= backoff_ceiling(UNSTEADY_FAILURES) + 0.1
        await ann.until_online()


async def test_a_broker_that_greets_and_hangs_up_is_not_hammered(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    cable = world.cable(ann)

    def hang_up(frame: bytes) -> list[bytes]:
        world.nursery.start_soon(cable.cut)
        return []

    cable.outgoing = hang_up
    await cable.cut()
    cable.tries.clear()
    await trio.sleep(300)
    assert 10 < len(cable.tries) < 60
    cable.outgoing = None
    await ann.until_online()


async def test_a_broker_that_falls_silent_is_left_and_sought_anew(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await world.settle(60)
    cable = world.cable(ann)
    cable.silent = True
    before = trio.current_time()
    await world.until(lambda: ann.mesh().link.value == "offline", 120, "the silence was noticed")
    assert WATCH_S <= trio.current_time() - before <= WATCH_S + ANSWER_S + 1
    sent = await ann.send("bob", "meanwhile")
    cable.silent = False
    await ann.until_state(sent, "stored")
    assert await bob.read() == ["meanwhile"]


async def test_a_broker_that_speaks_is_not_asked_and_an_idle_one_answers(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    world.network.history = []
    await trio.sleep(600)
    asked = [line for line in world.network.history if " ann > [0, " in line]
    assert all("'ping'" in line or "'prekey." in line for line in asked)
    assert len(asked) < 40
    assert ann.mesh().link.value == "online"
    assert len(world.cable(ann).links) == 1


async def test_a_broker_that_says_no_first_word_is_left_in_time(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    cable = world.cable(ann)
    cable.silent = True
    await cable.cut()
    cable.tries.clear()
    await world.until(lambda: len(cable.tries) >= 3, 120, "it tried three times")
    assert cable.tries[1] - cable.tries[0] >= CHALLENGE_S
    cable.silent = False
    await ann.until_online()


async def test_a_message_on_its_way_when_the_link_breaks_arrives_once(world: World) -> None:
    """The broker committed it, its answer was lost: the same bytes are sent again and give the same answer."""
    ann, bob = await world.mesh("ann", "bob")
    cable = world.cable(ann)
    cable.incoming = lambda frame: []
    sent = await ann.send("bob", "once")
    await world.until(lambda: bob.mesh().streams, what="bob has it")
    await cable.cut()
    cable.incoming = None
    await ann.until_state(sent, "stored")
    assert await bob.read(all=True) == ["once"]
    broker = next(iter(world.network.brokers.values()))
    assert broker.broker.metrics is not None
    assert (await ann.progress(sent))["accepted_ms"]


async def test_meshes_of_one_broker_share_one_connection(world: World) -> None:
    ann, bob = await two_meshes(world)
    await world.settle(5)
    assert len(world.cable(ann).links) == len(world.cable(bob).links) == 1
    for slug in ("team", "club"):
        await ann.send("bob", f"in {slug}", mesh=slug, wait="stored")
    assert await bob.read() == ["in team", "in club"]
    await world.cable(ann).cut()
    await ann.until_online()
    assert len(world.cable(ann).links) == 1


async def test_meshes_of_two_brokers_have_a_connection_each(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    other = await world.broker(name="other")
    await world.mesh("ann", "bob", title="club", broker=other)
    await world.cable(ann).cut()
    world.cable(ann).down = True
    await world.until(lambda: ann.mesh("team").link.value == "offline", what="team is offline")
    assert ann.mesh("club").link.value == "online"
    assert (await ann.send("bob", "by the other way", mesh="club", wait="stored"))["state"] == "stored"


async def test_one_refused_mesh_hurts_no_other_on_its_connection(world: World) -> None:
    ann, bob = await two_meshes(world)
    cable = world.cable(ann)
    cable.outgoing, cable.incoming = refusing(ann.mesh("club").id, "broker_refused")
    await cable.cut()
    await world.until(lambda: ann.mesh("club").link.value == "refused", what="club was refused")
    await world.until(lambda: ann.mesh("team").link.value == "online", what="team is online")
    assert (await ann.send("team:bob", "still here", wait="stored"))["state"] == "stored"
    waiting = await ann.send("club:bob", "later")
    link = cable.links[0]
    await world.settle(100)
    assert cable.links == [link], "the connection stays"
    assert ann.mesh("club").link.value == "refused"
    listed = {row["mesh"]: row["link"] for row in (await ann.call("mesh.list"))["meshes"]}
    assert listed == {"team": "online", "club": "refused"}
    cable.outgoing = cable.incoming = None
    await ann.until_online()
    assert cable.links == [link]
    await ann.until_state(waiting, "stored")
    assert await bob.read() == ["still here", "later"]


async def test_a_refused_mesh_comes_back_after_a_reconnection_too(world: World) -> None:
    ann, _ = await two_meshes(world)
    cable = world.cable(ann)
    cable.outgoing, cable.incoming = refusing(ann.mesh("club").id, "rate_limited")
    await cable.cut()
    await world.until(lambda: ann.mesh("club").link.value == "refused", what="club was refused")
    cable.outgoing = cable.incoming = None
    await cable.cut()
    await ann.until_online()


async def test_another_broker_at_the_same_address_is_not_believed(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    broker = next(iter(world.network.brokers.values()))
    sent = await ann.send("bob", "before", wait="stored")
    key, broker._key = broker._key, SigningKey.from_seed(b"x" * 32)
    await broker.restart()
    await world.until(lambda: ann.mesh().link.value == "refused", what="it was refused")
    assert "another key" in ann.mesh().link_why
    waiting = await ann.send("bob", "after")
    await world.settle(60)
    assert (await ann.progress(waiting))["state"] == "queued"
    broker._key = key
    await broker.restart()
    await ann.until_state(waiting, "stored", 120)
    assert (await ann.progress(sent))["state"] == "stored"


async def test_a_broker_without_transport_security_is_used_on_this_machine_only(world: World) -> None:
    ann = await world.machine("ann")
    for url in (
        "ws://broker.example",
        "ws://10.0.0.1:80",
        "http://127.0.0.1:1",
        "ws://127.0.0.1.evil.example:80",
        "ws://user@127.0.0.1:80@evil.example:80",
        "ws://127.0.0.1:80.evil.example",
        "ws://[::2]:9",
    ):
        assert await ann.refusal("mesh.new", name="x", me="ann", broker=url) == "bad_request"
    for url in ("ws://127.0.0.1:9", "ws://localhost:9", "ws://[::1]:9", "wss://broker.example"):
        assert await ann.refusal("mesh.new", name="x", me="ann", broker=url) == "broker_unreachable"
    assert ann.app.node.meshes == {}
