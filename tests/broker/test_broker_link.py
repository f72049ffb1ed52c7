"""The broker's WebSocket link and transports: whole messages whatever the socket takes, signs of life, deadlines."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.protocol import OPEN, SERVER, Protocol
from websockets.uri import parse_uri

from broker_kit.people import Device
from broker_kit.raw import dial, frame
from broker_kit.stand import open_websocket_stand
from mesh_broker.limits import Limits
from mesh_broker.transport import SocketTransport
from mesh_broker.wire import WsLink, encode_binary
from mesh_protocol.broker_api import Done, LiveSubscribe, Stats, StatsAnswer
from mesh_protocol.io.link import LinkClosed

CHANNEL = bytes(16)


@pytest.fixture
def virtual_clock() -> trio.testing.MockClock:
    """Time that jumps when nothing happens; the pause lets bytes pass through the kernel first."""
    return trio.testing.MockClock(autojump_threshold=0.02)


@asynccontextmanager
async def linked(dead_seconds: float = 60.0) -> AsyncIterator[tuple[WsLink, socket.socket]]:
    """A server's link, and the other end of its socket."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    link = WsLink(SocketTransport(near), Protocol(SERVER, state=OPEN), dead_seconds=dead_seconds)
    try:
        yield link, far
    finally:
        await link.aclose()
        far.close()


class Reader:
    """A client of the library's own, which judges every byte."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._protocol = ClientProtocol(parse_uri("ws://broker"), state=OPEN)
        self.messages: list[bytes] = []

    async def read(self, count: int) -> list[bytes]:
        with trio.fail_after(10):
            while len(self.messages) < count:
                await trio.lowlevel.wait_readable(self._sock)
                self._protocol.receive_data(self._sock.recv(100_000))
                assert self._protocol.parser_exc is None
                for event in self._protocol.events_received():
                    assert isinstance(event, Frame)
                    self.messages.append(bytes(event.data))
        return self.messages


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 1_000_000])
async def test_messages_of_every_length_encoding_arrive_whole(size: int) -> None:
    async with linked() as (link, far), trio.open_nursery() as nursery:
        nursery.start_soon(link.send, b"x" * size)
        nursery.start_soon(link.send, b"next")
        assert sorted(await Reader(far).read(2), key=len) == sorted([b"x" * size, b"next"], key=len)


async def test_a_message_the_socket_took_in_part_is_finished_before_the_next() -> None:
    async with linked() as (link, far), trio.open_nursery() as nursery:
        large = bytes(range(256)) * 2000
        assert link.send_now(large)
        assert (link.unsent, link.send_now(b"may not overtake")) == (True, False)
        nursery.start_soon(link.send, b"second")
        nursery.start_soon(link.flush)
        assert await Reader(far).read(2) == [large, b"second"]
        await trio.testing.wait_all_tasks_blocked()
        assert not link.unsent
        assert link.send_now(b"third")


async def test_several_frames_at_once_arrive_in_order_and_after_what_was_begun() -> None:
    async with linked() as (link, far), trio.open_nursery() as nursery:
        assert link.send_now(bytes(500_000))
        nursery.start_soon(link.send_many, [b"one", b"x" * 300_000, b"three"])
        assert await Reader(far).read(4) == [bytes(500_000), b"one", b"x" * 300_000, b"three"]


async def test_nothing_is_sent_after_the_close(virtual_clock: trio.testing.MockClock) -> None:
    async with linked() as (link, far):
        far.send(frame(b"", opcode=8))
        with pytest.raises(LinkClosed):
            await link.receive()
        with pytest.raises(LinkClosed):
            await link.send(b"too late")
        assert not link.send_now(b"too late")
        link.ping()
        far.settimeout(1)
        assert far.recv(100) == b"\x88\x00"


async def test_a_busy_link_takes_nothing_without_waiting() -> None:
    async with linked() as (link, far), trio.open_nursery() as nursery:
        nursery.start_soon(link.send, bytes(500_000))
        await trio.testing.wait_all_tasks_blocked()
        assert not link.send_now(b"not now")
        await Reader(far).read(1)


async def test_a_message_cut_off_by_cancellation_ends_the_link() -> None:
    async with linked() as (link, _):
        with trio.move_on_after(0.01):
            await link.send(bytes(500_000))
        with pytest.raises(LinkClosed, match="cut off"):
            await link.send(b"into the middle of the other")


async def test_who_always_has_something_to_say_leaves_the_others_their_turn() -> None:
    async with linked() as (link, far), trio.open_nursery() as nursery:
        turns = [0]

        async def other() -> None:
            while True:
                turns[0] += 1
                await trio.lowlevel.checkpoint()

        nursery.start_soon(other)
        for _ in range(5):
            far.send(frame(b"12345678") * 100 + frame(b"", opcode=9) * 20)
            before = turns[0]
            for _ in range(100):
                await link.receive()
            assert turns[0] - before > 50
        nursery.cancel_scope.cancel()


async def test_who_never_reads_is_given_up(virtual_clock: trio.testing.MockClock) -> None:
    async with linked(dead_seconds=30) as (link, _):
        began = trio.current_time()
        with pytest.raises(LinkClosed, match="does not read"):
            await link.send(bytes(500_000))
        assert trio.current_time() - began == pytest.approx(30, abs=1)


async def test_closing_says_why_and_does_not_wait_for_a_silent_peer() -> None:
    async with linked() as (link, far):
        link.close_with(4001, "replaced")
        await link.aclose()
        far.settimeout(1)
        assert far.recv(100) == b"\x88\x0a\x0f\xa1replaced"
        with pytest.raises(LinkClosed):
            await link.receive()


async def test_the_end_of_the_other_side_is_the_end_of_the_link() -> None:
    async with linked() as (link, far):
        far.close()
        with pytest.raises(LinkClosed):
            await link.receive()
        with pytest.raises(LinkClosed):
            await link.send(b"x")


def test_the_encoder_writes_what_the_library_reads() -> None:
    protocol = ClientProtocol(parse_uri("ws://broker"), state=OPEN)
    protocol.receive_data(encode_binary(b"abc") + encode_binary(b"y" * 70_000))
    assert [len(event.data) for event in protocol.events_received() if isinstance(event, Frame)] == [3, 70_000]


# Signs of life, in virtual time.


async def test_an_idle_connection_lives_on_by_pings(virtual_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    async with open_websocket_stand(tmp_path, inline=True) as stand:
        mesh, side = await stand.create()
        await trio.sleep(400)
        assert (await side.call(Stats(mesh=mesh.id), StatsAnswer)).devices_online == 1


async def test_a_peer_that_answers_no_ping_is_dead_after_a_minute(
    virtual_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with open_websocket_stand(tmp_path, Limits(hello_seconds=10_000), inline=True) as stand:
        raw = await dial(stand)
        await raw.upgrade()
        began = trio.current_time()
        with trio.fail_after(100):
            while stand.broker.clients:
                await trio.sleep(1)
        assert 55 < trio.current_time() - began < 70
        assert await raw.close_code() == 1008


async def test_a_message_that_trickles_in_is_not_waited_for(
    virtual_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with open_websocket_stand(tmp_path, Limits(hello_seconds=10_000), inline=True) as stand:
        raw = await dial(stand)
        await raw.upgrade()
        began = trio.current_time()
        for byte in frame(bytes(5000)):
            await raw.send(bytes((byte,)))
            await trio.sleep(1)
            if not stand.broker.clients:
                break
        assert 10 < trio.current_time() - began < 20
        assert await raw.close_code() == 1008


async def test_a_message_that_is_slow_but_moves_is_waited_for(
    virtual_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with open_websocket_stand(tmp_path, inline=True) as stand:
        mesh, side = await stand.create()
        raw = await dial(stand)
        await raw.upgrade()
        client = next(client for client in stand.broker.clients if not client.greeted.is_set())
        client.greet()
        data = frame(bytes(100_000))
        for start in range(0, len(data), 3000):
            await raw.send(data[start : start + 3000])
            await trio.sleep(1)
            assert client in stand.broker.clients or start > 90_000
        await side.call(Stats(mesh=mesh.id), StatsAnswer)


async def test_a_slow_listener_on_a_websocket_gets_whole_frames_in_order(tmp_path: Path) -> None:
    limits = Limits(live_rate=10_000, live_burst=10_000)
    async with open_websocket_stand(tmp_path, limits) as stand:
        mesh, ann = await stand.create()
        bob = Device("bob")
        await ann.append(mesh, mesh.add_member(bob))
        slow = await stand.enter(mesh, bob)
        await slow.call(LiveSubscribe(mesh=mesh.id, channels=[CHANNEL]), Done)
        slow.stop_reading()
        count = 3000
        for n in range(count):
            body = b"%08d" % n + bytes(4000)
            await ann.connection.notify("live.publish", {"mesh": mesh.id, "channel": CHANNEL}, body)
        with trio.fail_after(10):
            while stand.broker.metrics.value("live_published_total") < count:
                await trio.sleep(0.01)
        assert stand.broker.metrics.value("live_shed_total") > 0
        slow.read_on()
        heard = [int((await slow.heard("live")).body[:8])]
        while heard[-1] != count - 1:
            heard.append(int((await slow.heard("live")).body[:8]))
        assert heard == sorted(set(heard))
        assert len(heard) < count
