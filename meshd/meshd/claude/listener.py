"""A socket beside a session's own, at which that session, and nobody else, tells what it did with a push and answers it.

Claude Code 2.1.329 connects to the address a push came from: with what became of the push, and with what its agent sends
there by SendMessage. It counts a message as sent when the other side has closed the connection. Linux only.
"""

import os
import socket
import stat
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

import trio

from meshd.log import get_logger
from meshd.processes import ProcessTable

from .formats import (
    MAX_LINE_BYTES,
    ClaudeSession,
    PeerReceipt,
    PeerReply,
    Support,
    is_inbox_path,
    parse_peer_line,
    reply_address,
)
from .inbox import Credentials, NotPushed, open_folder, peer_credentials

log = get_logger("claude")

LISTEN_SECONDS: Final = 5.0
"""For one connection, from its first byte to its end."""
MAX_LINES: Final = 16
"""Lines of one connection that are looked at; one was ever seen."""
BACKLOG: Final = 8
RETRY_S: Final = 0.5
"""Pause after a connection could not be taken, for want of descriptors."""

Heard: TypeAlias = Callable[[PeerReply | PeerReceipt], Awaitable[None]]
"""Takes in one line. What it raises would end the listener: it must not."""


class Listener:
    """Listens at one address for one process. Connections are served one after another: there is one speaker."""

    def __init__(
        self,
        claude: ClaudeSession,
        uid: int,
        processes: ProcessTable,
        heard: Heard,
        *,
        credentials: Callable[[trio.socket.SocketType], Credentials] = peer_credentials,
    ) -> None:
        self._claude = claude
        self._uid = uid
        self._processes = processes
        self._heard = heard
        self._credentials = credentials

    def path(self, name: str) -> str | None:
        """Where a listener called `name` (16 hex digits) of this session is; None if it can have none."""
        inbox = self._claude.socket_path
        if sys.platform != "linux" or inbox is None or self._claude.support is Support.UNKNOWN:
            return None
        if not is_inbox_path(inbox, self._claude.pid, self._uid):
            return None
        path = f"{inbox.rpartition('/')[0]}/{name}.sock"
        return None if reply_address(path) is None else path

    async def run(self, path: str, task_status: trio.TaskStatus[bool] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen at `path` until cancelled; the file is removed then. Starts with whether it could be made."""
        with _bound(path, self._uid) as sock:
            if sock is None:
                task_status.started(False)
                return
            task_status.started(True)
            await self._serve(trio.socket.from_stdlib_socket(sock))

    async def _serve(self, listener: trio.socket.SocketType) -> None:
        while True:
            try:
                connection, _ = await listener.accept()
            except OSError:
                await trio.sleep(RETRY_S)
                continue
            with connection, trio.move_on_after(LISTEN_SECONDS):
                if self._is_session(connection):
                    await self._take(trio.SocketStream(connection))

    def _is_session(self, connection: trio.socket.SocketType) -> bool:
        """By the kernel's word, before a byte is read: the session's own process, and still that one."""
        speaker = self._credentials(connection)
        process = self._processes.look(self._claude.pid)
        ours = (speaker.pid, speaker.uid) == (self._claude.pid, self._uid)
        if ours and process is not None and str(process.start) == self._claude.proc_start:
            return True
        log.warning("another process spoke at a session's address", pid=speaker.pid, session=self._claude.pid)
        return False

    async def _take(self, stream: trio.SocketStream) -> None:
        data = bytearray()
        try:
            while chunk := await stream.receive_some(65536):
                data += chunk
                if len(data) > MAX_LINE_BYTES:
                    log.warning("a session wrote too much to an address", pid=self._claude.pid)
                    return
        except trio.BrokenResourceError:
            return
        for line in bytes(data).split(b"\n", MAX_LINES)[:MAX_LINES]:
            item = parse_peer_line(line) if line else None
            if item is not None:
                with trio.CancelScope(shield=True):  # bounded by the database: the speaker must be told the truth
                    await self._heard(item)


@contextmanager
def _bound(path: str, uid: int) -> Iterator[socket.socket | None]:
    """A socket that listens at `path`, 0600, in a folder that is ours alone; what an earlier life left there is replaced."""
    folder, _, name = path.rpartition("/")
    with open_folder(folder, uid) as descriptor:
        if isinstance(descriptor, NotPushed):
            yield None
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            place = f"/proc/self/fd/{descriptor}/{name}"
            try:
                _clear(descriptor, name, uid)
                sock.bind(place)
                Path(place).chmod(0o600)  # nobody can connect before listen()
                sock.listen(BACKLOG)
                sock.setblocking(False)
            except OSError:
                yield None
                return
            made = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            try:
                yield sock
            finally:
                _remove(descriptor, name, made.st_ino)


def _clear(folder: int, name: str, uid: int) -> None:
    """Remove a socket of ours that stands where a new one is to be. Raises OSError for anything else that stands there."""
    try:
        about = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(about.st_mode) or about.st_uid != uid:
        raise FileExistsError(name)
    os.unlink(name, dir_fd=folder)


def _remove(folder: int, name: str, inode: int) -> None:
    try:
        if os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino == inode:
            os.unlink(name, dir_fd=folder)
    except OSError:
        pass  # the session has removed its folder already
