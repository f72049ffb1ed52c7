"""Who is at the other end: asked of the kernel, before a byte is read."""

import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest

from meshd.local.creds import PeerRefused, admit, parse_xucred, read_peer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the other platforms' calls cannot be made here")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as found:
        # No file: another user has to reach it, which is what a directory of 0700 otherwise prevents.
        found.bind(f"\0meshd-test-{os.getpid()}")
        found.listen()
        found.settimeout(10)
        yield found


def test_the_peer_of_a_connection_is_this_process(listener: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(listener.getsockname())
        connection, _ = listener.accept()
        with connection:
            peer = admit(connection, os.geteuid())
            assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.geteuid(), os.getegid())
            assert peer.is_alive() in (True, None)
            peer.close()
            peer.close()


def test_a_pidfd_tells_a_dead_peer_from_a_successor_of_its_number(listener: socket.socket) -> None:
    script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); sys.stdin.read()"
    name = "@" + listener.getsockname()[1:].decode()
    child = subprocess.Popen(
        [sys.executable, "-c", script.replace("sys.argv[1]", "'\\0' + sys.argv[1][1:]"), name],
        stdin=subprocess.PIPE,
    )
    assert child.stdin is not None
    try:
        connection, _ = listener.accept()
        with connection:
            peer = admit(connection, os.geteuid())
            assert peer.pid == child.pid
            if peer.pidfd is None:
                pytest.skip("this kernel has no SO_PEERPIDFD: a reused number is not tried")
            assert not os.get_inheritable(peer.pidfd)
            assert peer.is_alive() is True
            child.kill()
            child.wait(10)
            assert peer.is_alive() is False
            peer.close()
            assert peer.is_alive() is None
    finally:
        child.stdin.close()
        child.kill()
        child.wait(10)


def test_another_users_connection_is_refused_and_none_of_its_bytes_are_read(listener: socket.socket) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else: another user's connection is not tried")
    answer, tell = os.pipe()
    child = os.fork()
    if child == 0:  # no exec: the other user need not be able to run this interpreter
        try:
            signal.alarm(20)
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(listener.getsockname())
                client.sendall(b"x" * 100)
                try:
                    os.write(tell, b"got %r" % client.recv(100))
                except ConnectionResetError:
                    os.write(tell, b"reset: bytes were left unread")
        finally:
            os._exit(0)
    try:
        connection, _ = listener.accept()
        before = len(os.listdir("/proc/self/fd"))
        with connection:
            assert select.select([connection], [], [], 10)[0]
            with pytest.raises(PeerRefused, match="user 65534 connected; only user 0 may"):
                admit(connection, os.geteuid())
            assert connection.recv(200, socket.MSG_PEEK) == b"x" * 100
            assert len(os.listdir("/proc/self/fd")) == before, "the pidfd of a refused peer stayed open"
        assert select.select([answer], [], [], 10)[0]
        assert os.read(answer, 100) == b"reset: bytes were left unread"
    finally:
        os.waitpid(child, 0)
        os.close(answer)
        os.close(tell)


def test_root_is_refused_by_an_ordinary_users_daemon(listener: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(listener.getsockname())
        connection, _ = listener.accept()
        with connection, pytest.raises(PeerRefused):
            admit(connection, os.geteuid() + 1)


def test_a_socket_without_credentials_is_refused() -> None:
    with socket.socket(socket.AF_INET) as other:
        peer = None
        try:
            peer = read_peer(other)
        except PeerRefused:
            return
        # Linux answers for any socket, with nobody's numbers.
        assert peer.uid == 2**32 - 1
        with pytest.raises(PeerRefused):
            admit(other, os.geteuid())


def test_macos_credentials_are_read_from_their_structure() -> None:
    groups = [20, 12, *[0] * 14]
    raw = struct.pack("@IIh16I", 0, 501, 2, *groups)
    assert len(raw) == 76
    assert parse_xucred(raw) == (501, 20)
    for bad in (raw[:75], b"", struct.pack("@IIh16I", 1, 501, 2, *groups), struct.pack("@IIh16I", 0, 501, 0, *groups)):
        with pytest.raises(PeerRefused):
            parse_xucred(bad)
