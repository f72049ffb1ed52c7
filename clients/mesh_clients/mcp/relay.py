"""`mesh mcp`: carries MCP between standard input and output and the daemon, and outlives the daemon's restarts.

Nothing but builtins, `select` and `_socket` while a daemon is there: Claude Code starts one of these for every session
and keeps it. The decisions are in `exchange`; here is the waiting.
"""

import _signal  # type: ignore[import-not-found]  # the signal module needs enum
import _socket
import posix
import select
import time

from mesh_clients import thin
from mesh_clients.build import BUILD
from mesh_clients.mcp.exchange import MAX_LINE, Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

CHUNK = 65536
PIPE_CHUNK = 4096
"""What a pipe that reports room takes without blocking (PIPE_BUF, pipe(7))."""
MAX_HELD = 16 * MAX_LINE
"""Of a line longer than this not even the id is looked for."""
MAX_WAITING = 4 * MAX_LINE
"""Output that waits; beyond it nothing more is read from the other side."""
RETRY_BUSY = 0.02
RETRY_IDLE = 2.0
START_AGAIN = 10.0
START_SERVED = 1.0
"""Seconds from one start to the next: after one that failed, and after one that led to a daemon that served."""
REAP = 0.25
OPEN_SECONDS = 3.0
"""A daemon that takes longer to greet is given up and tried again."""
LAST_SECONDS = 4.0
"""After the end of input, how long answers are waited for."""

_NOTE = b"\x93\x02\xa8mcp.line"
_NOTE_HEADER = _NOTE + b"\x80"
_OPENED = b"\x94\x01\x01\xc0"


class Relay:
    """One session's relay. `run` it; it returns when the client is gone."""

    def __init__(self, environ: dict[bytes, bytes], home: bytes, *, may_start: bool) -> None:
        self.environ = environ
        self.home = home
        self.may_start = may_start
        self.exchange = Exchange()
        self.input = bytearray()
        self.searched = 0
        self.skipping = False
        self.input_ended = 0.0
        self.output = bytearray()
        self.sock: _socket.socket | None = None
        self.greeted_by = 0.0
        self.received = bytearray()
        self.sending = bytearray()
        self.retry_at = 0.0
        self.retry_after = RETRY_BUSY
        self.starter = 0
        self.start_at = 0.0
        self.trouble = "it was not started"

    def run(self) -> None:
        poll = select.poll()
        while True:
            now = time.monotonic()
            self.tend(now)
            waits = self.exchange.pending and now - self.input_ended < LAST_SECONDS
            if self.input_ended and not self.output and not waits:
                return
            for fd, _ in self.wait(poll, now):
                if fd == 0:
                    self.read_input()
                elif fd == 1:
                    del self.output[: posix.write(1, self.output[:PIPE_CHUNK])]
                elif self.sock is not None and fd == self.sock.fileno():
                    self.serve_socket()

    def wait(self, poll: "select.poll", now: float) -> list[tuple[int, int]]:
        """Wait for something to do."""
        watched = []
        if not self.input_ended and len(self.output) < MAX_WAITING and len(self.sending) < MAX_WAITING:
            watched.append((0, select.POLLIN))
        if self.output:
            watched.append((1, select.POLLOUT))
        if self.sock is not None:
            events = select.POLLOUT if self.sending else 0
            if len(self.output) < MAX_WAITING:
                events |= select.POLLIN
            watched.append((self.sock.fileno(), events))
        for fd, events in watched:
            poll.register(fd, events)
        times = [self.input_ended + LAST_SECONDS] if self.input_ended else []
        if self.starter:
            times.append(now + REAP)
        deadline = self.exchange.deadline()
        if deadline is not None:
            times.append(deadline)
        if self.sock is None:
            times.append(self.retry_at)
        elif not self.exchange.serving:
            times.append(self.greeted_by)
        try:
            return poll.poll(max(0.0, min(times) - now) * 1000 + 1 if times else None)
        finally:
            for fd, _ in watched:
                poll.unregister(fd)

    def tend(self, now: float) -> None:
        """Whatever time and the exchange ask for."""
        if self.sock is not None and not self.exchange.serving and now >= self.greeted_by:
            self.trouble = "it does not answer"
            self.drop(now)
        slept = self.exchange.pending and self.retry_after > RETRY_BUSY
        if self.sock is None and (slept or now >= self.retry_at):
            self.try_daemon(now)
        if self.starter and posix.waitpid(self.starter, posix.WNOHANG)[0]:
            self.starter = 0
        self.exchange.expire(now, self.why() if self.is_due(now) else "", BUILD)
        self.flush()

    def is_due(self, now: float) -> bool:
        deadline = self.exchange.deadline()
        return deadline is not None and now >= deadline

    def flush(self) -> None:
        """Move the exchange's lines into the buffers."""
        for line in self.exchange.to_client:
            self.output += line.replace(b"\n", b" ")
            self.output += b"\n"
        self.exchange.to_client.clear()
        for line in self.exchange.to_daemon:
            self.sending += len(_NOTE_HEADER).to_bytes(4, "big") + len(line).to_bytes(4, "big") + _NOTE_HEADER
            self.sending += line
        self.exchange.to_daemon.clear()

    # The client.

    def read_input(self) -> None:
        try:
            data = posix.read(0, CHUNK)
        except OSError:  # closed, or a terminal that is gone
            data = b""
        now = time.monotonic()
        if not data:
            self.input_ended = now
            data = b"\n" if self.input else b""
        self.input += data
        while True:
            end = self.input.find(b"\n", self.searched)
            if end < 0:
                break
            line = bytes(self.input[:end]).strip()
            del self.input[: end + 1]
            self.searched = 0
            if line and not self.skipping:
                self.exchange.from_client(line, now)
            self.skipping = False
        self.searched = len(self.input)
        if len(self.input) > MAX_HELD:
            if not self.skipping:
                self.exchange.from_client_unread()
            self.skipping = True
            self.input.clear()
            self.searched = 0

    # The daemon.

    def try_daemon(self, now: float) -> None:
        try:
            sock = thin.connect(thin.socket_path(thin.data_directory(self.environ, self.home)), blocking=False)
        except thin.NoDaemon as error:
            if isinstance(error, thin.NotTrusted):
                self.trouble = str(error)
            elif self.exchange.pending:
                self.start_daemon(now)
            busy = bool(self.exchange.pending)
            self.retry_after = RETRY_BUSY if busy else min(self.retry_after * 2, RETRY_IDLE)
            self.retry_at = now + self.retry_after
            return
        self.sock = sock
        self.greeted_by = now + OPEN_SECONDS
        fields = [(b"env", thin.pack_environment(self.environ))]
        try:
            folder = posix.getcwdb()
            folder.decode()
        except (OSError, UnicodeDecodeError):
            folder = b""
        if 0 < len(folder) <= thin.MAX_VALUE:
            fields.append((b"cwd", thin.pack_text(folder)))
        self.sending += thin.pack_request(b"mcp.open", fields)

    def serve_socket(self) -> None:
        sock = self.sock
        if sock is None:
            return
        if self.sending:
            try:
                del self.sending[: sock.send(self.sending[:CHUNK])]
            except BlockingIOError:
                pass
            except OSError:
                self.sending.clear()  # it is going; what it said last is still read
        try:
            data = sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.received += data
            self.read_frames()
        else:
            self.trouble = "it stopped"
            self.drop(time.monotonic())

    def read_frames(self) -> None:
        received = self.received
        while len(received) >= 8:
            head = int.from_bytes(received[:4], "big")
            body = int.from_bytes(received[4:8], "big")
            if head > thin.MAX_HEADER or body > thin.MAX_BODY:
                self.trouble = "it speaks another protocol"
                self.drop(time.monotonic())
                return
            end = 8 + head + body
            if len(received) < end:
                return
            header = bytes(received[8 : 8 + head])
            line = bytes(received[8 + head : end])
            del received[:end]
            if header.startswith(_NOTE):
                self.exchange.from_daemon(line)
            elif header.startswith(_OPENED):
                self.retry_after = RETRY_BUSY
                self.start_at = min(self.start_at, time.monotonic() + START_SERVED)  # that start did not fail
                self.exchange.opened()
            else:
                self.trouble = read_message(header)
                self.drop(time.monotonic())
                self.retry_at = time.monotonic() + 1.0
                return

    def drop(self, now: float) -> None:
        """The connection is of no more use. What was half sent or half received is forgotten with it."""
        if self.sock is not None:
            self.sock.close()
        self.sock = None
        self.received.clear()
        self.sending.clear()
        self.exchange.lost(now)
        self.retry_at = now

    def start_daemon(self, now: float) -> None:
        """Start one in a child, so that the client is heard meanwhile. Waiting for it goes on here."""
        if not self.may_start or self.starter or now < self.start_at:
            return
        self.start_at = now + START_AGAIN
        self.starter = posix.fork()
        if self.starter:
            return
        status = 1
        try:
            null = posix.open(b"/dev/null", posix.O_RDWR)
            for fd in (0, 1, 2):
                posix.dup2(null, fd)
            from mesh_clients.start import start_quietly

            status = start_quietly(self.home)
        finally:
            posix._exit(status)

    def why(self) -> str:
        """Why there is no daemon, as far as it is known."""
        try:
            import os

            from mesh_clients.start import last_failure

            return last_failure(os.environ, self.home) or self.trouble
        except Exception:  # noqa: BLE001 - the help must come, whatever else is broken
            return self.trouble


def read_message(header: bytes) -> str:
    """The text of an error answer."""
    place = header.find(b"\xa7message") + 8
    if place < 8 or place >= len(header):
        return "it refused"
    kind = header[place]
    width = {0xD9: 1, 0xDA: 2}.get(kind, 0)
    start = place + 1 + width
    size = int.from_bytes(header[place + 1 : start], "big") if width else kind & 0x1F
    return header[start : start + size].decode("utf-8", "replace")


def leave(number: int, frame: object) -> None:
    """The client wants this process gone, and gives it 100 ms."""
    posix._exit(0)


def main(arguments: list[str]) -> "NoReturn":
    """`mcp [--home DIR] [--mesh NAME] [--no-start]`."""
    _signal.signal(_signal.SIGINT, leave)
    _signal.signal(_signal.SIGTERM, leave)
    environ = dict(posix.environ)
    home = b""
    may_start = True
    rest = arguments[1:]
    while rest:
        flag = rest.pop(0)
        if flag == "--no-start":
            may_start = False
        elif flag == "--home" and rest:
            home = rest.pop(0).encode("utf-8", "surrogateescape")
        elif flag == "--mesh" and rest:
            environ[b"MESH"] = rest.pop(0).encode("utf-8", "surrogateescape")
        else:
            posix.write(2, b"mesh mcp: takes --home DIR, --mesh NAME and --no-start; Claude Code runs it\n")
            posix._exit(2)
    try:
        Relay(environ, home, may_start=may_start).run()
    except BrokenPipeError:
        pass  # the client is gone
    posix._exit(0)
