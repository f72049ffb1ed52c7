"""Cancelled calls over every kind of link: the handler learns of it, the connection lives."""

import pytest
import trio
from connection_kit import Gate, echo, receive, settle

from mesh_protocol.io.connection import Connection, Reply
from mesh_protocol.wire.rpc import MAX_IN_FLIGHT, ErrorReceived, Peer, ResponseReceived


async def test_a_cancelled_caller_cancels_the_handler_and_nothing_else(join, bugs):
    gate = Gate()
    async with join(gate) as (left, _), trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def leave():
            with scope:
                await left.call("m", {"n": 1})

        nursery.start_soon(leave)
        nursery.start_soon(left.call, "m", {"n": 2})
        await gate.until(lambda gate: len(gate.entered) == 2)
        scope.cancel()
        await gate.until(lambda gate: gate.cancelled)
        assert gate.cancelled == [1]
        gate.gate.set()
    assert not bugs


async def test_a_call_that_is_too_slow_is_taken_back(join):
    gate = Gate()
    async with join(gate) as (left, right):
        with pytest.raises(trio.TooSlowError):
            await left.call("m", {"n": 1}, seconds=0.05)
        await gate.until(lambda gate: gate.cancelled == [1])
        gate.gate.set()
        assert (await left.call("m", {"n": 2})).result == {"n": 2}
        await settle(lambda: right._peer.answering == 0 and left._peer.awaiting == 0)


async def test_calls_that_were_given_up_leave_their_places_to_others(join):
    gate = Gate()
    async with join(gate) as (left, _):
        for _ in range(3):
            async with trio.open_nursery() as nursery:
                for _ in range(MAX_IN_FLIGHT):
                    nursery.start_soon(left.call, "m", {})
                await gate.until(lambda gate: len(gate.entered) - len(gate.cancelled) == MAX_IN_FLIGHT)
                nursery.cancel_scope.cancel()
            await gate.until(lambda gate: len(gate.cancelled) == len(gate.entered))
        gate.gate.set()
        assert (await left.call("m", {"n": 1})).result == {"n": 1}


async def test_a_cancel_in_the_same_bytes_as_its_request_is_heard(links, bugs):
    gate = Gate()
    async with links() as (raw, link), trio.open_nursery() as nursery:
        nursery.start_soon(Connection(link, serve=gate, failed=bugs).run)
        peer = Peer()
        request_id, request = peer.request("m", {})
        if raw.whole:
            await raw.send(request)
            await raw.send(peer.cancel(request_id))
        else:
            await raw.send(request + peer.cancel(request_id))
        [event] = await receive(raw, peer)
        assert isinstance(event, ErrorReceived)
        assert (event.id, event.error.code) == (request_id, "cancelled")
        nursery.cancel_scope.cancel()
    assert gate.entered == gate.cancelled == [None]


async def test_a_cancel_that_comes_too_late_changes_nothing(links, bugs):
    async with links() as (raw, link), trio.open_nursery() as nursery:
        nursery.start_soon(Connection(link, serve=echo, failed=bugs).run)
        peer = Peer()
        for _ in range(3):
            request_id, request = peer.request("m", {"n": 1})
            await raw.send(request)
            assert await receive(raw, peer) == [ResponseReceived(request_id, {"n": 1}, b"")]
            await raw.send(peer.cancel(request_id))
        nursery.cancel_scope.cancel()


async def test_a_handler_that_breaks_while_it_is_cancelled_is_a_bug_and_hurts_no_neighbour(join, bugs):
    entered = trio.Event()

    async def serve(request):
        if request.method != "echo":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(clean_up_badly)
                entered.set()
        return await echo(request)

    async def clean_up_badly():
        try:
            await trio.sleep_forever()
        finally:
            raise RuntimeError("canary")

    async with join(serve) as (left, _):
        call = await left.begin("m", {})
        await entered.wait()
        with trio.CancelScope() as scope:
            scope.cancel()
            await call.reply()
        assert (await left.call("echo", {"n": 1})).result == {"n": 1}
    assert [method for method, _ in bugs] == ["m"]


async def test_a_handler_that_finishes_although_cancelled_still_answers(links, bugs):
    heard = trio.Event()

    async def serve(request):
        with trio.CancelScope(shield=True):
            await heard.wait()
        return Reply("done")

    async with links() as (raw, link), trio.open_nursery() as nursery:
        nursery.start_soon(Connection(link, serve=serve, notified=lambda _: heard.set(), failed=bugs).run)
        peer = Peer()
        request_id, request = peer.request("m", {})
        await raw.send(request)
        await raw.send(peer.cancel(request_id))
        await raw.send(peer.notify("the cancel came before this", {}))
        assert await receive(raw, peer) == [ResponseReceived(request_id, "done", b"")]
        nursery.cancel_scope.cancel()
