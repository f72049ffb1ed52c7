"""The way to the one API: a TCP connection of its own for each client connection, TLS verified."""

import socket
import ssl
from collections.abc import Callable
from typing import Final

import trio

from meshd.services.proxy.settings import Upstream

CONNECT_S: Final = 30.0
"""How long connecting and the TLS handshake may take together."""
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
    """Opens connections to one upstream. `make_context` gives the TLS settings, the system's authorities by default."""

    def __init__(
        self, upstream: Upstream, make_context: Callable[[], ssl.SSLContext] = ssl.create_default_context
    ) -> None:
        self.upstream = upstream
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
                stream = await trio.open_tcp_stream(upstream.host, upstream.port)
                keep_alive(stream)
                return stream if self._context is None else await self._secure(stream, self._context)
        except trio.TooSlowError:
            raise Unreachable(f"{upstream.authority} did not answer within {CONNECT_S:g} s") from None
        except OSError as error:
            raise Unreachable(f"{upstream.authority}: {error.strerror or type(error).__name__}") from None

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
