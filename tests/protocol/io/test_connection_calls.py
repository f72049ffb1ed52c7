"""Calls over every kind of link: each gets its own answer, in order, and a handler's fault stays its own."""

import pytest
import trio
from connection_kit import Gate, echo, settle

from mesh_protocol.io.connection import Reply
from mesh_protocol.wire.codec import CodecError
from mesh_protocol.wire.errors import MeshError, RemoteError
from mesh_protocol.wire.framing import MAX_BODY
from mesh_protocol.wire.rpc import MAX_IN_FLIGHT, Peer


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
