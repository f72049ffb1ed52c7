"""The daemon's side of a WebSocket: one binary message is one frame."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio_websocket

from mesh_protocol.io.link import LinkClosed
from mesh_protocol.wire.framing import MAX_BODY, MAX_HEADER, PREFIX

CONNECT_SECONDS = 10.0


class WebSocketLink:
    """A link over a trio-websocket connection."""

    whole = True

    def __init__(self, connection: trio_websocket.WebSocketConnection) -> None:
        self._connection = connection

    async def send(self, frame: bytes) -> None:
        try:
            await self._connection.send_message(frame)
        except trio_websocket.ConnectionClosed as error:
            raise LinkClosed(_why(error)) from None

    async def receive(self) -> bytes:
        try:
            message = await self._connection.get_message()
        except trio_websocket.ConnectionClosed as error:
            raise LinkClosed(_why(error)) from None
        if isinstance(message, str):
            raise LinkClosed("a text message where frames are binary")
        return bytes(message)

    async def aclose(self) -> None:
        with trio.move_on_after(1):
            await self._connection.aclose()


def _why(error: trio_websocket.ConnectionClosed) -> str:
    reason = error.reason
    return f"closed with {reason.code}" if reason is not None else "connection lost"


@asynccontextmanager
async def open_websocket(url: str, context: ssl.SSLContext | None) -> AsyncIterator[WebSocketLink]:
    """Connect to `ws://` or `wss://`. Raises `LinkClosed` when no connection comes about."""
    try:
        async with trio.open_nursery() as nursery:
            with trio.fail_after(CONNECT_SECONDS):
                connection = await trio_websocket.connect_websocket_url(
                    nursery,
                    url,
                    ssl_context=context,
                    message_queue_size=16,
                    max_message_size=PREFIX + MAX_HEADER + MAX_BODY,
                )
            try:
                yield WebSocketLink(connection)
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                    await connection.aclose()
                nursery.cancel_scope.cancel()
    except* (OSError, trio.TooSlowError, trio_websocket.HandshakeError, ssl.SSLError) as group:
        raise LinkClosed(f"no connection: {type(_first(group)).__name__}") from None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
