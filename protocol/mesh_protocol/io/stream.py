"""Byte-stream links (Unix and TCP sockets) over trio."""

import trio

from mesh_protocol.io.link import LinkClosed

CHUNK = 64 * 1024


class StreamLink:
    """A link over any trio stream. A frame that was sent in part because of cancellation breaks the link for good."""

    whole = False

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._broken = False

    async def send(self, frame: bytes) -> None:
        if self._broken:
            raise LinkClosed("a frame was cut off")
        self._broken = True  # until it is out whole: a cancelled send_all leaves half a frame behind
        try:
            await self._stream.send_all(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise LinkClosed("closed") from None
        self._broken = False

    async def receive(self) -> bytes:
        try:
            data = await self._stream.receive_some(CHUNK)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise LinkClosed("closed") from None
        if not data:
            raise LinkClosed("the other side closed")
        return bytes(data)

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)
