"""Length-prefixed frames: `u32be header_len, u32be body_len, header, body`, bytes in, frames out.

The header is one msgpack-RPC message (at most 64 KiB), the body raw payload (at most 1 MiB): payload never passes
through msgpack. Lengths are judged before anything is kept.
"""

from __future__ import annotations

from mesh_protocol.wire.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MAX_HEADER: Final = 64 * 1024
MAX_BODY: Final = 1024 * 1024
PREFIX: Final = 8


class FrameError(ValueError):
    """A frame outside the limits, or a message that is not exactly one frame. The connection cannot go on."""


class Frame(NamedTuple):
    """One frame: `header` is msgpack, `body` raw."""

    header: bytes
    body: bytes


def encode_frame(header: bytes, body: bytes = b"", *, max_body: int = MAX_BODY) -> bytes:
    """The bytes of one frame. Raises `FrameError` when the own side would break the limits."""
    if len(header) > MAX_HEADER or len(body) > max_body:
        raise FrameError(f"header {len(header)} and body {len(body)} bytes, the limits are {MAX_HEADER} and {max_body}")
    return len(header).to_bytes(4, "big") + len(body).to_bytes(4, "big") + header + body


class FrameReader:
    """Cuts a byte stream into frames. Holds at most one unfinished frame."""

    def __init__(self, *, max_header: int = MAX_HEADER, max_body: int = MAX_BODY) -> None:
        self._max_header = max_header
        self._max_body = max_body
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of an unfinished frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Frames completed by `data`. Raises `FrameError` as soon as a length is too large."""
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        start = 0
        while len(buffer) - start >= PREFIX:
            header_end = start + PREFIX + int.from_bytes(buffer[start : start + 4], "big")
            body_len = int.from_bytes(buffer[start + 4 : start + PREFIX], "big")
            if header_end - start - PREFIX > self._max_header or body_len > self._max_body:
                raise FrameError(f"a frame of {header_end - start - PREFIX} and {body_len} bytes is too large")
            end = header_end + body_len
            if end > len(buffer):
                break
            frames.append(Frame(bytes(buffer[start + PREFIX : header_end]), bytes(buffer[header_end:end])))
            start = end
        if start:
            del buffer[:start]
        return frames


def split_message(message: bytes, *, max_header: int = MAX_HEADER, max_body: int = MAX_BODY) -> Frame:
    """The one frame that a WebSocket message holds. Raises `FrameError`."""
    if len(message) < PREFIX:
        raise FrameError("a message shorter than a frame's prefix")
    header_len = int.from_bytes(message[:4], "big")
    body_len = int.from_bytes(message[4:PREFIX], "big")
    if header_len > max_header or body_len > max_body:
        raise FrameError(f"a frame of {header_len} and {body_len} bytes is too large")
    if len(message) != PREFIX + header_len + body_len:
        raise FrameError("a message that is not exactly one frame")
    return Frame(message[PREFIX : PREFIX + header_len], message[PREFIX + header_len :])
