"""The way to the one API: a TCP connection of its own for each client connection, TLS verified."""

import socket
import ssl
from collections.abc import Callable
from typing import Final

import trio

from meshd.services.proxy.settings import Upstream, Via

CONNECT_S: Final = 30.0
"""How long connecting and the TLS handshake may take together."""
MAX_ANSWER: Final = 16 * 1024
"""Bytes of what a network's proxy says to CONNECT."""
KEEPALIVE_S: Final = 60
"""After so long without a byte TCP asks whether the other side is still there: answers may take long to begin."""


class Unreachable(Exception):
    """No connection; the text says why and names no secret."""


def keep_alive(stream: trio.SocketStream) -> None:
    """Let TCP find out when the other side is gone, however long nothing is said."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):  # absent on macOS, whose default is two hours
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_S // 4)


class Door:
    """Opens connections to one upstream. `make_context` gives the TLS settings, the system's authorities by default.
    `via` stands on the way of what goes out encrypted; what is on this machine is reached without it."""

    def __init__(
        self,
        upstream: Upstream,
        make_context: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        via: Via | None = None,
    ) -> None:
        self.upstream = upstream
        self._via = via if upstream.tls else None
        self.host_header = upstream.authority.encode("ascii")
        self.prefix = upstream.path.encode("ascii")
        self._context: ssl.SSLContext | None = None
        if upstream.tls:
            self._context = make_context()
            self._context.set_alpn_protocols(["http/1.1"])

    async def open(self) -> trio.abc.Stream:
        """A new connection. Raises `Unreachable`."""
        upstream = self.upstream
        try:
            with trio.fail_after(CONNECT_S):
                if self._via is None:
                    stream = await trio.open_tcp_stream(upstream.host, upstream.port)
                    keep_alive(stream)
                else:
                    stream = await self._tunnel(self._via)
                return stream if self._context is None else await self._secure(stream, self._context)
        except trio.TooSlowError:
            raise Unreachable(f"{upstream.authority} did not answer within {CONNECT_S:g} s") from None
        except OSError as error:
            where = upstream.authority if self._via is None else f"the network's proxy {self._via.authority}"
            raise Unreachable(f"{where}: {error.strerror or type(error).__name__}") from None

    async def _tunnel(self, via: Via) -> trio.SocketStream:
        """A connection to the upstream through the network's proxy, which sees names and sizes alone."""
        host = self.upstream.host
        target = f"[{host}]:{self.upstream.port}" if ":" in host else f"{host}:{self.upstream.port}"
        stream = await trio.open_tcp_stream(via.host, via.port)
        try:
            keep_alive(stream)
            await stream.send_all(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii"))
            said = bytearray()
            while b"\r\n\r\n" not in said and len(said) < MAX_ANSWER:
                data = await stream.receive_some(MAX_ANSWER)
                if not data:
                    break
                said += data
            version, _, rest = bytes(said).partition(b" ")
            # The API speaks only when it is spoken to: bytes behind the head would be the proxy's own.
            if not version.startswith(b"HTTP/1.") or rest[:1] != b"2" or not said.endswith(b"\r\n\r\n"):
                status = rest[:3].decode("ascii", "replace")
                raise Unreachable(
                    f"the network's proxy {via.authority} does not let through to {target}"
                    f" ({status if status.isdecimal() else 'no answer of HTTP'})"
                )
        except trio.BrokenResourceError:
            await trio.aclose_forcefully(stream)
            raise Unreachable(f"the network's proxy {via.authority} broke the connection") from None
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    async def _secure(self, stream: trio.SocketStream, context: ssl.SSLContext) -> trio.abc.Stream:
        # An API may end a connection without TLS's closing alert; HTTP's own framing says whether all has come.
        secured = trio.SSLStream(stream, context, server_hostname=self.upstream.host, https_compatible=True)
        try:
            await secured.do_handshake()
        except trio.BrokenResourceError as error:
            why = getattr(error.__cause__, "verify_message", "") or getattr(error.__cause__, "reason", "")
            await trio.aclose_forcefully(secured)
            raise Unreachable(f"{self.upstream.authority}: TLS failed ({why or 'the connection broke'})") from None
        except BaseException:
            await trio.aclose_forcefully(secured)
            raise
        return secured
