"""The RPC peer without I/O: bytes in, events out; calls in, bytes out. Both sides are equal.

Header of a frame: request ``[0, id, method, params]``, response ``[1, id, error, result]``, notification
``[2, method, params]``. Answers are matched by id alone, in any order. A request is taken back by the notification
``rpc.cancel {id}``; the other side still answers it, usually with `cancelled`.
"""

from __future__ import annotations

from mesh_protocol.wire.codec import DEFAULT, CodecError, JsonValue, Limits, check, decode, encode
from mesh_protocol.wire.errors import RemoteError
from mesh_protocol.wire.framing import (
    MAX_BODY,
    MAX_HEADER,
    Frame,
    FrameError,
    FrameReader,
    encode_frame,
    split_message,
)
from mesh_protocol.wire.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, TypeAlias, TypeGuard

Params: TypeAlias = "dict[str, JsonValue]"

PROTOCOL: Final = (1, 0)
"""(major, minor) of what clients and daemon, daemon and broker speak. A major must be equal; minors may differ."""

CANCEL: Final = "rpc.cancel"
MAX_METHOD: Final = 64
MAX_ID: Final = 2**32 - 1
MAX_IN_FLIGHT: Final = 64
"""Requests that one side may have unanswered, cancelled ones included. Both sides count; one more ends the connection."""


class ProtocolError(Exception):
    """The other side broke the protocol; the connection ends. The text is safe to log: it quotes no payload."""


class RequestReceived(NamedTuple):
    id: int
    method: str
    params: Params
    body: bytes


class NotificationReceived(NamedTuple):
    method: str
    params: Params
    body: bytes


class ResponseReceived(NamedTuple):
    id: int
    result: JsonValue
    body: bytes


class ErrorReceived(NamedTuple):
    id: int
    error: RemoteError


class CancelReceived(NamedTuple):
    id: int


Event: TypeAlias = RequestReceived | NotificationReceived | ResponseReceived | ErrorReceived | CancelReceived


class Peer:
    """One end of a connection.

    `max_in_flight` bounds the requests of the other side that are not answered yet; one more is a protocol error,
    because a well-behaved peer stops at the bound it was told. `limits` bounds each header.
    """

    def __init__(
        self,
        *,
        max_in_flight: int = MAX_IN_FLIGHT,
        max_header: int = MAX_HEADER,
        max_body: int = MAX_BODY,
        limits: Limits | None = None,
    ) -> None:
        self._reader = FrameReader(max_header=max_header, max_body=max_body)
        self._max_header = max_header
        self._max_body = max_body
        self._limits = limits or Limits(size=max_header)
        self._max_in_flight = max_in_flight
        self._next_id = 0
        self._waiting: set[int] = set()
        self._answering: set[int] = set()

    @property
    def unfinished(self) -> int:
        """Bytes of a frame that has not arrived whole."""
        return self._reader.pending

    @property
    def answering(self) -> int:
        """Requests of the other side that this side owes an answer."""
        return len(self._answering)

    @property
    def awaiting(self) -> int:
        """Requests of this side whose answer has not come."""
        return len(self._waiting)

    # Outgoing: each returns the bytes to send, and raises `CodecError` or `FrameError`, with nothing changed, for what
    # the other side would have to refuse.

    def request(self, method: str, params: Params, body: bytes = b"") -> tuple[int, bytes]:
        """A new request: its id, and the bytes."""
        request_id = self._next_id % MAX_ID + 1
        while request_id in self._waiting:  # after four billion calls, one that is answered only at the end
            request_id = request_id % MAX_ID + 1
        data = self._encode([0, request_id, method, params], body)
        self._next_id = request_id
        self._waiting.add(request_id)
        return request_id, data

    def withdraw(self, request_id: int) -> None:
        """Forget a request whose bytes were never sent."""
        self._waiting.remove(request_id)

    def notify(self, method: str, params: Params, body: bytes = b"") -> bytes:
        return self._encode([2, method, params], body)

    def cancel(self, request_id: int) -> bytes:
        """Take a request back. Its answer is still awaited, so that the id is not reused too early."""
        return self.notify(CANCEL, {"id": request_id})

    def respond(self, request_id: int, result: JsonValue, body: bytes = b"") -> bytes:
        """The answer. Call it only when the bytes can go out: from then on the other side has room for one request more."""
        data = self._encode([1, request_id, None, result], body)
        self._answering.remove(request_id)
        return data

    def fail(self, request_id: int, code: str, message: str, data: Params) -> bytes:
        """The refusal; see `respond`."""
        frame = self._encode([1, request_id, {"code": code, "message": message, "data": data}, None], b"")
        self._answering.remove(request_id)
        return frame

    def _encode(self, message: JsonValue, body: bytes) -> bytes:
        header = encode(message)
        check(header, DEFAULT)  # the other side would end the connection, and with it the neighbours' calls
        return encode_frame(header, body, max_body=self._max_body)

    # Incoming.

    def receive(self, data: bytes) -> list[Event]:
        """Events of a byte stream. Raises `ProtocolError`."""
        try:
            frames = self._reader.feed(data)
        except FrameError as error:
            raise ProtocolError(str(error)) from None
        return [self._event(frame) for frame in frames]

    def receive_message(self, message: bytes) -> Event:
        """The event of one WebSocket message. Raises `ProtocolError`."""
        try:
            frame = split_message(message, max_header=self._max_header, max_body=self._max_body)
        except FrameError as error:
            raise ProtocolError(str(error)) from None
        return self._event(frame)

    def _event(self, frame: Frame) -> Event:
        try:
            message = decode(frame.header, self._limits)
        except CodecError as error:
            raise ProtocolError(f"header: {error}") from None
        match message:
            # `int()` would take a bool, and 1 a 1.0: the kind is compared by type too.
            case [int() as kind, *rest] if type(kind) is int:
                return self._message(kind, rest, frame.body)
            case _:
                raise ProtocolError("a header that is not a message")

    def _message(self, kind: int, rest: list[JsonValue], body: bytes) -> Event:
        match kind, rest:
            case 0, [request_id, str() as method, dict() as params] if _is_id(request_id) and len(method) <= MAX_METHOD:
                return self._request(request_id, method, params, body)
            case 1, [request_id, failure, result] if _is_id(request_id):
                return self._response(request_id, failure, result, body)
            case 2, ["rpc.cancel", {"id": request_id}] if _is_id(request_id):
                return CancelReceived(request_id)
            case 2, [str() as method, dict() as params] if len(method) <= MAX_METHOD and method != CANCEL:
                return NotificationReceived(method, params, body)
            case _:
                raise ProtocolError("a header that is not a message")

    def _request(self, request_id: int, method: str, params: Params, body: bytes) -> RequestReceived:
        if request_id in self._answering:
            raise ProtocolError("a request id that is in use")
        if len(self._answering) >= self._max_in_flight:
            raise ProtocolError(f"more than {self._max_in_flight} requests at once")
        self._answering.add(request_id)
        return RequestReceived(request_id, method, params, body)

    def _response(self, request_id: int, error: JsonValue, result: JsonValue, body: bytes) -> Event:
        if request_id not in self._waiting:
            raise ProtocolError("an answer to nothing")
        match error, result:
            case None, _:
                event: Event = ResponseReceived(request_id, result, body)
            case {"code": str() as code, "message": str() as text, "data": dict() as data}, None:
                event = ErrorReceived(request_id, RemoteError(code, text, data))
            case _:
                raise ProtocolError("an answer that is neither a result nor an error")
        self._waiting.discard(request_id)
        return event


def _is_id(value: JsonValue) -> TypeGuard[int]:
    return type(value) is int and 0 < value <= MAX_ID
