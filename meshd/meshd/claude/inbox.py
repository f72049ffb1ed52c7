"""Pushes a message to a session's inbox socket: the one way that wakes an idle session.

The socket answers nothing: that the push was taken says only that the session's process has the bytes. Whether
the agent sees the message is for the transcript to say. Linux only.
"""

import os
import socket
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

import trio

from meshd.processes import ProcessTable

from .formats import ClaudeSession, Support, inbox_line, is_inbox_path
from .frame import Framed, Sender, clean_name
from .marks import PushId

PUSH_SECONDS = 5.0
"""For connecting, writing and the receiver's end together; it took 0.05 s or less on two loaded cores."""


class NotPushed(Enum):
    """Why a push was not made, or (UNCONFIRMED only) is not known to have been taken."""

    NOT_SUPPORTED = "not_supported"
    """This system's sockets, or this version's inbox, are not known: serve the session by pull."""
    NO_INBOX = "no_inbox"
    """The session has no inbox (started with --bare), or its socket is gone or no longer answered."""
    BAD_PATH = "bad_path"
    """The registry names a path that Claude would not use: somebody else wrote that entry."""
    UNSAFE_FOLDER = "unsafe_folder"
    """The socket's folder is a link, another user's, or open to others."""
    SESSION_GONE = "session_gone"
    """The process has ended; the pid may be another's by now."""
    WRONG_PROCESS = "wrong_process"
    """Another process, or another user's, listens there."""
    NO_CHANNEL = "no_channel"
    """The MCP connection that would have carried it is gone, or its client does not read."""
    UNCONFIRMED = "unconfirmed"
    """The connection broke or hung after bytes were written: the session may have it."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """The session's process took the whole line."""

    push_id: PushId


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who listens at the other end, by the kernel: SO_PEERCRED, unix(7)."""

    pid: int
    uid: int


def peer_credentials(sock: trio.socket.SocketType) -> Credentials:
    """The credentials of the process that listened on the socket we are connected to."""
    size = struct.calcsize("3i")
    pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return Credentials(pid, uid)


@dataclass(frozen=True, slots=True)
class Inboxes:
    """Pushes to the inboxes of one user's sessions. `credentials` and `seconds` are there to be replaced in tests."""

    uid: int
    processes: ProcessTable
    credentials: Callable[[trio.socket.SocketType], Credentials] = peer_credentials
    seconds: float = PUSH_SECONDS

    async def push(
        self, session: ClaudeSession, push_id: PushId, sender: Sender, framed: Framed, address: str = ""
    ) -> Pushed | NotPushed:
        """Write one framed message to the session's inbox. `address`: where it may answer (`formats.reply_address`)."""
        refused = await self._send(session, inbox_line(push_id, clean_name(sender.address), framed.text, address))
        return Pushed(push_id) if refused is None else refused

    async def probe(self, session: ClaudeSession) -> NotPushed | None:
        """Connect, prove who listens, and write nothing: None if a push would go to the right process."""
        return await self._send(session, b"")

    async def _send(self, session: ClaudeSession, line: bytes) -> NotPushed | None:
        if sys.platform != "linux" or session.support is Support.UNKNOWN:
            return NotPushed.NOT_SUPPORTED
        path = session.socket_path
        if path is None:
            return NotPushed.NO_INBOX
        if not is_inbox_path(path, session.pid, self.uid):
            return NotPushed.BAD_PATH
        folder, _, name = path.rpartition("/")
        with open_folder(folder, self.uid) as descriptor:
            if isinstance(descriptor, NotPushed):
                return descriptor
            # Through the open folder: nobody can put another in its place, and the path is never too long.
            return await self._deliver(session, f"/proc/self/fd/{descriptor}/{name}", line)

    async def _deliver(self, session: ClaudeSession, address: str, line: bytes) -> NotPushed | None:
        written = False
        with trio.move_on_after(self.seconds), trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            try:
                await sock.connect(address)
                refused = self._check_listener(session, sock)
                if refused is not None:
                    return refused
                stream = trio.SocketStream(sock)
                written = bool(line)
                await stream.send_all(line)
                await stream.send_eof()
                # Nothing is said in answer; the end of the stream comes when the line was read.
                while await stream.receive_some(4096):
                    pass
            except (OSError, trio.BrokenResourceError):
                return NotPushed.UNCONFIRMED if written else NotPushed.NO_INBOX
            return None
        return NotPushed.UNCONFIRMED if written else NotPushed.NO_INBOX

    def _check_listener(self, session: ClaudeSession, sock: trio.socket.SocketType) -> NotPushed | None:
        listener = self.credentials(sock)
        if listener.pid != session.pid or listener.uid != self.uid:
            return NotPushed.WRONG_PROCESS
        process = self.processes.look(session.pid)
        if process is None or str(process.start) != session.proc_start:
            return NotPushed.SESSION_GONE
        return None


@contextmanager
def open_folder(folder: str, uid: int) -> Iterator[int | NotPushed]:
    """A descriptor of the folder if it is one, is not a link, and is ours alone."""
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield NotPushed.NO_INBOX
        return
    except OSError:
        yield NotPushed.UNSAFE_FOLDER
        return
    try:
        about = os.fstat(descriptor)
        private = about.st_uid == uid and stat.S_IMODE(about.st_mode) & 0o077 == 0
        yield descriptor if private else NotPushed.UNSAFE_FOLDER
    finally:
        os.close(descriptor)
