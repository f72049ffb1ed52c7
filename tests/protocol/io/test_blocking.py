"""The clients' blocking connection against the daemon's side of the same protocol, and against peers that misbehave."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import mesh_protocol
import msgpack
import pytest
import trio
from mesh_protocol.io.blocking import MAX_EVENTS, Client, ConnectionLost, NotRunning, NotTrusted
from mesh_protocol.io.connection import Connection, Reply
from mesh_protocol.io.stream import StreamLink
from mesh_protocol.wire.codec import CodecError, encode
from mesh_protocol.wire.errors import MeshError, RemoteError
from mesh_protocol.wire.framing import MAX_BODY, FrameError, encode_frame
from mesh_protocol.wire.rpc import PROTOCOL, Peer, RequestReceived

SECONDS = 10


class Daemon:
    """A trio server in a thread: `seen` are the requests, `started` and `cancelled` follow the method `wait`."""

    def __init__(self, path):
        self.path = path
        self.seen = []
        self.bugs = []
        self.refusal = None
        self.started, self.cancelled, self.gone = (threading.Event() for _ in range(3))
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,), daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(SECONDS)
        return self

    def __exit__(self, *_):
        self._token.run_sync_soon(self._scope.cancel)
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()

    async def _run(self):
        folder = os.open(self.path.parent, os.O_PATH)
        sock = trio.socket.socket(socket.AF_UNIX)
        await sock.bind(f"/proc/self/fd/{folder}/{self.path.name}")
        os.close(folder)
        sock.listen()
        self._token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as self._scope:
            self._ready.set()
            await trio.serve_listeners(self._handle, [trio.SocketListener(sock)])

    async def _handle(self, stream):
        connection = Connection(
            StreamLink(stream),
            serve=lambda request: self.seen.append(request) or self._serve(connection, request),
            failed=lambda method, error: self.bugs.append(error) or "ref",
        )
        await connection.run()
        self.gone.set()

    async def _serve(self, connection, request):
        match request.method:
            case "hello":
                if self.refusal is not None:
                    raise self.refusal
                return Reply({"proto": [*PROTOCOL], "build": "test"})
            case "echo":
                return Reply(request.params, request.body)
            case "refuse":
                raise MeshError("not_found", what="message", id="7")
            case "break":
                raise RuntimeError("canary")
            case "wait":
                self.started.set()
                try:
                    await trio.sleep_forever()
                finally:
                    self.cancelled.set()
            case "events":
                for number in range(request.params["count"]):
                    await connection.notify("event", {"n": number}, b"body")
                return Reply(None)
            case "ask back":
                try:
                    await connection.call("anything", {})
                except RemoteError as error:
                    return Reply(error.code)
            case "die":
                await connection.aclose()
        raise MeshError("unknown_method", method=request.method)


@pytest.fixture
def daemon(tmp_path):
    with Daemon(tmp_path / "sock") as daemon:
        yield daemon


@pytest.fixture
def client(daemon):
    with Client(str(daemon.path), build="1.2.3") as client:
        yield client


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
        client = Client(ours, build="1")
        stop = threading.Event()

        def flood():
            frame = Peer().notify("event", {}) * 100
            theirs.settimeout(0.1)
            while not stop.is_set():
                try:
                    theirs.sendall(frame)
                except OSError:
                    return

        thread = threading.Thread(target=flood)
        thread.start()
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            client.call("echo", {}, timeout=0.2)
        assert time.monotonic() - started < 2
        stop.set()
        client.close()
        thread.join(SECONDS)


def test_a_request_of_the_daemon_is_refused(client):
    assert client.call("ask back", {}, timeout=SECONDS) == ("unknown_method", b"")


# Time-outs and Ctrl-C.


def test_a_call_that_is_too_slow_is_taken_back_and_the_connection_goes_on(daemon, client):
    with pytest.raises(TimeoutError, match=r"no answer to wait within 0\.1 s"):
        client.call("wait", {}, timeout=0.1)
    assert daemon.cancelled.wait(SECONDS)
    assert not daemon.gone.is_set()
    assert client.call("echo", {"n": 1}, timeout=SECONDS) == ({"n": 1}, b"")


def test_the_late_answer_of_a_call_that_was_taken_back_is_dropped():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client, server = Client(ours, build="1"), Peer()
        with pytest.raises(TimeoutError):
            client.call("first", {}, timeout=0.05)
        hello, first, _cancel = server.receive(theirs.recv(65536))
        late = server.respond(hello.id, {}) + server.respond(first.id, "late")

        def answer_the_second():
            [second] = server.receive(theirs.recv(65536))
            theirs.sendall(late + server.respond(second.id, "second"))

        thread = threading.Thread(target=answer_the_second)
        thread.start()
        assert client.call("second", {}, timeout=SECONDS) == ("second", b"")
        thread.join(SECONDS)


def test_a_daemon_that_reads_nothing_ends_the_call_in_time_and_the_connection():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = Client(ours, build="1")
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            client.call("echo", {}, bytes(MAX_BODY), timeout=0.2)
        assert time.monotonic() - started < 2
        with pytest.raises(ConnectionLost, match="closed"):  # half a frame is out: nothing can follow it
            client.call("echo", {}, timeout=SECONDS)


def test_ctrl_c_takes_the_call_back_and_ends_the_connection(daemon, client):
    def interrupt():
        assert daemon.started.wait(SECONDS)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        client.call("wait", {}, timeout=SECONDS)
    thread.join(SECONDS)
    assert daemon.cancelled.wait(SECONDS)
    assert daemon.gone.wait(SECONDS)
    with pytest.raises(ConnectionLost, match="closed"):
        client.call("echo", {}, timeout=SECONDS)


def test_the_cancellation_is_said_before_the_connection_ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client, server = Client(ours, build="1"), Peer()
        got = bytearray()

        def interrupt():
            while len([event for event in Peer().receive(bytes(got)) if isinstance(event, RequestReceived)]) < 2:
                got.extend(theirs.recv(65536))
            while client._mid_frame:  # all arrived here, and the sender has not yet heard so
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            client.call("wait", {}, timeout=SECONDS)
        thread.join(SECONDS)
        while piece := theirs.recv(65536):
            got.extend(piece)
        hello, call, cancel = server.receive(bytes(got))
        assert (hello.method, call.method, cancel) == ("hello", "wait", (call.id,))


def test_closing_the_connection_cancels_what_the_daemon_does_for_it(daemon):
    client = Client(str(daemon.path), build="1")
    with pytest.raises(TimeoutError):
        client.call("wait", {}, timeout=0.05)
    client.close()
    assert daemon.cancelled.wait(SECONDS)
    assert daemon.gone.wait(SECONDS)


# The end of the connection.


def test_a_daemon_that_closes_is_told(client):
    with pytest.raises(ConnectionLost):
        client.call("die", {}, timeout=SECONDS)
    with pytest.raises(ConnectionLost):
        client.call("echo", {}, timeout=SECONDS)
    with pytest.raises(ConnectionLost):
        [*client.events(SECONDS)]


def test_a_daemon_that_closes_ends_the_events(client):
    client.call("events", {"count": 2}, timeout=SECONDS)
    events = client.events(SECONDS)
    assert [next(events).params["n"] for _ in range(2)] == [0, 1]


def answered(data):
    """What a client makes of the bytes `data` as the answer to its first call, and of the end after them."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        client = Client(ours, build="1")
        with pytest.raises((ConnectionLost, RemoteError)) as caught:
            client.call("echo", {}, timeout=SECONDS)
        with pytest.raises(ConnectionLost, match="closed"):
            client.call("echo", {}, timeout=SECONDS)
        return caught.value


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 8,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        encode_frame(b"\xc1"),
        encode_frame(encode([1, 9, None, None])),
        encode_frame(msgpack.packb([1, 1, "wrong", None])),
        encode_frame(b"\xdd\xff\xff\xff\xff"),
        (2**20 + 1).to_bytes(4, "big") + bytes(4),
    ],
)
def test_a_peer_that_breaks_the_protocol_is_told(data):
    error = answered(data)
    assert isinstance(error, ConnectionLost)
    assert "the daemon broke the protocol" in str(error)


@pytest.mark.parametrize("cut", [0, 3, 8, 12, -1])
def test_an_answer_that_is_cut_off_is_a_lost_connection(cut):
    frame = encode_frame(encode([1, 1, None, {}]))
    assert "closed the connection" in str(answered(frame[:cut]))


def test_what_the_daemon_said_before_it_closed_is_still_read():
    refusal = {"code": "busy", "message": "too many", "data": {}}
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(encode_frame(encode([1, 1, refusal, None])) + encode_frame(encode([1, 2, refusal, None])))
        theirs.close()  # sending fails now
        with pytest.raises(ConnectionLost):  # an answer before its question is nobody's answer
            Client(ours, build="1").events(0).__next__()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = Client(ours, build="1")

        def refuse_and_close():
            hello, call = Peer().receive(theirs.recv(65536))
            theirs.sendall(encode_frame(encode([1, hello.id, refusal, None])))
            theirs.sendall(encode_frame(encode([1, call.id, refusal, None])))
            theirs.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=refuse_and_close)
        thread.start()
        with pytest.raises(RemoteError, match="busy"):
            client.call("echo", {}, timeout=SECONDS)
        thread.join(SECONDS)


# Where the daemon is.


def test_nobody_at_the_path_is_told(tmp_path):
    with pytest.raises(NotRunning, match="No such file"):
        Client(str(tmp_path / "sock"), build="1")
    (tmp_path / "file").touch()
    with pytest.raises(NotRunning, match="refused"):
        Client(str(tmp_path / "file"), build="1")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
        with pytest.raises(NotRunning, match="refused"):
            Client(str(tmp_path / "dead"), build="1")


def test_a_path_longer_than_an_address_is_reached(tmp_path):
    folder = tmp_path
    while len(str(folder)) < 300:
        folder /= "a-long-folder-name"
    folder.mkdir(parents=True)
    before = len(os.listdir("/proc/self/fd"))
    with Daemon(folder / "sock") as daemon, Client(str(daemon.path), build="1") as client:
        assert client.call("echo", {"n": 1}, timeout=SECONDS) == ({"n": 1}, b"")
    with pytest.raises(NotRunning):
        Client(str(folder / "other"), build="1")
    with pytest.raises(NotRunning):
        Client(str(folder / "no-such-folder" / "sock"), build="1")
    assert len(os.listdir("/proc/self/fd")) == before


def test_another_users_socket_is_not_talked_to(daemon, monkeypatch):
    monkeypatch.setattr("mesh_protocol.io.blocking.os.geteuid", lambda: os.getuid() + 1)
    with pytest.raises(NotTrusted, match="another user"):
        Client(str(daemon.path), build="1")
    assert daemon.seen == []


def test_a_full_backlog_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("mesh_protocol.io.blocking.CONNECT_SECONDS", 1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen(0)
        with Client(str(tmp_path / "sock"), build="1"):
            started = time.monotonic()
            with pytest.raises(NotRunning):
                Client(str(tmp_path / "sock"), build="1")
            assert 0.5 < time.monotonic() - started < 5


def test_only_what_starts_fast_is_imported():
    program = f"""
import sys
sys.path[:0] = {[str(Path(mesh_protocol.__file__).parents[1]), str(Path(msgpack.__file__).parents[1])]!r}
import mesh_protocol.io.blocking, mesh_protocol.wire.items
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-IS", "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    loaded = {*done.stdout.split()}
    slow = {"typing", "socket", "selectors", "enum", "re", "json", "dataclasses", "threading", "asyncio", "inspect"}
    assert loaded & (slow | {"trio", "msgspec", "apsw", "nacl", "cryptography", "contextlib", "pathlib"}) == set()
