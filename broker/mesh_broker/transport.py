"""Byte transports below the WebSocket: a plain socket that can be written without waiting, and TLS."""

import socket
import ssl
from typing import Final, Protocol

import trio

from mesh_protocol.io.link import LinkClosed

CHUNK: Final = 16 * 1024
"""Bytes read at once. A chunk full of the smallest WebSocket frames costs about 25 ms to parse: no more at a time."""


class Transport(Protocol):
    """A duplex byte stream."""

    async def receive(self) -> bytes:
        """The next bytes, empty at the end. Raises `LinkClosed`."""

    async def send(self, data: bytes) -> None:
        """Send all. Raises `LinkClosed`. Cancelled, it may have sent a part."""

    def send_now(self, data: bytes) -> int:
        """Hand over what is possible without waiting: the bytes taken, 0 if none. Raises `LinkClosed`."""

    async def finish(self) -> None:
        """Say that nothing follows, and read away what the other side still sends, so that it sees our last words."""

    async def close(self) -> None:
        """Close at once. A waiting `receive` of another task raises `LinkClosed`."""


class SocketTransport:
    """A connected, non-blocking socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._open = True

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            if not self._open:
                raise LinkClosed("closed")
            try:
                data = self._sock.recv(CHUNK)
                await trio.lowlevel.cancel_shielded_checkpoint()  # who always has something to say yields too
                return data
            except BlockingIOError:
                pass
            except OSError:
                raise LinkClosed("connection lost") from None
            try:
                await trio.lowlevel.wait_readable(self._sock)
            except (trio.ClosedResourceError, OSError):
                raise LinkClosed("closed") from None

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while True:
            view = view[self.send_now(view) :]
            if not view:
                return
            try:
                await trio.lowlevel.wait_writable(self._sock)
            except (trio.ClosedResourceError, OSError):
                raise LinkClosed("closed") from None

    def send_now(self, data: bytes | memoryview) -> int:
        if not self._open:
            raise LinkClosed("closed")
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            raise LinkClosed("connection lost") from None

    async def finish(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
            while await self.receive():
                pass
        except (OSError, LinkClosed, trio.BusyResourceError):
            return  # gone already, or another task reads: then it sees the end

    async def close(self) -> None:
        if self._open:
            self._open = False
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()


class TlsTransport:
    """TLS over a connected socket. `handshake` first."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        inner = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._stream = trio.SSLStream(inner, context, server_side=True, https_compatible=True)

    async def handshake(self) -> None:
        """Raises `LinkClosed` when the other side does not speak our TLS."""
        try:
            await self._stream.do_handshake()
        except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError):
            raise LinkClosed("no TLS") from None

    async def receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(CHUNK))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise LinkClosed("connection lost") from None

    async def send(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise LinkClosed("connection lost") from None

    def send_now(self, data: bytes) -> int:
        return 0  # a record must be encrypted and written whole: only `send` can

    async def finish(self) -> None:
        return

    async def close(self) -> None:
        await trio.aclose_forcefully(self._stream)
