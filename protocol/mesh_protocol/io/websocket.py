"""The daemon's side of a WebSocket: one binary message is one frame."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import trio
import trio_websocket
import wsproto.utilities

from mesh_protocol.io.link import LinkClosed
from mesh_protocol.wire.framing import MAX_BODY, MAX_HEADER, PREFIX

CONNECT_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 1.0


class WebSocketLink:
    """A link over a trio-websocket connection. A cancelled `send` breaks it: a part of a message may be out."""

    whole = True

    def __init__(self, connection: trio_websocket.WebSocketConnection, stream: trio.abc.Stream) -> None:
        self._connection = connection
        self._stream = stream
        self._broken = False

    async def send(self, frame: bytes) -> None:
        if self._broken:
            raise LinkClosed("a message was cut off")
        self._broken = True
        try:
            await self._connection.send_message(frame)
        except trio_websocket.ConnectionClosed as error:
            raise LinkClosed(_why(error)) from None
        except wsproto.utilities.ProtocolError:
            raise LinkClosed("closed") from None
        self._broken = False

    async def receive(self) -> bytes:
        try:
            message = await self._connection.get_message()
        except trio_websocket.ConnectionClosed as error:
            raise LinkClosed(_why(error)) from None
        if isinstance(message, str):
            raise LinkClosed("a text message where frames are binary")
        return bytes(message)

    async def aclose(self) -> None:
        with trio.move_on_after(CLOSE_SECONDS):
            try:
                await self._connection.aclose()
            except wsproto.utilities.ProtocolError:
                pass
        # The library leaves the socket to its reading task, which a cancelled nursery has ended already.
        await trio.aclose_forcefully(self._stream)


def _why(error: trio_websocket.ConnectionClosed) -> str:
    reason = error.reason
    return f"closed with {reason.code}" if reason is not None else "connection lost"


@asynccontextmanager
async def open_websocket(url: str, context: ssl.SSLContext | None) -> AsyncIterator[WebSocketLink]:
    """Connect to `ws://` or `wss://` (with `context`, or the system's trust). What the body raises passes as it is.

    Raises `LinkClosed` when no connection comes about within `CONNECT_SECONDS`, as soon as that is known.
    """
    raised: BaseException | None = None
    async with trio.open_nursery() as nursery:
        reader = _Reader(nursery)
        try:
            link = await _open(reader, url, context)
            try:
                yield link
            finally:
                with trio.CancelScope(shield=True):
                    await link.aclose()
        except BaseException as error:  # noqa: BLE001 - raised again below, where the nursery cannot wrap it
            raised = error
        reader.reading.cancel()
    if raised is not None:
        raise raised


async def _open(reader: "_Reader", url: str, context: ssl.SSLContext | None) -> WebSocketLink:
    parts = urlsplit(url)
    with reader.opening:
        reader.opening.deadline = trio.current_time() + CONNECT_SECONDS
        stream = await _connect(parts.hostname or "", parts.port, parts.scheme == "wss", context)
        try:
            connection = await trio_websocket.wrap_client_stream(
                reader,  # type: ignore[arg-type]  # it uses `start_soon` alone
                stream,
                parts.netloc.rpartition("@")[2],
                (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
                message_queue_size=16,
                max_message_size=PREFIX + MAX_HEADER + MAX_BODY,
            )
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return WebSocketLink(connection, stream)
    raise LinkClosed(reader.why or f"no answer within {CONNECT_SECONDS:.0f} s")


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


class _Reader:
    """Stands where the library wants a nursery for its reading task.

    That task raises what a hostile server provokes (h11 and wsproto errors), and when it ends before the connection is
    open the library waits on: both would otherwise reach the daemon.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.opening = trio.CancelScope()
        self.reading = trio.CancelScope(shield=True)  # a goodbye of a cancelled owner still needs the answer read
        self.why: str | None = None

    def start_soon(self, task: Callable[[], Awaitable[None]]) -> None:
        self._nursery.start_soon(self._run, task)

    async def _run(self, task: Callable[[], Awaitable[None]]) -> None:
        try:
            with self.reading:
                await task()
            self.why = "the server closed before it answered"
        except trio_websocket.ConnectionRejected as error:
            self.why = f"the server answered {error.status_code}"
        except Exception as error:  # noqa: BLE001 - whatever it is, this connection is over and nothing else
            self.why = f"not a WebSocket server: {type(error).__name__}"
        self.opening.cancel()  # without effect once the connection is open
