"""The clients' blocking connection against the daemon's side of the same protocol."""

import contextlib
import itertools
import socket

import pytest
from blocking_daemon import SECONDS

from mesh_protocol.io.blocking import MAX_EVENTS, Client
from mesh_protocol.wire.codec import CodecError
from mesh_protocol.wire.errors import MeshError, RemoteError
from mesh_protocol.wire.framing import MAX_BODY, FrameError
from mesh_protocol.wire.rpc import PROTOCOL, Peer


def test_a_call_returns_its_result_and_body(client):
    assert client.call("echo", {"a": [1, b"x"]}, b"body", timeout=SECONDS) == ({"a": [1, b"x"]}, b"body")


def test_a_call_may_wait_for_ever(client):
    assert client.call("echo", {"a": 1}) == ({"a": 1}, b"")


def test_the_largest_body_travels_both_ways(client):
    body = bytes(range(256)) * (MAX_BODY // 256)
    assert client.call("echo", {}, body, timeout=SECONDS) == ({}, body)


def test_many_calls_follow_one_another(client):
    for number in range(200):
        assert client.call("echo", {"n": number}, timeout=SECONDS) == ({"n": number}, b"")


def test_the_hello_goes_first_and_once(daemon, client):
    assert client.hello is None
    client.call("echo", {"n": 1}, timeout=SECONDS)
    client.call("echo", {"n": 2}, timeout=SECONDS)
    assert [request.method for request in daemon.seen] == ["hello", "echo", "echo"]
    assert daemon.seen[0].params == {"proto": [*PROTOCOL], "build": "1.2.3"}
    assert client.hello == {"proto": [*PROTOCOL], "build": "test"}


def test_the_hello_says_the_environment_it_was_given(daemon):
    with Client(str(daemon.path), build="1", env={"HOME": "/home/ann"}) as client:
        client.call("echo", {}, timeout=SECONDS)
    assert daemon.seen[0].params["env"] == {"HOME": "/home/ann"}


def test_the_hello_costs_no_round_trip():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = Client(ours, build="1")
        with pytest.raises(TimeoutError):
            client.call("echo", {}, timeout=0.05)
        [hello, call, *_] = Peer().receive(theirs.recv(65536))  # in one piece, before any answer
        assert (hello.method, call.method) == ("hello", "echo")


def test_a_refused_hello_is_the_first_calls_refusal(daemon, client):
    daemon.refusal = MeshError("version_mismatch", client="1.0", daemon="2.0")
    with pytest.raises(RemoteError) as caught:
        client.call("echo", {}, timeout=SECONDS)
    assert (caught.value.code, caught.value.exit) == ("version_mismatch", 75)


def test_a_refusal_raises_with_its_data_and_the_connection_goes_on(client):
    for _ in range(2):
        with pytest.raises(RemoteError) as caught:
            client.call("refuse", {}, timeout=SECONDS)
        assert (caught.value.code, caught.value.data) == ("not_found", {"what": "message", "id": "7"})
    assert client.call("echo", {}, timeout=SECONDS) == ({}, b"")


def test_a_bug_of_the_daemon_is_internal(daemon, client):
    with pytest.raises(RemoteError, match="internal") as caught:
        client.call("break", {}, timeout=SECONDS)
    assert caught.value.data == {"reference": "ref"}
    assert "canary" not in str(caught.value)
    assert len(daemon.bugs) == 1


@pytest.mark.parametrize("params", [{"a": "x" * 70_000}, {"a": "\udcff"}, {"a": 2**64}])
def test_what_cannot_travel_is_refused_here_and_the_connection_goes_on(client, params):
    with pytest.raises(CodecError):
        client.call("echo", params, timeout=SECONDS)
    with pytest.raises(FrameError):
        client.call("echo", {}, bytes(MAX_BODY + 1), timeout=SECONDS)
    assert client.call("echo", {}, timeout=SECONDS) == ({}, b"")


# Notifications.


def test_notifications_come_in_order_with_their_bodies(client):
    client.call("events", {"count": 50}, timeout=SECONDS)
    events = client.events(SECONDS)
    seen = [next(events) for _ in range(50)]
    assert [(event.params["n"], event.body) for event in seen] == [(number, b"body") for number in range(50)]


def test_events_end_after_a_silence(client):
    client.call("events", {"count": 3}, timeout=SECONDS)
    assert [event.params["n"] for event in client.events(0.1)] == [0, 1, 2]
    assert [*client.events(0)] == []
    assert client.call("echo", {}, timeout=SECONDS) == ({}, b"")


def test_events_that_wait_in_the_socket_are_read_without_waiting():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = Client(ours, build="1")
        assert client.fileno() == ours.fileno()
        theirs.sendall(Peer().notify("event", {"n": 1}))
        assert [event.params for event in client.events(0)] == [{"n": 1}]


def test_events_nobody_asks_for_are_bounded_and_the_newest_stay(client):
    client.call("events", {"count": MAX_EVENTS + 50}, timeout=SECONDS)
    numbers = [event.params["n"] for event in client.events(0.1)]
    assert numbers == [*range(50, MAX_EVENTS + 50)]


def test_a_flood_of_notifications_does_not_stretch_a_calls_time():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        frame = Peer().notify("event", {}) * 100
        with contextlib.suppress(BlockingIOError):
            while True:
                theirs.send(frame)
        seconds = itertools.count()  # every look at the clock is a second later
        client = Client(ours, build="1", clock=lambda: next(seconds))
        with pytest.raises(TimeoutError):
            client.call("echo", {}, timeout=4)
        assert ours.recv(1)  # there was more to read


def test_a_request_of_the_daemon_is_refused(client):
    assert client.call("ask back", {}, timeout=SECONDS) == ("unknown_method", b"")
