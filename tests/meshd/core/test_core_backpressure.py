"""Who is slow or dead is told what it missed and stalls nobody; who floods is slowed down himself."""

import socket

import pytest
import trio

from mesh_protocol.io.stream import StreamLink
from mesh_protocol.wire.errors import MeshError
from meshd.config import Config, Limits
from meshd.events import BUFFER
from meshd.local.creds import PeerCreds
from meshd.local.server import Client, serve_client
from world.machine import Machine
from world.talk import Talk
from world.world import World

SMALL = 4 * 1024
"""Bytes that a kernel keeps of what a client has not read: little, so that it is felt soon."""


class Reader(trio.abc.Stream):
    """A client's end of a real socket that is read only while `awake`."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.awake = trio.Event()
        self.awake.set()

    def sleep(self) -> None:
        self.awake = trio.Event()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await self.awake.wait()
        return bytes(await self._stream.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def connect(machine: Machine) -> tuple[Talk, Reader]:
    """A client at a real socket, which the kernel makes feel full."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        end.setblocking(False)
    far = StreamLink(trio.SocketStream(trio.socket.from_stdlib_socket(theirs)))
    client = Client(machine.app, PeerCreds(machine.processes.shell, 0, 0, None))
    life = machine.world.nursery
    life.start_soon(serve_client, machine.app, client, far)
    reader = Reader(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
    talk = Talk(machine, machine.processes.shell, reader)
    life.start_soon(talk.connection.run)
    return talk, reader


async def storm(machine: Machine, count: int) -> None:
    for number in range(count):
        machine.app.node.events.publish("storm", number=number, padding="x" * 100)
        if number % 50 == 0:
            await trio.sleep(0.01)


async def test_a_subscriber_that_does_not_read_is_told_what_it_missed_and_stalls_nobody(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    slow, reader = await connect(ann)
    quick, _ = await connect(ann)
    for talk in (slow, quick):
        await talk.call("events.subscribe", kinds=["storm"])
    reader.sleep()
    await world.settle(1)
    before = trio.current_time()
    await storm(ann, 3 * BUFFER)
    assert trio.current_time() - before < 1, "whoever publishes waits for nobody"
    sent = await bob.send("ann", "hello", wait="stored")
    assert sent["reached"]
    assert (await ann.call("daemon.status"))["state"] == "ready"
    await world.until(lambda: len(quick.events) == 3 * BUFFER, what="the quick one has all")
    assert [event["n"] for event in quick.events] == list(range(1, 3 * BUFFER + 1))
    waiting = [len(subscriber._events) for subscriber in ann.app.node.events._subscribers]
    assert max(waiting) == BUFFER, "no more than that is kept for it"
    reader.awake.set()
    await world.until(lambda: any(event["kind"] == "lagged" for event in slow.events), what="it was told")
    await storm(ann, 1)
    await world.until(lambda: slow.events[-1]["kind"] == "storm", what="it goes on")
    await world.settle(1)
    *early, lagged, last = slow.events
    assert [event["n"] for event in early] == list(range(1, len(early) + 1))
    assert lagged["data"]["missed"] + len(early) == 3 * BUFFER
    assert (lagged["n"], last["n"]) == (3 * BUFFER + 1, 3 * BUFFER + 2)


async def test_a_subscriber_that_died_without_a_word_is_let_go_and_stalls_nobody(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    others = set(ann.app.node.events._subscribers)
    dead, reader = await connect(ann)
    await dead.call("events.subscribe")
    reader.sleep()
    await storm(ann, 2 * BUFFER)
    assert len(ann.app.node.events._subscribers - others) == 1
    assert (await bob.send("ann", "hello", wait="stored"))["reached"]
    await reader.aclose()
    await world.until(lambda: ann.app.node.events._subscribers == others, what="its subscription ended")
    assert await ann.read() == ["hello"]


async def test_many_calls_of_a_client_that_reads_no_answers_hold_up_nobody_else(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    for number in range(20):
        await bob.send("ann", f"{number} " + "x" * 20_000, wait="stored")
    slow, reader = await connect(ann)
    await slow.call("daemon.status")
    reader.sleep()
    async with trio.open_nursery() as calls:
        for _ in range(20):
            calls.start_soon(slow.call, "inbox.read")
        await world.settle(1)
        before = trio.current_time()
        assert len((await ann.call("inbox.read"))["messages"]) == 20
        assert trio.current_time() - before < 1
        reader.awake.set()


async def test_a_flooding_sender_is_slowed_down_and_told_so(world: World) -> None:
    await world.machine("ann", Config(keys="file", limits=Limits(outbox_rows=20)))
    ann, bob = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    await world.unplug(ann)
    for number in range(20):
        await ann.send("bob", f"{number}")
    with pytest.raises(MeshError) as caught:
        await ann.send("bob", "one too many")
    assert (caught.value.code, caught.value.data["limit"], caught.value.exit) == ("outbox_full", 20, 75)
    assert "20 messages wait for the broker" in caught.value.message
    assert (await ann.send("web", "next door", wait="shown"))["reached"], "what stays on the machine needs no room"
    assert web.seen
    await world.plug(ann)
    await ann.send("bob", "there is room again", wait="stored")
    assert await bob.read(limit=50) == [*(f"{number}" for number in range(20)), "there is room again"]
