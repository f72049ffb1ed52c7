"""The daemon's side of a WebSocket (RFC 6455): one binary message is one frame, nothing is compressed.

The protocol is the sans-I/O one of `websockets`; here are the bytes. There is no task behind it: who waits for a frame
reads, and answers pings on the way.
"""

import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import trio
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from mesh_protocol.io.link import LinkClosed
from mesh_protocol.wire.framing import MAX_BODY, MAX_HEADER, PREFIX

CONNECT_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 1.0
CHUNK: Final = 64 * 1024
MAX_FRAGMENTS: Final = 64


class WebSocketLink:
    """A link over an open connection. A cancelled `send` breaks it: a part of a message may be out."""

    whole = True

    def __init__(self, stream: trio.abc.Stream, protocol: ClientProtocol) -> None:
        self._stream = stream
        self._protocol = protocol
        self._writing = trio.StrictFIFOLock()
        self._messages: list[bytes] = []  # of one chunk at most
        self._parts: list[bytes] = []
        self._over: str | None = None
        self._cut = False
        self._leaving = False
        self._digest()  # what came with the answer to the handshake

    async def send(self, frame: bytes) -> None:
        async with self._writing:
            if self._protocol.state is not State.OPEN:
                raise LinkClosed(self._over or "closed")
            self._protocol.send_binary(frame)
            await self._write()

    async def receive(self) -> bytes:
        if self._messages:
            await trio.lowlevel.checkpoint()  # a chunk of many small messages is not all one turn
        while not self._messages:
            if self._over is not None or self._leaving:
                raise LinkClosed(self._over or "closed")
            await self._read()
        return self._messages.pop(0)

    async def aclose(self) -> None:
        self._leaving = True  # from here on the goodbye reads what comes
        with trio.move_on_after(CLOSE_SECONDS):
            await self._say_goodbye()
        await trio.aclose_forcefully(self._stream)

    async def _read(self) -> None:
        try:
            data = await self._stream.receive_some(CHUNK)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if not data:
            self._over = self._over or "connection lost"
            return
        self._protocol.receive_data(bytes(data))
        self._digest()
        # Pongs, the echo of a close, or on a violation a close that says it. Who is just writing sends them too: a reader
        # that waited for a writer would not read, and the other side might wait for just that.
        if not self._writing.locked():
            async with self._writing:
                await self._write()

    def _digest(self) -> None:
        """Take what the protocol made of the bytes so far."""
        self._take(self._protocol.events_received())
        if self._protocol.state is not State.OPEN:
            self._over = self._over or _why(self._protocol)

    def _take(self, events: Iterable[object]) -> None:
        for event in events:
            if not isinstance(event, Frame) or event.opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
                continue
            if event.opcode is Opcode.TEXT:
                self._end(CloseCode.UNSUPPORTED_DATA, "a text message where frames are binary")
                return
            self._parts.append(bytes(event.data))
            if len(self._parts) > MAX_FRAGMENTS:
                self._end(CloseCode.POLICY_VIOLATION, "too many fragments")
                return
            if event.fin:
                self._messages.append(self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))
                self._parts = []

    def _end(self, code: CloseCode, reason: str) -> None:
        self._over = reason
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)

    async def _write(self) -> None:
        """Send what the protocol has to say. Whoever calls holds the lock."""
        while data := b"".join(self._protocol.data_to_send()):
            if self._cut:
                raise LinkClosed("a message was cut off")
            self._cut = True  # until it is out whole: a cancelled send leaves half a message behind
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                raise LinkClosed(self._over or "connection lost") from None
            self._cut = False

    async def _say_goodbye(self) -> None:
        try:
            async with self._writing:
                if self._protocol.state is State.OPEN:
                    self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
                    await self._write()
            while self._over is None or self._protocol.close_rcvd is None:
                if self._over == "connection lost":
                    return
                await self._read()
        except (LinkClosed, trio.BusyResourceError):
            return  # it is gone; or another task reads, and sees the end


def _why(protocol: ClientProtocol) -> str:
    close = protocol.close_rcvd or protocol.close_sent
    return f"closed with {close.code}" if close is not None else "connection lost"


@asynccontextmanager
async def open_websocket(
    url: str, context: ssl.SSLContext | None, headers: Sequence[tuple[str, str]] = ()
) -> AsyncIterator[WebSocketLink]:
    """Connect to `ws://` or `wss://` (with `context`, or the system's trust), with more `headers` as a proxy would add
    them. What the body raises passes as it is.

    Raises `LinkClosed` when no connection comes about within `CONNECT_SECONDS`, as soon as that is known.
    """
    link: WebSocketLink | None = None
    with trio.move_on_after(CONNECT_SECONDS):
        link = await _open(url, context, headers)
    if link is None:
        raise LinkClosed(f"no answer within {CONNECT_SECONDS:.0f} s")
    try:
        yield link
    finally:
        with trio.CancelScope(shield=True):
            await link.aclose()


async def _open(url: str, context: ssl.SSLContext | None, headers: Sequence[tuple[str, str]]) -> WebSocketLink:
    parts = urlsplit(url)
    stream = await _connect(parts.hostname or "", parts.port, parts.scheme == "wss", context)
    try:
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        protocol = ClientProtocol(parse_uri(bare), max_size=PREFIX + MAX_HEADER + MAX_BODY)
        return WebSocketLink(stream, await _shake_hands(stream, protocol, headers))
    except BaseException:
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(stream)
        raise


async def _shake_hands(
    stream: trio.abc.Stream, protocol: ClientProtocol, headers: Sequence[tuple[str, str]]
) -> ClientProtocol:
    request = protocol.connect()
    for name, value in headers:
        request.headers[name] = value
    protocol.send_request(request)
    try:
        await stream.send_all(b"".join(protocol.data_to_send()))
        while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
            data = await stream.receive_some(CHUNK)
            if not data:
                raise LinkClosed("the server closed before it answered")
            protocol.receive_data(bytes(data))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        raise LinkClosed("the server closed before it answered") from None
    error = protocol.handshake_exc
    if isinstance(error, InvalidStatus):
        raise LinkClosed(f"the server answered {error.response.status_code}")
    if error is not None:
        raise LinkClosed(f"not a WebSocket server: {type(error).__name__}")
    return protocol


async def _connect(
    host: str, port: int | None, secure: bool, context: ssl.SSLContext | None
) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    """TCP and TLS by hand: the library would wait for its time-out, and then not say what was wrong."""
    try:
        tcp = await trio.open_tcp_stream(host, port or (443 if secure else 80))
    except OSError as error:
        raise LinkClosed(f"no connection: {_first_text(error)}") from None
    if not secure:
        return tcp
    tls = trio.SSLStream(tcp, context or ssl.create_default_context(), server_hostname=host, https_compatible=True)
    try:
        await tls.do_handshake()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(tcp)
        raise LinkClosed(f"no TLS: {_first_text(error.__cause__ or error)}") from None
    except BaseException:
        await trio.aclose_forcefully(tcp)
        raise
    return tls


def _first_text(error: BaseException) -> str:
    cause = error.__cause__ or error
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    return getattr(cause, "strerror", None) or type(cause).__name__
