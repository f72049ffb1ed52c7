"""The clients' pump: one connection to the daemon, blocking, without threads or an event loop.

It loads in about twice the time of a bare interpreter, so it uses `_socket` (`socket` imports enum and selectors) and
nothing of this package but `mesh_protocol.wire`.
"""

from __future__ import annotations

import _socket
import os
import struct
import time
from collections import deque

from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.rpc import (
    PROTOCOL,
    ErrorReceived,
    NotificationReceived,
    Params,
    Peer,
    ProtocolError,
    RequestReceived,
    ResponseReceived,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final, Self

    from mesh_protocol.wire.codec import JsonValue
    from mesh_protocol.wire.errors import RemoteError

LONGEST_PATH: Final = 107
"""Bytes of a Unix socket's address on Linux without the closing zero (unix(7))."""
CONNECT_SECONDS: Final = 5
GOODBYE_SECONDS: Final = 0.2
"""How long a cancellation may take to leave, when the daemon does not read."""
MAX_EVENTS: Final = 1000
"""Notifications kept while nobody asks for them; the oldest go first, and their numbers tell."""
_CHUNK: Final = 64 * 1024


class ConnectionLost(Exception):
    """The daemon is gone, or broke the protocol; what was called may or may not have happened."""


class NotRunning(ConnectionLost):
    """Nobody listens at the path."""


class NotTrusted(ConnectionLost):
    """Another user listens at the path."""


class Client:
    """A connection to the daemon at `place`: a Unix socket's path, or a socket that is connected to it already.

    Raises `NotRunning` or `NotTrusted`.

    The hello (`build`: this client's version; `env`: what names its agent session) goes out with the first call, so it
    costs no round trip; its refusal is the first call's. One call at a time.
    """

    def __init__(
        self,
        place: str | _socket.socket,
        *,
        build: str,
        env: dict[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._peer = Peer()
        self._events: deque[NotificationReceived] = deque(maxlen=MAX_EVENTS)
        self._answers: dict[int, ResponseReceived | ErrorReceived] = {}
        self._awaited: set[int] = set()
        hello: Params = {"proto": [*PROTOCOL], "build": build}
        if env:
            hello["env"] = {**env}
        self._greeting: tuple[int, bytes] | None = self._peer.request("hello", hello)
        self.hello: JsonValue = None
        """The daemon's answer to the hello, once a call has returned."""
        self._mid_frame = False
        self._socket: _socket.socket | None = _connect(place) if isinstance(place, str) else place

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; the daemon cancels what it still does for it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def fileno(self) -> int:
        """For `select`. Bytes may have been read already: ask `events(0)` first."""
        return self._live().fileno()

    def call(
        self, method: str, params: Params, body: bytes = b"", *, timeout: float | None = None
    ) -> tuple[JsonValue, bytes]:
        """Call `method` and wait for its result and body; None waits for ever.

        Raises `RemoteError` (the daemon refused), `ConnectionLost`, `TimeoutError` (the call is taken back), and
        `CodecError` or `FrameError` for what cannot travel. On Ctrl-C the call is taken back and the connection ends.
        """
        self._live()
        deadline = self._deadline(timeout)
        request_id, data = self._peer.request(method, params, body)
        waiting = {request_id}
        if self._greeting is not None:
            hello_id, hello = self._greeting
            self._greeting = None
            waiting.add(hello_id)
            data = hello + data
        self._awaited |= waiting
        try:
            self._send(data, deadline)
            while not waiting <= self._answers.keys():
                if deadline is not None and self._clock() >= deadline:
                    raise TimeoutError  # a flood of notifications must not stretch it
                self._read(deadline)
        except TimeoutError:
            self._take_back(request_id)
            raise TimeoutError(f"no answer to {method} within {timeout} s") from None
        except KeyboardInterrupt:  # it may have struck between a read and its bytes' arrival here: no call can follow
            self._take_back(request_id)
            self.close()
            raise
        finally:
            self._awaited -= waiting
        answers = [self._answers.pop(each) for each in sorted(waiting)]
        if len(answers) == 2:
            self.hello = _result(answers[0]).result
        answer = _result(answers[-1])
        return answer.result, answer.body

    def events(self, timeout: float | None = None) -> Iterator[NotificationReceived]:
        """Notifications as they come, until none came for `timeout` seconds. Raises `ConnectionLost`."""
        while True:
            while self._events:
                yield self._events.popleft()
            deadline = self._deadline(timeout)
            try:
                while not self._events:
                    self._read(deadline)
            except TimeoutError:
                return

    # Bytes.

    def _live(self) -> _socket.socket:
        if self._socket is None:
            raise ConnectionLost("closed")
        return self._socket

    def _deadline(self, timeout: float | None) -> float | None:
        return None if timeout is None else self._clock() + timeout

    def _patient(self, deadline: float | None) -> _socket.socket:
        """The socket, set to wait until `deadline`; when that has passed, not at all."""
        sock = self._live()
        sock.settimeout(None if deadline is None else max(0.0, deadline - self._clock()))
        return sock

    def _send(self, data: bytes, deadline: float | None) -> None:
        sock = self._patient(deadline)
        self._mid_frame = True
        try:
            sock.sendall(data)
        except (TimeoutError, BlockingIOError):
            raise TimeoutError from None
        except OSError:
            return  # it may have said why before it closed: reading finds that, or the end
        self._mid_frame = False

    def _read(self, deadline: float | None) -> None:
        sock = self._patient(deadline)
        try:
            data = sock.recv(_CHUNK)
        except (TimeoutError, BlockingIOError):
            raise TimeoutError from None
        except OSError as error:
            self.close()
            raise ConnectionLost(f"the connection to the daemon broke: {error.strerror}") from None
        if not data:
            self.close()
            raise ConnectionLost("the daemon closed the connection")
        try:
            events = self._peer.receive(data)
        except ProtocolError as error:
            self.close()
            raise ConnectionLost(f"the daemon broke the protocol: {error}") from None
        for event in events:
            if isinstance(event, NotificationReceived):
                self._events.append(event)
            elif isinstance(event, RequestReceived):
                self._refuse(event, deadline)
            elif isinstance(event, (ResponseReceived, ErrorReceived)) and event.id in self._awaited:
                self._answers[event.id] = event  # others are answers to calls that were taken back

    def _refuse(self, request: RequestReceived, deadline: float | None) -> None:
        refusal = MeshError("unknown_method", method=request.method)
        self._send(self._peer.fail(request.id, refusal.code, refusal.message, refusal.data), deadline)

    def _take_back(self, request_id: int) -> None:
        if self._socket is None:
            return
        if not self._mid_frame:  # else the daemon could not tell where the frame ends
            try:
                self._send(self._peer.cancel(request_id), self._clock() + GOODBYE_SECONDS)
            except OSError:
                pass
        if self._mid_frame:
            self.close()  # which cancels too


def _result(answer: ResponseReceived | ErrorReceived) -> ResponseReceived:
    if isinstance(answer, ErrorReceived):
        error: RemoteError = answer.error
        raise error
    return answer


def _connect(path: str) -> _socket.socket:
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    # A blocking connect waits while the backlog is full; SO_SNDTIMEO bounds it (a time-out of Python's would not wait).
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, struct.pack("@ll", CONNECT_SECONDS, 0))
    try:
        if len(os.fsencode(path)) <= LONGEST_PATH:
            sock.connect(path)
        else:
            _connect_below(sock, path)
        _check_owner(sock, path)
    except OSError as error:
        sock.close()
        raise NotRunning(f"no daemon answers at {path}: {error.strerror or error}") from None
    except ConnectionLost:
        sock.close()
        raise
    return sock


def _check_owner(sock: _socket.socket, path: str) -> None:
    """What is called may be secret: it goes to nobody but ourselves (unix(7), SO_PEERCRED: pid, uid, gid)."""
    if hasattr(_socket, "SO_PEERCRED"):
        _, owner, _ = struct.unpack("3i", sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))
        if owner != os.geteuid():
            raise NotTrusted(f"another user listens at {path}")


def _connect_below(sock: _socket.socket, path: str) -> None:
    """Linux: a folder's descriptor stands for its path, however long that is."""
    folder, name = os.path.split(path)
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.close(descriptor)
