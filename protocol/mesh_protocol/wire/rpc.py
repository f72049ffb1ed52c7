"""The RPC peer without I/O: bytes in, events out; calls in, bytes out. Both sides are equal.

Header of a frame: request ``[0, id, method, params]``, response ``[1, id, error, result]``, notification
``[2, method, params]``. Answers are matched by id alone, in any order. A request is taken back by the notification
``rpc.cancel {id}``; the other side still answers it, usually with `cancelled`.
"""

from typing import Final, NamedTuple, TypeAlias

from mesh_protocol.wire.codec import CodecError, JsonValue, Limits, decode, encode
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

Params: TypeAlias = "dict[str, JsonValue]"

PROTOCOL: Final = (1, 0)
"""(major, minor) of what clients and daemon, daemon and broker speak. A major must be equal; minors may differ."""

CANCEL: Final = "rpc.cancel"
MAX_METHOD: Final = 64
MAX_ID: Final = 2**32 - 1


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
        max_in_flight: int = 64,
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

    # Outgoing: each returns the bytes to send.

    def request(self, method: str, params: Params, body: bytes = b"") -> tuple[int, bytes]:
        """A new request: its id, and the bytes."""
        self._next_id = self._next_id % MAX_ID + 1
        data = encode_frame(encode([0, self._next_id, method, params]), body, max_body=self._max_body)
        self._waiting.add(self._next_id)
        return self._next_id, data

    def notify(self, method: str, params: Params, body: bytes = b"") -> bytes:
        return encode_frame(encode([2, method, params]), body, max_body=self._max_body)

    def cancel(self, request_id: int) -> bytes:
        """Take a request back. Its answer is still awaited, so that the id is not reused too early."""
        return self.notify(CANCEL, {"id": request_id})

    def respond(self, request_id: int, result: JsonValue, body: bytes = b"") -> bytes:
        self._answering.remove(request_id)
        return encode_frame(encode([1, request_id, None, result]), body, max_body=self._max_body)

    def fail(self, request_id: int, code: str, message: str, data: Params) -> bytes:
        self._answering.remove(request_id)
        error: JsonValue = {"code": code, "message": message, "data": data}
        return encode_frame(encode([1, request_id, error, None]))

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
        if not isinstance(message, list) or not message:
            raise ProtocolError("a header that is not a message")
        match message:
            case [0, int() as request_id, str() as method, dict() as params]:
                return self._request(request_id, method, params, frame.body)
            case [1, int() as request_id, failure, result]:
                return self._response(request_id, failure, result, frame.body)
            case [2, "rpc.cancel", {"id": int() as request_id}]:
                return CancelReceived(request_id)
            case [2, str() as method, dict() as params] if len(method) <= MAX_METHOD:
                return NotificationReceived(method, params, frame.body)
            case _:
                raise ProtocolError("a header that is not a message")

    def _request(self, request_id: int, method: str, params: Params, body: bytes) -> RequestReceived:
        if isinstance(request_id, bool) or not 0 < request_id <= MAX_ID or len(method) > MAX_METHOD:
            raise ProtocolError("a request with a bad id or method")
        if request_id in self._answering:
            raise ProtocolError("a request id that is in use")
        if len(self._answering) >= self._max_in_flight:
            raise ProtocolError(f"more than {self._max_in_flight} requests at once")
        self._answering.add(request_id)
        return RequestReceived(request_id, method, params, body)

    def _response(self, request_id: int, error: JsonValue, result: JsonValue, body: bytes) -> Event:
        if request_id not in self._waiting:
            raise ProtocolError("an answer to nothing")
        self._waiting.discard(request_id)
        match error:
            case None:
                return ResponseReceived(request_id, result, body)
            case {"code": str() as code, "message": str() as text, "data": dict() as data}:
                return ErrorReceived(request_id, RemoteError(code, text, data))
            case _:
                raise ProtocolError("an answer that is neither a result nor an error")
