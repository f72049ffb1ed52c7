"""A TCP proxy that keeps every byte between daemons and their broker, and takes the WebSocket's masks off again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Recorder:
    """`upward` and `downward` hold one list of bytes a connection."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self.upward: list[bytearray] = []
        self.downward: list[bytearray] = []

    async def _serve(self, client: trio.SocketStream) -> None:
        up, down = bytearray(), bytearray()
        self.upward.append(up)
        self.downward.append(down)
        async with (
            client,
            await trio.open_tcp_stream("127.0.0.1", self._target) as broker,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_pump, client, broker, up, nursery.cancel_scope)
            nursery.start_soon(_pump, broker, client, down, nursery.cancel_scope)

    def words(self) -> bytes:
        """What was said both ways, the payloads of the daemons' messages unmasked (RFC 6455 5.3)."""
        return b"\n".join([*(bytes(each) for each in self.downward), *(unmasked(bytes(each)) for each in self.upward)])


async def _pump(source: trio.SocketStream, sink: trio.SocketStream, kept: bytearray, scope: trio.CancelScope) -> None:
    try:
        while data := await source.receive_some(65536):
            kept += data
            await sink.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()


@asynccontextmanager
async def recording(port: int, target: int) -> AsyncIterator[Recorder]:
    """A proxy on `port` of this machine for what goes to `target`, while the context lives."""
    recorder = Recorder(port, target)
    async with trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: trio.serve_tcp(recorder._serve, port, host="127.0.0.1", task_status=task_status)
        )
        yield recorder
        nursery.cancel_scope.cancel()


def unmasked(stream: bytes) -> bytes:
    """The head of the handshake, then every frame's payload as it was before masking. A cut-off last frame is left out."""
    head, blank, rest = stream.partition(b"\r\n\r\n")
    payloads = [head]
    place = 0
    while blank and place + 2 <= len(rest):
        size, place = rest[place + 1] & 0x7F, place + 2
        for marker, width in ((126, 2), (127, 8)):
            if size == marker:
                size, place = int.from_bytes(rest[place : place + width], "big"), place + width
                break
        mask, place = rest[place : place + 4], place + 4
        payload, place = rest[place : place + size], place + size
        if len(payload) < size:
            break
        pad = (mask * (size // 4 + 1))[:size]
        payloads.append((int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big"))
    return b"\n".join(payloads)
