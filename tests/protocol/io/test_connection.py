"""One conformance suite for a connection over every kind of link."""

import gc
import tracemalloc

import pytest
import trio
from mesh_protocol.io.connection import Connection, Reply
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.io.outgoing import WINDOW
from mesh_protocol.wire.codec import CodecError, encode
from mesh_protocol.wire.errors import MeshError, RemoteError
from mesh_protocol.wire.framing import MAX_BODY, encode_frame
from mesh_protocol.wire.rpc import MAX_IN_FLIGHT, ErrorReceived, Peer, ResponseReceived


async def echo(request):
    return Reply(request.params, request.body)


class Gate:
    """A server whose calls wait at a gate; `entered` and `left` say who came and how it went."""

    def __init__(self):
        self.gate = trio.Event()
        self.entered = []
        self.cancelled = []
        self._changed = trio.Event()

    async def __call__(self, request):
        self.entered.append(request.params.get("n"))
        self._notice()
        try:
            await self.gate.wait()
        except trio.Cancelled:
            self.cancelled.append(request.params.get("n"))
            self._notice()
            raise
        return Reply(request.params)

    def _notice(self):
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, condition):
        while not condition(self):
            await self._changed.wait()


async def settle(condition):
    """Let the other tasks run until `condition` holds; the join's own bound ends a wait in vain."""
    while not condition():
        await trio.sleep(0.001)


# Calls.


async def test_a_call_returns_its_result_and_body_in_both_directions(join):
    async with join(echo, left_serve=echo) as (left, right):
        for caller in (left, right):
            assert await caller.call("m", {"a": [1, b"x"]}, b"body") == Reply({"a": [1, b"x"]}, b"body")


async def test_the_largest_body_travels_both_ways(join):
    body = bytes(range(256)) * (MAX_BODY // 256)
    async with join(echo) as (left, _):
        assert (await left.call("m", {}, body)).body == body


async def test_more_calls_than_the_bound_are_all_answered_each_with_its_own(join):
    answers = {}

    async def ask(connection, number):
        answers[number] = (await connection.call("m", {"n": number})).result["n"]

    async with join(echo, left_serve=echo) as (left, right), trio.open_nursery() as nursery:
        for number in range(3 * MAX_IN_FLIGHT):
            nursery.start_soon(ask, left if number % 2 else right, number)
    assert answers == {number: number for number in range(3 * MAX_IN_FLIGHT)}


async def test_answers_in_another_order_find_their_callers(join):
    gates = [trio.Event() for _ in range(10)]

    async def serve(request):
        await gates[request.params["n"]].wait()
        return Reply(request.params["n"])

    finished = []

    async def ask(left, number):
        assert (await left.call("m", {"n": number})).result == number
        finished.append(number)

    async with join(serve) as (left, _), trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(ask, left, number)
        for number in reversed(range(10)):
            gates[number].set()
            await settle(lambda number=number: number in finished)
    assert finished == [*reversed(range(10))]


async def test_the_other_side_never_owes_more_answers_than_the_bound(join):
    gate = Gate()
    async with join(gate) as (left, _), trio.open_nursery() as nursery:
        for number in range(MAX_IN_FLIGHT + 20):
            nursery.start_soon(left.call, "m", {"n": number})
        await gate.until(lambda gate: len(gate.entered) == MAX_IN_FLIGHT)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(gate.entered) == MAX_IN_FLIGHT
        gate.gate.set()
    assert sorted(gate.entered) == [*range(MAX_IN_FLIGHT + 20)]


async def test_a_server_can_call_back_while_it_answers(join):
    async def serve(request):
        return await right.call("back", {"n": request.params["n"] + 1})

    async with join(serve, left_serve=echo) as (left, right):
        assert (await left.call("m", {"n": 1})).result == {"n": 2}


async def test_calls_that_were_begun_in_order_are_served_in_order(join):
    seen = []

    def serve(request):
        seen.append(request.params["n"])
        return echo(request)

    async with join(serve) as (left, _):
        calls = [await left.begin("m", {"n": number}) for number in range(50)]
        assert [(await call.reply()).result["n"] for call in calls] == [*range(50)]
    assert seen == [*range(50)]


async def test_requests_and_notifications_keep_one_order(join):
    seen = []

    def serve(request):
        seen.append(request.params["n"])
        return echo(request)

    async with join(serve, notified=lambda event: seen.append(event.params["n"])) as (left, _):
        calls = []
        for number in range(0, 60, 2):
            await left.notify("event", {"n": number})
            calls.append(await left.begin("m", {"n": number + 1}))
        for call in calls:
            await call.reply()
    assert seen == [*range(60)]


async def test_a_frame_encoded_once_reaches_several(join):
    seen = []
    frame = Peer().notify("event", {"n": 1}, b"body")
    async with join(notified=seen.append) as (left, _):
        for _ in range(3):
            await left.send_encoded(frame)
        await settle(lambda: len(seen) == 3)
    assert {(event.method, event.params["n"], event.body) for event in seen} == {("event", 1, b"body")}


# Refusals and bugs.


async def test_a_refusal_reaches_the_caller_with_its_data(join, bugs):
    async def serve(request):
        raise MeshError("not_found", what="message", id="7")

    async with join(serve) as (left, _):
        with pytest.raises(RemoteError) as caught:
            await left.call("m", {})
    assert (caught.value.code, caught.value.message, caught.value.data) == (
        "not_found",
        "there is no message 7",
        {"what": "message", "id": "7"},
    )
    assert not bugs


async def test_a_side_that_serves_nothing_says_so(join):
    async with join() as (left, right):
        for caller in (left, right):
            with pytest.raises(RemoteError, match="unknown_method"):
                await caller.call("m", {})


def refuse_at_once(request):
    raise MeshError("not_found", what="message", id="7")


def break_at_once(request):
    raise RuntimeError("canary-51c0")


async def break_later(request):
    await trio.lowlevel.checkpoint()
    raise RuntimeError("canary-51c0")


async def break_in_a_group(request):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(break_later, request)
        await trio.sleep_forever()


async def answer_nonsense(request):
    return {"not": "a reply"}


async def answer_too_much(request):
    return Reply(["x" * 1000] * 100)


async def answer_too_deep(request):
    value = None
    for _ in range(20):
        value = [value]
    return Reply(value)


async def answer_what_cannot_travel(request):
    return Reply({"a": object()})


async def answer_half_a_character(request):
    return Reply("\ud800")


async def answer_too_large_a_body(request):
    return Reply(None, bytes(MAX_BODY + 1))


async def refuse_with_too_much(request):
    raise MeshError("unknown_recipient", target="x", candidates=["name" * 10] * 5000)


BUGS = [
    break_at_once,
    break_later,
    break_in_a_group,
    answer_nonsense,
    answer_too_much,
    answer_too_deep,
    answer_what_cannot_travel,
    answer_half_a_character,
    answer_too_large_a_body,
    refuse_with_too_much,
]


@pytest.mark.parametrize("handler", BUGS, ids=lambda handler: handler.__name__)
async def test_a_handlers_bug_is_internal_and_hurts_no_neighbour(join, bugs, handler):
    gate = Gate()

    def serve(request):
        return gate(request) if request.method == "neighbour" else handler(request)

    async with join(serve) as (left, _):
        neighbour = await left.begin("neighbour", {"n": 1})
        with pytest.raises(RemoteError) as caught:
            await left.call("broken", {})
        assert caught.value.code == "internal"
        assert caught.value.data == {"reference": "ref-1"}
        assert "canary" not in str(caught.value)
        gate.gate.set()
        assert (await neighbour.reply()).result == {"n": 1}
    assert [method for method, _ in bugs] == ["broken"]


async def test_a_plain_function_may_refuse(join, bugs):
    async with join(refuse_at_once) as (left, _):
        with pytest.raises(RemoteError, match="not_found"):
            await left.call("m", {})
    assert not bugs


async def test_a_bug_in_a_notification_is_reported_and_the_next_one_arrives(join, bugs):
    seen = []

    def notified(event):
        seen.append(event.params["n"])
        if event.params["n"] == 1:
            raise RuntimeError("canary")

    async with join(echo, notified=notified) as (left, _):
        for number in range(3):
            await left.notify("event", {"n": number})
        await left.call("m", {})
    assert seen == [0, 1, 2]
    assert [method for method, _ in bugs] == ["event"]


@pytest.mark.parametrize("params", [{"a": "x" * 70_000}, {"a": [0] * 5000}, {"a": "\ud800"}])
async def test_what_cannot_travel_is_the_callers_own_error(join, params):
    async with join(echo) as (left, _):
        for _ in range(2 * MAX_IN_FLIGHT):  # and costs no place among the calls
            with pytest.raises(CodecError):
                await left.call("m", params)
        assert (await left.call("m", {"n": 1})).result == {"n": 1}


# Cancellation.


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


# The end.


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


# A slow peer.


async def receive(link, peer):
    """The next events of a link that no connection reads."""
    while True:
        data = await link.receive()
        events = [peer.receive_message(data)] if link.whole else peer.receive(data)
        if events:
            return events


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
