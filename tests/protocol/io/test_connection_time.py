"""What a connection does about time, on a virtual clock: bounds are kept to the second, nobody waits for ever."""

import pytest
import trio

from mesh_protocol.io.connection import FAREWELL_SECONDS, Connection, Reply
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.io.memory import link_pair
from mesh_protocol.io.outgoing import WINDOW
from mesh_protocol.wire.rpc import MAX_IN_FLIGHT, Peer


async def never(request):
    await trio.sleep_forever()
    return Reply(None)


class StuckLink:
    """Takes no byte and gives none, until it is closed."""

    whole = True

    def __init__(self):
        self.closed = trio.Event()

    async def send(self, frame):
        await self.closed.wait()
        raise LinkClosed("closed")

    async def receive(self):
        await self.closed.wait()
        raise LinkClosed("closed")

    async def aclose(self):
        self.closed.set()


class DeafLink(StuckLink):
    """Its reading side lives on after the writing side has broken."""

    async def send(self, frame):
        raise LinkClosed("the other side does not read")


async def test_a_call_waits_as_long_as_it_was_told(autojump_clock, bugs):
    left, right = link_pair()
    async with trio.open_nursery() as nursery:
        caller = Connection(left, failed=bugs)
        nursery.start_soon(caller.run)
        nursery.start_soon(Connection(right, serve=never, failed=bugs).run)
        for seconds in (0, 1, 3600):
            started = trio.current_time()
            with pytest.raises(trio.TooSlowError):
                await caller.call("m", {}, seconds=seconds)
            assert trio.current_time() - started == pytest.approx(seconds)
        call = await caller.begin("m", {})
        started = trio.current_time()
        with pytest.raises(trio.TooSlowError):
            await call.reply(seconds=7)
        assert trio.current_time() - started == pytest.approx(7)
        nursery.cancel_scope.cancel()


async def test_waiting_for_a_place_is_part_of_a_calls_time(autojump_clock, bugs):
    left, right = link_pair()
    async with trio.open_nursery() as nursery:
        caller = Connection(left, failed=bugs)
        nursery.start_soon(caller.run)
        nursery.start_soon(Connection(right, serve=never, failed=bugs).run)
        for _ in range(MAX_IN_FLIGHT):
            await caller.begin("m", {})
        started = trio.current_time()
        with pytest.raises(trio.TooSlowError):
            await caller.call("m", {}, seconds=5)
        assert trio.current_time() - started == pytest.approx(5)
        nursery.cancel_scope.cancel()


async def test_a_call_over_a_link_that_takes_nothing_ends_in_time(autojump_clock, bugs):
    connection = Connection(StuckLink(), failed=bugs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        for _ in range(5):
            started = trio.current_time()
            with pytest.raises(trio.TooSlowError):
                await connection.call("m", {}, bytes(100_000), seconds=5)
            assert trio.current_time() - started == pytest.approx(5)
        assert connection.closed is None
        nursery.cancel_scope.cancel()


async def test_a_call_given_up_before_it_was_sent_is_owed_no_answer(autojump_clock, bugs):
    connection = Connection(StuckLink(), failed=bugs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await connection.begin("first", {}, bytes(2 * WINDOW))
        for _ in range(2 * MAX_IN_FLIGHT):
            with trio.move_on_after(1) as scope:
                await connection.begin("more", {})
            assert scope.cancelled_caught
        assert connection._peer.awaiting == 1
        nursery.cancel_scope.cancel()


async def test_frames_that_wait_go_out_together_where_the_link_can(autojump_clock, bugs):
    class BatchingLink(StuckLink):
        def __init__(self):
            super().__init__()
            self.sent = []

        async def send(self, frame):
            self.sent.append([frame])
            await trio.sleep(1)

        async def send_many(self, frames):
            self.sent.append([*frames])
            await trio.sleep(1)

    link = BatchingLink()
    connection = Connection(link, failed=bugs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        frames = [Peer().notify("event", {"n": number}) for number in range(10)]
        await connection.send_encoded(frames[0])
        await trio.sleep(0.5)
        for frame in frames[1:]:
            await connection.send_encoded(frame)
        await trio.sleep(5)
        assert connection._outgoing.waiting == 0
        nursery.cancel_scope.cancel()
    assert link.sent == [frames[:1], frames[1:]]


async def test_closing_a_link_that_takes_nothing_takes_a_second(autojump_clock, bugs):
    link = StuckLink()
    connection = Connection(link, failed=bugs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await connection.notify("event", {})
        started = trio.current_time()
        await connection.aclose()
        assert trio.current_time() - started == pytest.approx(FAREWELL_SECONDS)
    assert link.closed.is_set()


async def test_closing_when_nothing_is_queued_takes_no_time(autojump_clock, bugs):
    connection = Connection(StuckLink(), failed=bugs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        started = trio.current_time()
        await connection.aclose()
        assert trio.current_time() == started


async def test_closing_within_a_cancelled_scope_closes_the_link(autojump_clock, bugs):
    link = StuckLink()
    connection = Connection(link, failed=bugs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await connection.notify("event", {})
        with trio.CancelScope() as scope:
            scope.cancel()
            await connection.aclose()
    assert link.closed.is_set()


async def test_a_link_that_cannot_be_written_ends_although_nothing_is_heard(autojump_clock, bugs):
    connection = Connection(DeafLink(), failed=bugs)
    async with trio.open_nursery() as nursery:
        reasons = []

        async def run():
            reasons.append(await connection.run())

        nursery.start_soon(run)
        started = trio.current_time()
        with pytest.raises(LinkClosed, match="does not read"):
            await connection.call("m", {})
    assert reasons == ["the other side does not read"]
    assert trio.current_time() - started == pytest.approx(FAREWELL_SECONDS)


async def test_the_last_word_is_timed(autojump_clock, bugs):
    left, right = link_pair()
    async with trio.open_nursery() as nursery:
        listener = Connection(right, failed=bugs)
        nursery.start_soon(listener.run)
        speaker = Connection(left, failed=bugs)
        nursery.start_soon(speaker.run)
        await trio.sleep(30)
        assert trio.current_time() - listener.last_heard == pytest.approx(30)
        await speaker.notify("event", {})
        await trio.sleep(1)
        assert trio.current_time() - listener.last_heard == pytest.approx(1)
        nursery.cancel_scope.cancel()
