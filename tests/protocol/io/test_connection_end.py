"""The end of a connection and peers that do not read, over every kind of link: nobody waits for ever."""

import gc
import tracemalloc

import pytest
import trio
from connection_kit import Gate, echo, receive, settle

from mesh_protocol.io.connection import Connection, Reply
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.io.outgoing import WINDOW
from mesh_protocol.wire.codec import encode
from mesh_protocol.wire.framing import encode_frame
from mesh_protocol.wire.rpc import MAX_IN_FLIGHT, Peer


async def test_link_loss_wakes_every_caller_on_both_sides(join):
    gate, woken = Gate(), []

    async def ask(connection):
        with pytest.raises(LinkClosed):
            await connection.call("m", {})
        woken.append(connection)

    async with join(gate, left_serve=gate) as (left, right), trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask, left)
            nursery.start_soon(ask, right)
        await gate.until(lambda gate: len(gate.entered) == 10)
        await left._link.aclose()
    assert (woken.count(left), woken.count(right)) == (5, 5)


async def test_link_loss_wakes_those_who_wait_for_a_place(join):
    gate, woken = Gate(), []

    async def ask(left):
        with pytest.raises(LinkClosed):
            await left.call("m", {})
        woken.append(1)

    async with join(gate) as (left, right), trio.open_nursery() as nursery:
        for _ in range(MAX_IN_FLIGHT + 10):
            nursery.start_soon(ask, left)
        await gate.until(lambda gate: len(gate.entered) == MAX_IN_FLIGHT)
        await right.aclose()
    assert len(woken) == MAX_IN_FLIGHT + 10


async def test_link_loss_cancels_the_handlers(join):
    gate = Gate()
    async with join(gate) as (left, _):
        await left.begin("m", {"n": 1})
        await gate.until(lambda gate: gate.entered)
        await left.aclose()
        await gate.until(lambda gate: gate.cancelled == [1])


async def test_run_returns_on_both_sides_when_one_closes_and_says_why(links, bugs):
    async with links() as (left_link, right_link), trio.open_nursery() as nursery:
        left, right = Connection(left_link, failed=bugs), Connection(right_link, failed=bugs)
        reasons = {}

        async def run(name, connection):
            reasons[name] = await connection.run()

        nursery.start_soon(run, "left", left)
        nursery.start_soon(run, "right", right)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (left.closed, right.closed) == (None, None)
        await left.aclose("enough")
    assert reasons["left"] == left.closed == "enough"
    assert reasons["right"] == right.closed
    assert right.closed


async def test_nothing_can_be_sent_after_the_end(join):
    async with join(echo) as (left, _):
        await left.aclose("enough")
        for attempt in (left.call("m", {}), left.begin("m", {}), left.notify("n", {}), left.send_encoded(b"")):
            with pytest.raises(LinkClosed, match="enough"):
                await attempt
        await left.aclose("again")
        assert left.closed == "enough"


async def test_what_was_queued_before_the_end_is_still_sent(join):
    seen = []
    async with join(notified=lambda event: seen.append(event.params["n"])) as (left, right):
        for number in range(20):
            await left.notify("event", {"n": number}, bytes(2000))
        await left.aclose()
        await settle(lambda: right.closed is not None)
    assert seen == [*range(20)]


async def test_a_cancelled_run_wakes_its_callers(links, bugs):
    gate = Gate()
    async with links() as (left_link, right_link), trio.open_nursery() as nursery:
        left = Connection(left_link, failed=bugs)
        nursery.start_soon(Connection(right_link, serve=gate, failed=bugs).run)
        scope = trio.CancelScope()

        async def run():
            with scope:
                await left.run()

        nursery.start_soon(run)
        call = await left.begin("m", {})
        await gate.until(lambda gate: gate.entered)
        scope.cancel()
        with pytest.raises(LinkClosed, match="cancelled"):
            await call.reply()
        nursery.cancel_scope.cancel()


async def test_a_broken_protocol_ends_the_connection_and_says_so(links, bugs):
    for wrong in (b"\xff" * 8, encode_frame(b"\xc1"), encode_frame(encode([9])), encode_frame(encode([1, 1, None, 0]))):
        async with links() as (raw, link):
            connection = Connection(link, serve=echo, failed=bugs)
            await raw.send(wrong)
            assert (await connection.run()).startswith("protocol error: ")
            with pytest.raises(LinkClosed):
                await receive(raw, Peer())
    assert not bugs


async def test_what_the_other_side_said_before_it_closed_is_still_read(links, bugs):
    async with links() as (raw, link):
        seen = []
        connection = Connection(link, notified=lambda event: seen.append(event.method), failed=bugs)
        for _ in range(5):
            await raw.send(Peer().notify("bye", {}))
        await raw.aclose()
        await connection.run()
    assert seen == ["bye"] * 5


async def test_hearing_moves_the_clock_of_the_last_word(join):
    async with join(echo) as (left, _):
        before = left.last_heard
        await trio.sleep(0.01)
        await left.call("m", {})
        assert left.last_heard > before


async def test_who_sends_to_a_peer_that_does_not_read_waits_and_loses_nothing(links, bugs):
    async with links() as (raw, link), trio.open_nursery() as nursery:
        connection = Connection(link, failed=bugs)
        nursery.start_soon(connection.run)
        sent = 0

        async def flood():
            nonlocal sent
            for number in range(400):
                await connection.notify("event", {"n": number}, bytes(50_000))
                sent += 1

        nursery.start_soon(flood)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert sent < 400
        assert connection._outgoing.waiting <= WINDOW + 60_000
        peer, seen = Peer(), []
        while len(seen) < 400:
            seen += [event.params["n"] for event in await receive(raw, peer)]
        assert seen == [*range(400)]
        nursery.cancel_scope.cancel()


async def test_callers_that_give_up_on_a_peer_that_does_not_read_leave_whole_frames(links, bugs):
    async with links() as (raw, link), trio.open_nursery() as nursery:
        connection = Connection(link, failed=bugs)
        nursery.start_soon(connection.run)
        for _ in range(30):
            with pytest.raises(trio.TooSlowError):
                await connection.call("m", {}, bytes(900_000), seconds=0.02)
        assert connection.closed is None
        peer, methods = Peer(), set()
        nursery.start_soon(connection.notify, "after", {})
        while "after" not in methods:
            for event in await receive(raw, peer):
                methods.add(getattr(event, "method", "cancel"))
        assert methods >= {"m", "cancel", "after"}
        nursery.cancel_scope.cancel()


async def test_a_peer_that_asks_and_never_reads_is_stopped_at_the_bound(links, bugs):
    served = 0

    async def serve(request):
        nonlocal served
        served += 1
        return Reply(None, bytes(500_000))

    async with links() as (raw, link):
        gc.collect()
        tracemalloc.start()
        try:
            connection = Connection(link, serve=serve, failed=bugs)

            async def ask():
                peer = Peer()
                try:
                    while True:
                        await raw.send(peer.request("m", {})[1])
                except LinkClosed:
                    return

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                reason = await connection.run()
                nursery.cancel_scope.cancel()
            assert reason == f"protocol error: more than {MAX_IN_FLIGHT} requests at once"
            assert tracemalloc.get_traced_memory()[1] < 2 * MAX_IN_FLIGHT * 500_000
        finally:
            tracemalloc.stop()
    assert served >= MAX_IN_FLIGHT


async def test_a_slow_peer_does_not_slow_another_connection(links, join, bugs):
    async with links() as (_, link), trio.open_nursery() as nursery:
        stuck = Connection(link, failed=bugs)
        nursery.start_soon(stuck.run)

        async def flood():
            while True:
                await stuck.notify("event", {}, bytes(100_000))

        nursery.start_soon(flood)
        await trio.testing.wait_all_tasks_blocked(0.05)
        async with join(echo) as (left, _):
            for number in range(20):
                assert (await left.call("m", {"n": number}, seconds=5)).result == {"n": number}
        nursery.cancel_scope.cancel()
