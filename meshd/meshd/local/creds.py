"""Who is at the other end of an accepted local socket: asked of the kernel, before a byte is read."""

import os
import select
import socket
import struct
import sys
from dataclasses import dataclass

# Linux 6.5; Python 3.11 has no name for it.
SO_PEERPIDFD = 77
# <sys/un.h> and <sys/ucred.h> of macOS.
_SOL_LOCAL = 0
_LOCAL_PEERCRED = 1
_LOCAL_PEERPID = 2
_XUCRED_VERSION = 0
_XUCRED = struct.Struct("@IIh16I")


class PeerRefused(Exception):
    """The peer is another user's process, or the kernel would not say whose. Close the connection unread."""


@dataclass(slots=True)
class PeerCreds:
    """Credentials the kernel recorded when the peer connected."""

    pid: int
    """0 when the peer lives in a process namespace that is not visible from here."""
    uid: int
    gid: int
    pidfd: int | None
    """Stands for the very process, whatever becomes of its number. Owned: call close()."""

    def is_alive(self) -> bool | None:
        """Whether the process that connected still runs; None when there is no pidfd to ask.

        What was read from /proc/<pid> before a True answer belongs to the peer and not to a successor of its number.
        """
        if self.pidfd is None:
            return None
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Closes the pidfd. Idempotent."""
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None


def read_peer(connection: socket.socket) -> PeerCreds:
    """The credentials of the peer of an accepted AF_UNIX stream socket. Raises PeerRefused if there are none."""
    try:
        if sys.platform == "darwin":
            return _read_macos(connection)
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, uid, gid = struct.unpack("iII", raw)
    except (OSError, struct.error, AttributeError) as error:
        raise PeerRefused("the system does not say who connected") from error
    return PeerCreds(pid, uid, gid, _pidfd(connection))


def admit(connection: socket.socket, euid: int) -> PeerCreds:
    """Credentials of a peer that is this very user. Anybody else, root included, is PeerRefused; nothing was read."""
    peer = read_peer(connection)
    if peer.uid != euid:
        peer.close()
        raise PeerRefused(f"a process of user {peer.uid} connected; only user {euid} may")
    return peer


def parse_xucred(raw: bytes) -> tuple[int, int]:
    """(uid, gid) from macOS's struct xucred. Raises PeerRefused for any other version or size."""
    if len(raw) < _XUCRED.size:
        raise PeerRefused("the system's credentials are too short")
    version, uid, count, gid, *_ = _XUCRED.unpack_from(raw)
    if version != _XUCRED_VERSION or count < 1:
        raise PeerRefused("the system's credentials have a form that is not known")
    return uid, gid


def _pidfd(connection: socket.socket) -> int | None:
    try:
        return connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError:
        return None  # an older kernel, or the peer is already gone


def _read_macos(connection: socket.socket) -> PeerCreds:
    uid, gid = parse_xucred(connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size))
    try:
        pid = connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID)
    except OSError:
        pid = 0
    return PeerCreds(pid, uid, gid, None)
