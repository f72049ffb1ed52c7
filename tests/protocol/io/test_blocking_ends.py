"""How a blocking call ends when it is not answered: time-outs, Ctrl-C, peers that leave or misbehave, nobody there."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgpack
import pytest
from blocking_daemon import SECONDS, Daemon

import mesh_protocol
from mesh_protocol.io.blocking import Client, ConnectionLost, NotRunning, NotTrusted
from mesh_protocol.wire.codec import encode
from mesh_protocol.wire.errors import RemoteError
from mesh_protocol.wire.framing import MAX_BODY, encode_frame
from mesh_protocol.wire.rpc import Peer, RequestReceived

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
        assert client._answers == {}
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
