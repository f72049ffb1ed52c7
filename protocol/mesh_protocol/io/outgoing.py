"""The frames that wait for one link: in order, each whole or not at all, bounded in bytes."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from mesh_protocol.io.link import BatchLink, Link

WINDOW: Final = 64 * 1024
"""Bytes that may wait before a sender does. A larger frame is taken when nothing waits."""


class Outgoing:
    """A queue that one task pumps and many fill."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._turn = trio.StrictFIFOLock()
        self._changed = trio.lowlevel.ParkingLot()
        self._ended = False
        self._closed = False

    @property
    def waiting(self) -> int:
        """Bytes that wait, those in the link's hands included."""
        return self._bytes

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits, first come first served, until there is room or the queue is closed: inside, `put` one frame."""
        async with self._turn:
            while self._bytes >= WINDOW and not self._closed:
                await self._changed.park()
            yield

    def put_now(self, frame: bytes) -> bool:
        """Append a frame if nobody would have to wait before it."""
        if self._bytes >= WINDOW or self._turn.locked():
            return False
        self.put(frame)
        return True

    def put(self, frame: bytes) -> None:
        """Append a frame."""
        self._frames.append(frame)
        self._bytes += len(frame)
        self._changed.unpark_all()

    def close(self) -> None:
        """Wake all who wait for room, and end `pump` when what is queued is out."""
        self._closed = True
        self._changed.unpark_all()

    async def flushed(self) -> None:
        """Wait until everything queued is in the link's hands. Returns at once when `pump` has ended."""
        while self._bytes and not self._ended:
            await self._changed.park()

    async def pump(self, link: Link) -> None:
        """Send frames until the queue is closed and empty. Raises `LinkClosed`."""
        batches = link if isinstance(link, BatchLink) else None
        try:
            while True:
                while self._frames:
                    # One system call for many frames, where the link can: it is dearer than all else about them.
                    if len(self._frames) == 1 or (batches is None and link.whole):
                        frame = self._frames.popleft()
                        sent = len(frame)
                        await link.send(frame)
                    else:
                        frames = list(self._frames)
                        self._frames.clear()
                        sent = sum(map(len, frames))
                        await (link.send(b"".join(frames)) if batches is None else batches.send_many(frames))
                    self._bytes -= sent
                    self._changed.unpark_all()
                if self._closed:
                    return
                await self._changed.park()
        finally:
            self._ended = True
            self._changed.unpark_all()
