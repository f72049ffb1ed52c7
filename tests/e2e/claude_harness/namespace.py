"""A network namespace with nothing but loopback, so that a binary under test can reach only our fake API.

A holder process lives in the namespace, opens the listening socket there and hands it over a socket pair; the
test process then serves it, while programs are started inside with `nsenter`. Unix sockets with a path work
across network namespaces, so a daemon of the test may stay outside.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

HOLDER_SECONDS = 10

# Runs inside the namespace: loopback up (SIOCGIFFLAGS, SIOCSIFFLAGS with IFF_UP), one listener, its descriptor
# sent away; then it waits for the other end to close, so that it cannot outlive the test.
_HOLDER = """
import fcntl, socket, struct, sys
channel = socket.socket(fileno=int(sys.argv[1]))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    request = struct.pack("16sH14x", b"lo", 0)
    flags = struct.unpack("16sH14x", fcntl.ioctl(probe, 0x8913, request))[1]
    fcntl.ioctl(probe, 0x8914, struct.pack("16sH14x", b"lo", flags | 1))
listener = socket.create_server(("127.0.0.1", 0))
socket.send_fds(channel, [b"L"], [listener.fileno()])
listener.close()
channel.recv(1)
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where programs under test run: put `prefix` before their argv, serve them on `listener`.

    Not `isolated` means the host's network: the binary is told to stay local, but nothing makes it.
    """

    prefix: tuple[str, ...]
    listener: socket.socket
    isolated: bool

    @property
    def port(self) -> int:
        """Port of the listener on 127.0.0.1."""
        port: int = self.listener.getsockname()[1]
        return port


@contextlib.contextmanager
def open_place() -> Iterator[Place]:
    """A Place in its own loopback-only namespace; without the right to make one, the host's loopback."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            holder = _start_holder(theirs)
        listener = _receive_listener(ours) if holder is not None else None
        try:
            if holder is None or listener is None:
                with socket.create_server(("127.0.0.1", 0)) as plain:
                    yield Place((), plain, isolated=False)
                return
            with listener:
                yield Place(_enter(holder.pid), listener, isolated=True)
        finally:
            ours.close()
            if holder is not None:
                _end(holder)


def _start_holder(channel: socket.socket) -> subprocess.Popen[bytes] | None:
    if sys.platform != "linux" or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return None
    kind = ["-n"] if os.geteuid() == 0 else ["-r", "-n"]
    argv = ["unshare", *kind, "--", sys.executable, "-I", "-S", "-c", _HOLDER, str(channel.fileno())]
    return subprocess.Popen(
        argv,
        pass_fds=(channel.fileno(),),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _receive_listener(channel: socket.socket) -> socket.socket | None:
    """The holder's listener, or None where it could not make one (it then closes its end)."""
    channel.settimeout(HOLDER_SECONDS)
    try:
        data, descriptors, _flags, _address = socket.recv_fds(channel, 1, 1)
    except OSError:
        return None
    if data != b"L" or len(descriptors) != 1:
        return None
    return socket.socket(fileno=descriptors[0])


def _enter(holder: int) -> tuple[str, ...]:
    # nsenter replaces itself, so the started program has the pid that was spawned.
    if os.geteuid() == 0:
        return ("nsenter", f"--net=/proc/{holder}/ns/net", "--")
    return ("nsenter", "--preserve-credentials", f"--user=/proc/{holder}/ns/user", f"--net=/proc/{holder}/ns/net", "--")


def _end(holder: subprocess.Popen[bytes]) -> None:
    try:
        holder.wait(HOLDER_SECONDS)
    except subprocess.TimeoutExpired:
        holder.kill()
        holder.wait()
