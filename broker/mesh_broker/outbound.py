"""What the broker says to a connection unasked, without ever waiting for it.

Three kinds, by what may be lost: the newest tip of each mesh replaces an older one; a join request must arrive, or the
connection is too slow to be kept; live frames are shed, the oldest first. Mail is not here: it has its own stream.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from mesh_broker.link import BrokerLink
from mesh_broker.metrics import Metrics
from mesh_protocol.ids import MeshId
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.op import Answer, write_answer
from mesh_protocol.wire.codec import encode
from mesh_protocol.wire.framing import encode_frame

LIVE_FRAMES: Final = 64
LIVE_BYTES: Final = 128 * 1024
MUST_FRAMES: Final = 64


def notification(method: str, params: Answer, body: bytes = b"") -> bytes:
    """A notification's frame, encoded once for all who get it."""
    return encode_frame(encode([2, method, write_answer(params)]), body)


class Outbound:
    """The queue of one connection. `spawn` starts a task that lives as long as the connection."""

    def __init__(
        self,
        link: BrokerLink,
        spawn: Callable[[Callable[[], Awaitable[None]]], None],
        too_slow: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        self._link = link
        self._spawn = spawn
        self._too_slow = too_slow
        self._metrics = metrics
        self._tips: dict[MeshId, bytes] = {}
        self._must: list[bytes] = []  # short lists: an empty deque takes 700 bytes
        self._live: list[bytes] = []
        self._live_bytes = 0
        self._flushing = False

    def tip(self, mesh: MeshId, frame: bytes) -> None:
        """Send the newest tip of a mesh; it replaces one that still waits."""
        if not self._send_now(frame):
            self._tips[mesh] = frame
            self._flush_soon()

    def must(self, frame: bytes) -> None:
        """Send a frame that may not be lost while the connection lives."""
        if self._send_now(frame):
            return
        if len(self._must) >= MUST_FRAMES:
            self._too_slow()
            return
        self._must.append(frame)
        self._flush_soon()

    def live(self, frame: bytes) -> None:
        """Send a live frame now, or soon, or never."""
        if self._send_now(frame):
            self._metrics.count("live_delivered_total")
            return
        self._live.append(frame)
        self._live_bytes += len(frame)
        while len(self._live) > LIVE_FRAMES or self._live_bytes > LIVE_BYTES:
            self._live_bytes -= len(self._live.pop(0))
            self._metrics.count("live_shed_total")
        self._flush_soon()

    def _send_now(self, frame: bytes) -> bool:
        if self._flushing or not self._link.send_now(frame):
            return False  # what waits goes first
        if self._link.unsent:
            self._flush_soon()
        return True

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._spawn(self._flush)

    async def _flush(self) -> None:
        try:
            await self._link.flush()
            while True:
                if self._tips:
                    frame = self._tips.pop(next(iter(self._tips)))
                elif self._must:
                    frame = self._must.pop(0)
                elif self._live:
                    frame = self._live.pop(0)
                    self._live_bytes -= len(frame)
                    self._metrics.count("live_delivered_total")
                else:
                    return
                await self._link.send(frame)  # not the connection's queue: what waits must wait where it can be shed
        except LinkClosed:
            return
        finally:
            self._flushing = False
