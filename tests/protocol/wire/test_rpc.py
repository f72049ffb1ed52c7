"""The RPC peer without I/O: both roles, ids, cancellation, the bound of unanswered requests, and wrong shapes."""

import pytest

from mesh_protocol.wire.codec import CodecError, encode
from mesh_protocol.wire.framing import MAX_BODY, FrameError, encode_frame
from mesh_protocol.wire.rpc import (
    MAX_ID,
    MAX_IN_FLIGHT,
    CancelReceived,
    ErrorReceived,
    NotificationReceived,
    Peer,
    ProtocolError,
    RequestReceived,
    ResponseReceived,
)


def deliver(peer, message, body=b""):
    """What `peer` makes of a header, given as a value or as msgpack bytes; the same over both kinds of links."""
    frame = encode_frame(message if isinstance(message, bytes) else encode(message), body)
    return peer.receive(frame)


def asked(peer, method="m"):
    """A peer's request, as the other side sees its id."""
    return peer.request(method, {})[0]


def test_a_request_is_answered_by_its_id_in_either_direction():
    left, right = Peer(), Peer()
    for caller, server in ((left, right), (right, left)):
        request_id, data = caller.request("add", {"a": 1}, b"body")
        assert server.receive(data) == [RequestReceived(request_id, "add", {"a": 1}, b"body")]
        assert (caller.awaiting, server.answering) == (1, 1)
        assert caller.receive(server.respond(request_id, [3], b"reply")) == [
            ResponseReceived(request_id, [3], b"reply")
        ]
        assert (caller.awaiting, server.answering) == (0, 0)


def test_answers_may_come_in_any_order():
    caller, server = Peer(), Peer()
    ids = []
    for number in range(5):
        request_id, data = caller.request("m", {"n": number})
        server.receive(data)
        ids.append(request_id)
    for request_id in reversed(ids):
        assert caller.receive(server.respond(request_id, request_id)) == [ResponseReceived(request_id, request_id, b"")]


def test_both_sides_use_the_same_ids_without_mixing_them_up():
    left, right = Peer(), Peer()
    (left_id, left_data), (right_id, right_data) = left.request("l", {}), right.request("r", {})
    assert left_id == right_id
    right.receive(left_data)
    left.receive(right_data)
    assert right.receive(left.respond(right_id, "for right")) == [ResponseReceived(right_id, "for right", b"")]
    assert left.receive(right.respond(left_id, "for left")) == [ResponseReceived(left_id, "for left", b"")]


def test_a_refusal_comes_as_an_error_with_its_data():
    caller, server = Peer(), Peer()
    request_id, data = caller.request("m", {})
    server.receive(data)
    [event] = caller.receive(server.fail(request_id, "not_found", "there is no message 7", {"id": "7"}))
    assert isinstance(event, ErrorReceived)
    assert event.id == request_id
    assert (event.error.code, event.error.message, event.error.data) == (
        "not_found",
        "there is no message 7",
        {"id": "7"},
    )


def test_a_notification_has_no_id_and_no_answer():
    left, right = Peer(), Peer()
    assert right.receive(left.notify("event", {"n": 1}, b"x")) == [NotificationReceived("event", {"n": 1}, b"x")]
    assert (left.awaiting, right.answering) == (0, 0)


def test_a_message_link_gives_the_same_events_as_a_stream():
    left, right, other = Peer(), Peer(), Peer()
    _, request = left.request("m", {"a": 1}, b"b")
    for data in (request, left.notify("n", {}), left.cancel(1)):
        assert [right.receive_message(data)] == other.receive(data)


# Ids.


def test_ids_rise_from_one():
    assert [asked(Peer()), *[asked(peer) for peer in [Peer()] for _ in range(2)]] == [1, 1, 2]


def test_ids_wrap_and_pass_over_those_that_still_wait():
    peer = Peer()
    first = asked(peer)
    peer._next_id = MAX_ID - 1
    assert asked(peer) == MAX_ID
    assert first == 1
    assert asked(peer) == 2


@pytest.mark.parametrize("bad", [0, -1, MAX_ID + 1, True, False, 1.0, "1", None, b"1", [1]])
def test_an_id_must_be_a_positive_number_of_32_bits(bad):
    for message in ([0, bad, "m", {}], [1, bad, None, None], [2, "rpc.cancel", {"id": bad}]):
        peer = Peer()
        asked(peer)
        with pytest.raises(ProtocolError):
            deliver(peer, message)


def test_a_request_id_in_use_is_refused_and_free_after_its_answer():
    peer = Peer()
    deliver(peer, [0, 5, "m", {}])
    with pytest.raises(ProtocolError, match="in use"):
        deliver(peer, [0, 5, "m", {}])
    peer.respond(5, None)
    assert deliver(peer, [0, 5, "m", {}]) == [RequestReceived(5, "m", {}, b"")]


def test_an_answer_to_nothing_ends_the_connection():
    for message in ([1, 1, None, None], [1, 1, {"code": "x", "message": "", "data": {}}, None]):
        with pytest.raises(ProtocolError, match="to nothing"):
            deliver(Peer(), message)


def test_a_second_answer_ends_the_connection():
    peer = Peer()
    request_id = asked(peer)
    deliver(peer, [1, request_id, None, 1])
    with pytest.raises(ProtocolError, match="to nothing"):
        deliver(peer, [1, request_id, None, 1])


def test_an_answer_to_a_withdrawn_request_is_an_answer_to_nothing():
    peer = Peer()
    request_id = asked(peer)
    peer.withdraw(request_id)
    assert peer.awaiting == 0
    with pytest.raises(ProtocolError, match="to nothing"):
        deliver(peer, [1, request_id, None, None])


def test_answering_what_was_not_asked_is_a_bug_of_this_side():
    with pytest.raises(KeyError):
        Peer().respond(1, None)
    with pytest.raises(KeyError):
        Peer().fail(1, "internal", "", {})


# Cancellation.


def test_a_cancelled_request_is_still_owed_its_answer():
    caller, server = Peer(), Peer()
    request_id, data = caller.request("m", {})
    server.receive(data)
    assert server.receive(caller.cancel(request_id)) == [CancelReceived(request_id)]
    assert (caller.awaiting, server.answering) == (1, 1)
    [event] = caller.receive(server.fail(request_id, "cancelled", "the call was cancelled", {}))
    assert isinstance(event, ErrorReceived)
    assert (caller.awaiting, server.answering) == (0, 0)


def test_cancelling_what_is_answered_already_is_no_error():
    caller, server = Peer(), Peer()
    request_id, data = caller.request("m", {})
    server.receive(data)
    answer = server.respond(request_id, None)
    assert server.receive(caller.cancel(request_id)) == [CancelReceived(request_id)]
    caller.receive(answer)


@pytest.mark.parametrize("params", [{}, {"id": "1"}, {"id": None}, {"ID": 1}])
def test_a_cancel_without_an_id_never_reaches_the_application(params):
    with pytest.raises(ProtocolError):
        deliver(Peer(), [2, "rpc.cancel", params])


# The bound.


@pytest.mark.parametrize("bound", [1, 3, MAX_IN_FLIGHT])
def test_one_request_more_than_the_bound_ends_the_connection(bound):
    peer = Peer(max_in_flight=bound)
    for number in range(1, bound + 1):
        deliver(peer, [0, number, "m", {}])
    with pytest.raises(ProtocolError, match=f"more than {bound} requests"):
        deliver(peer, [0, bound + 1, "m", {}])


def test_an_answer_makes_room_and_a_cancel_does_not():
    peer = Peer(max_in_flight=1)
    deliver(peer, [0, 1, "m", {}])
    deliver(peer, [2, "rpc.cancel", {"id": 1}])
    with pytest.raises(ProtocolError):
        deliver(peer, [0, 2, "m", {}])
    peer.fail(1, "cancelled", "", {})
    assert deliver(peer, [0, 2, "m", {}]) == [RequestReceived(2, "m", {}, b"")]


# Wrong shapes.

WRONG = [
    [],
    [0],
    [1],
    [2],
    [3, "m", {}],
    [-1, 1, "m", {}],
    [True, 1, None, None],
    [False, 1, "m", {}],
    [0.0, 1, "m", {}],
    [2.0, "m", {}],
    [None, 1, "m", {}],
    ["0", 1, "m", {}],
    [0, 1, "m"],
    [0, 1, "m", {}, None],
    [0, 1, b"m", {}],
    [0, 1, None, {}],
    [0, 1, "m", []],
    [0, 1, "m", None],
    [0, 1, "m" * 65, {}],
    [1, 1, None],
    [1, 1, None, None, None],
    [1, 1, "error", None],
    [1, 1, {}, None],
    [1, 1, {"code": "x", "message": "y"}, None],
    [1, 1, {"code": 1, "message": "y", "data": {}}, None],
    [1, 1, {"code": "x", "message": None, "data": {}}, None],
    [1, 1, {"code": "x", "message": "y", "data": []}, None],
    [1, 1, {"code": "x", "message": "y", "data": {}}, "a result too"],
    [1, 1, False, None],
    [2, "m"],
    [2, "m", {}, {}],
    [2, 1, {}],
    [2, "m", []],
    [2, "m" * 65, {}],
    {},
    {"0": 1},
    None,
    0,
    "text",
    b"bytes",
]


@pytest.mark.parametrize("message", WRONG, ids=repr)
def test_a_header_that_is_not_a_message_ends_the_connection(message):
    peer = Peer()
    asked(peer)
    with pytest.raises(ProtocolError):
        deliver(peer, message)
    assert (peer.awaiting, peer.answering) == (1, 0)


@pytest.mark.parametrize("header", [b"", b"\xc1", b"\x94\x00\x01\xa1m\x80\x80", b"\x94\x00\x01\xa1\xff\x80", b"\x92"])
def test_a_header_that_is_not_msgpack_ends_the_connection(header):
    with pytest.raises(ProtocolError, match="header:"):
        deliver(Peer(), header)


def test_the_text_of_a_protocol_error_quotes_no_payload():
    peer = Peer()
    with pytest.raises(ProtocolError) as caught:
        deliver(peer, [0, 1, "m", "canary-7f3a"], b"canary-7f3a")
    assert "canary" not in str(caught.value)


def test_a_method_of_64_characters_is_the_longest():
    assert deliver(Peer(), [0, 1, "m" * 64, {}]) == [RequestReceived(1, "m" * 64, {}, b"")]


def test_an_oversized_frame_ends_the_connection():
    peer = Peer(max_header=64, max_body=8)
    with pytest.raises(ProtocolError, match="too large"):
        deliver(peer, [0, 1, "m", {}], b"123456789")
    with pytest.raises(ProtocolError, match="too large"):
        Peer(max_header=64).receive_message(encode_frame(encode([0, 1, "m", {"a": "x" * 64}])))


def test_the_bytes_of_an_unfinished_frame_are_counted():
    peer = Peer()
    data = peer.notify("m", {})
    assert peer.receive(data[:5]) == []
    assert peer.unfinished == 5


# What this side may not send.


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"a": "x" * 65536}, CodecError),
        ({"a": [0] * 4096}, CodecError),
        ({"a": "\ud800"}, CodecError),
        ({"a": 2**64}, CodecError),
        ({1: 2}, CodecError),
    ],
)
def test_what_the_other_side_would_refuse_is_refused_before_it_is_sent(params, error):
    peer = Peer()
    deliver(peer, [0, 9, "m", {}])
    for attempt in (
        lambda: peer.request("m", params),
        lambda: peer.notify("m", params),
        lambda: peer.respond(9, params),
        lambda: peer.fail(9, "not_found", "", params),
    ):
        with pytest.raises(error):
            attempt()
    assert (peer.awaiting, peer.answering) == (0, 1)  # the answer is still owed, and can still be given
    peer.fail(9, "internal", "", {})


def test_a_value_too_deep_is_refused_before_it_is_sent():
    value: object = None
    for _ in range(17):
        value = [value]
    with pytest.raises(CodecError, match="nested"):
        Peer().request("m", {"a": value})


def test_a_body_too_large_is_refused_before_it_is_sent():
    peer = Peer()
    deliver(peer, [0, 9, "m", {}])
    for attempt in (
        lambda: peer.request("m", {}, b"x" * (MAX_BODY + 1)),
        lambda: peer.respond(9, None, b"x" * (MAX_BODY + 1)),
    ):
        with pytest.raises(FrameError):
            attempt()
    assert (peer.awaiting, peer.answering) == (0, 1)
    assert asked(peer) == 1  # the number was not used up
