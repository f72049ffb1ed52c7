"""The broker's side of a WebSocket (RFC 6455): one binary message is one frame, nothing is compressed.

Incoming bytes go through the sans-I/O protocol of `websockets`. Outgoing binary messages are a length and the bytes
(a server does not mask), so they are written here, and a fan-out costs one socket call a receiver.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import trio
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Protocol, State

from mesh_broker.transport import Transport
from mesh_protocol.io.link import LinkClosed

MAX_FRAGMENTS: Final = 64
MAX_CONTROL: Final = 64
"""Pings and pongs in a row without a message between them; a well-behaved peer sends one in twenty seconds."""
FAREWELL_SECONDS: Final = 0.3
_BINARY: Final = 0x82


def encode_binary(payload: bytes) -> bytes:
    """One unmasked binary message in one fragment."""
    size = len(payload)
    if size < 126:
        return bytes((_BINARY, size)) + payload
    if size < 65536:
        return bytes((_BINARY, 126)) + size.to_bytes(2, "big") + payload
    return bytes((_BINARY, 127)) + size.to_bytes(8, "big") + payload


class WsLink:
    """A link over an accepted WebSocket. `protocol` is a server's, already open."""

    whole = True

    def __init__(self, transport: Transport, protocol: Protocol, *, dead_seconds: float) -> None:
        self._transport = transport
        self._protocol = protocol
        self._dead_seconds = dead_seconds
        self._writing = trio.StrictFIFOLock()
        self._messages: list[bytes] = []  # of one chunk at most; an empty deque takes 700 bytes
        self._parts: list[bytes] = []
        self._controls = 0
        self._unparsed = 0
        self._unsent = b""
        self._cut = False
        self._close: tuple[int, str] = (CloseCode.PROTOCOL_ERROR, "protocol error")
        self._over: str | None = None
        self.last_heard = trio.current_time()
        """trio time of the newest bytes, a pong's too."""
        self.partial_since: float | None = None
        """trio time at which a message began that is not whole yet."""
        self.partial_bytes = 0

    @property
    def max_message(self) -> int:
        """The largest message taken; a larger one is answered with close code 1009."""
        return self._protocol.max_message_size or 0

    @max_message.setter
    def max_message(self, size: int) -> None:
        self._protocol.max_message_size = size

    @property
    def unsent(self) -> bool:
        """A part of a message waits for `flush`."""
        return bool(self._unsent)

    def close_with(self, code: int, reason: str) -> None:
        """What `aclose` will tell the other side: a code of RFC 6455 7.4 and a few words of ours."""
        self._close = (code, reason)

    # Reading.

    async def receive(self) -> bytes:
        if self._messages:
            await trio.lowlevel.checkpoint()  # a chunk of many small messages is not all one turn
        while not self._messages:
            if self._over is not None:
                raise LinkClosed(self._over)
            data = await self._transport.receive()
            if not data:
                raise LinkClosed("the other side closed")
            await self.feed(data)
        return self._messages.pop(0)

    async def feed(self, data: bytes) -> None:
        self.last_heard = trio.current_time()
        self._unparsed += len(data)
        self._protocol.receive_data(data)
        before = len(self._messages)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
        self._note_partial(len(data), len(self._messages) > before)
        await self._answer_controls(self._protocol.data_to_send())

    def _take(self, frame: Frame) -> None:
        self._unparsed -= _size_on_wire(len(frame.data))
        match frame.opcode:
            case Opcode.BINARY | Opcode.CONT:
                self._controls = 0
                self._parts.append(bytes(frame.data))
                if len(self._parts) > MAX_FRAGMENTS:
                    self._end(CloseCode.POLICY_VIOLATION, "too many fragments")
                elif frame.fin:
                    self._messages.append(self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))
                    self._parts = []
            case Opcode.TEXT:
                self._end(CloseCode.UNSUPPORTED_DATA, "frames are binary")
            case Opcode.CLOSE:
                self._over = self._over or "the other side closed"
            case _:
                self._controls += 1
                if self._controls > MAX_CONTROL:
                    self._end(CloseCode.POLICY_VIOLATION, "too many control frames")

    def _end(self, code: CloseCode, reason: str) -> None:
        self._close = (code, reason)
        self._over = self._over or reason

    def _note_partial(self, received: int, completed: bool) -> None:
        if not self._parts and self._unparsed <= 0:
            self.partial_since = None
        elif self.partial_since is None or completed:
            self.partial_since, self.partial_bytes = trio.current_time(), 0
        else:
            self.partial_bytes += received

    async def _answer_controls(self, writes: Iterable[bytes]) -> None:
        # The protocol writes pongs, the echo of a close, and on a violation a close of its own, which says it best.
        data = b"".join(writes)
        if self._protocol.state is not State.OPEN:
            self._over = self._over or _why(self._protocol)
        if data:
            await self._write(data)

    # Writing.

    async def send(self, frame: bytes) -> None:
        await self._send(encode_binary(frame))

    async def send_many(self, frames: Sequence[bytes]) -> None:
        """Send frames in order with one system call."""
        await self._send(b"".join(map(encode_binary, frames)))

    async def _send(self, data: bytes) -> None:
        if self._protocol.state is not State.OPEN:
            raise LinkClosed(self._over or "closed")
        if not self._write_now(data):
            await self._write(data)
        elif self._unsent:
            await self._write(b"")
        else:
            await trio.lowlevel.checkpoint()  # the common case, without a lock or a deadline

    def send_now(self, frame: bytes) -> bool:
        """Send without waiting, or not at all (False). What the socket did not take is `unsent` and needs `flush`."""
        return self._write_now(encode_binary(frame))

    def ping(self) -> None:
        """Ask for a sign of life, if the line is free: a busy one is judged by its sender's deadline."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")
            self._write_now(b"".join(self._protocol.data_to_send()))

    async def flush(self) -> None:
        """Send the rest of a message that `send_now` began."""
        await self._write(b"")

    def _write_now(self, data: bytes) -> bool:
        if self._writing.locked() or self._unsent or self._cut or self._protocol.state is not State.OPEN:
            return False
        try:
            taken = self._transport.send_now(data)
        except LinkClosed:
            return False  # the reading side sees the end too
        self._unsent = data[taken:] if taken else b""
        return taken > 0

    async def _write(self, data: bytes) -> None:
        async with self._writing:
            data, self._unsent = self._unsent + data, b""
            if self._cut:
                raise LinkClosed("a message was cut off")
            self._cut = True  # until it is out whole: a cancelled send leaves half a message behind
            with trio.move_on_after(self._dead_seconds) as patience:
                await self._transport.send(data)
            if patience.cancelled_caught:
                raise LinkClosed("the other side does not read")
            self._cut = False

    async def aclose(self) -> None:
        with trio.move_on_after(FAREWELL_SECONDS, shield=True):
            await self._farewell()
        await self._transport.close()

    async def _farewell(self) -> None:
        if self._protocol.state is State.OPEN and not self._cut:
            self._protocol.send_close(*self._close)
            self._over = self._over or self._close[1]
            try:
                await self._write(b"".join(self._protocol.data_to_send()))
            except LinkClosed:
                return
        if not self._cut:
            await self._transport.finish()


def _size_on_wire(payload: int) -> int:
    """Bytes of a client's frame: two, a longer length where needed, the mask, the payload."""
    return 2 + (0 if payload < 126 else 2 if payload < 65536 else 8) + 4 + payload


def _why(protocol: Protocol) -> str:
    close = protocol.close_sent or protocol.close_rcvd
    return f"closed with {close.code}" if close is not None else "connection lost"
