"""JSON-RPC 2.0 lines as MCP's stdio transport has them: bounded before they are decoded, and written back.

A line is one message without its line feed. Batches are not part of the MCP revisions spoken here.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

import msgspec

from mesh_protocol.wire.codec import JsonValue
from mesh_protocol.wire.framing import MAX_BODY

MAX_LINE: Final = MAX_BODY
"""Bytes of one line: what one frame's body carries."""
MAX_DEPTH: Final = 32
MAX_ELEMENTS: Final = 16_384
"""Commas and opening brackets outside strings. A megabyte of empty objects would become 70 MB (measured)."""
MAX_ID: Final = 200
"""Characters of a textual id."""

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
SERVER_BUSY: Final = -32000

McpId: TypeAlias = int | str
JsonObject: TypeAlias = "dict[str, JsonValue]"


class LineError(Exception):
    """A line that cannot be taken. `id` is the request's where it could be read, so that its caller is not left waiting."""

    def __init__(self, code: int, message: str, request_id: McpId | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.id = request_id


class CallLine(NamedTuple):
    """A request, which is owed an answer."""

    id: McpId
    method: str
    params: JsonObject


class NoteLine(NamedTuple):
    """A notification."""

    method: str
    params: JsonObject


class ReplyLine(NamedTuple):
    """The other side's answer to a request of ours."""

    id: McpId | None


Line: TypeAlias = CallLine | NoteLine | ReplyLine


class _Message(msgspec.Struct):
    jsonrpc: str = ""
    id: int | str | None | msgspec.UnsetType = msgspec.UNSET
    method: str | msgspec.UnsetType = msgspec.UNSET
    params: dict[str, msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _IdOnly(msgspec.Struct):
    id: int | str | None = None


_message = msgspec.json.Decoder(_Message)
_id_only = msgspec.json.Decoder(_IdOnly)
_value: "msgspec.json.Decoder[JsonValue]" = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


def parse_line(line: bytes) -> Line:
    """The message in `line`. Raises `LineError`, which names the error to answer with."""
    if len(line) > MAX_LINE:
        raise LineError(INVALID_REQUEST, f"a message of {len(line)} bytes, the limit is {MAX_LINE}")
    _check_bounds(line)
    try:
        message = _message.decode(line)
        params: JsonObject = (
            {}
            if message.params is msgspec.UNSET
            else {name: _value.decode(raw) for name, raw in message.params.items()}
        )
    except msgspec.ValidationError as error:
        raise LineError(INVALID_REQUEST, f"not a JSON-RPC message: {error}", _readable_id(line)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise LineError(PARSE_ERROR, f"not JSON: {error}") from None
    if message.jsonrpc != "2.0":
        raise LineError(INVALID_REQUEST, 'jsonrpc must be "2.0"', _readable_id(line))
    request_id = message.id
    if isinstance(request_id, str) and len(request_id) > MAX_ID:
        raise LineError(INVALID_REQUEST, f"an id longer than {MAX_ID} characters")
    if message.method is msgspec.UNSET:
        if request_id is msgspec.UNSET or (message.result is msgspec.UNSET and message.error is msgspec.UNSET):
            raise LineError(INVALID_REQUEST, "neither a request, a notification nor an answer", _readable_id(line))
        return ReplyLine(request_id)
    if request_id is msgspec.UNSET:
        return NoteLine(message.method, params)
    if request_id is None:
        raise LineError(INVALID_REQUEST, "a request's id is a string or an integer")
    return CallLine(request_id, message.method, params)


def result_line(request_id: McpId, result: Mapping[str, object]) -> bytes:
    """The line that answers a request."""
    return _encoder.encode({"jsonrpc": "2.0", "id": request_id, "result": result})


def error_line(request_id: McpId | None, code: int, message: str) -> bytes:
    """The line that refuses a request; `request_id` is None where it could not be read."""
    return _encoder.encode({"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}})


def note_line(method: str, params: Mapping[str, object]) -> bytes:
    """A notification."""
    return _encoder.encode({"jsonrpc": "2.0", "method": method, "params": params})


def id_text(request_id: McpId) -> str:
    """An id as JSON, so that 5 and "5" differ."""
    return _encoder.encode(request_id).decode()


def _check_bounds(line: bytes) -> None:
    """Depth and elements, on the raw bytes: nothing is built for a line that is refused."""
    opening = line.count(b"{") + line.count(b"[")
    if opening <= MAX_DEPTH and opening + line.count(b",") <= MAX_ELEMENTS:
        return  # also if all of them stood outside strings
    # Without escapes every second piece between quotation marks is outside strings. Where the bytes are not JSON this
    # may be wrong only after the place at which the decoder stops.
    outside = b"".join(line.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    elements = outside.count(b"{") + outside.count(b"[") + outside.count(b",")
    if elements > MAX_ELEMENTS:
        raise LineError(INVALID_REQUEST, f"more than {MAX_ELEMENTS} elements", _readable_id(line))
    depth = 0
    for byte in outside:
        if byte in b"{[":
            depth += 1
            if depth > MAX_DEPTH:
                raise LineError(INVALID_REQUEST, f"nested deeper than {MAX_DEPTH}", _readable_id(line))
        elif byte in b"}]":
            depth -= 1


def _readable_id(line: bytes) -> McpId | None:
    """The id of a refused line; the decoder skips everything else without building it."""
    try:
        request_id = _id_only.decode(line).id
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return None if isinstance(request_id, str) and len(request_id) > MAX_ID else request_id
