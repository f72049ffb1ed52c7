"""The live lane: a frame goes now to who listens now. Nothing of it is kept, and a slow listener misses frames."""

from collections.abc import Callable
from typing import Final

from mesh_broker.chain import DONE
from mesh_broker.client import Session
from mesh_broker.limits import Buckets, Limits
from mesh_broker.metrics import Metrics
from mesh_broker.outbound import notification
from mesh_protocol.broker_api import LIVE, LivePublish, LivePush, LiveSubscribe
from mesh_protocol.ids import DeviceId, MeshId
from mesh_protocol.io.connection import Reply
from mesh_protocol.wire.errors import MeshError

MAX_LIVE_FRAME: Final = 4 * 1024


class LiveLane:
    """The live operations of one broker."""

    def __init__(self, limits: Limits, metrics: Metrics, now: Callable[[], float]) -> None:
        self._metrics = metrics
        self._rate: Buckets[tuple[MeshId, DeviceId]] = Buckets(limits.live_rate, limits.live_burst, now)

    async def subscribe(self, session: Session, request: LiveSubscribe, body: bytes) -> Reply:
        session.room.subscribe(session, frozenset(request.channels))
        return DONE

    async def publish(self, session: Session, request: LivePublish, body: bytes) -> Reply:
        self.fan_out(session, request, body)
        return DONE

    def fan_out(self, session: Session, request: LivePublish, body: bytes) -> None:
        """Hand a frame to the other listeners, encoded once, waiting for none of them."""
        room = session.room
        wait = self._rate.take((room.mesh, session.device))
        if wait:
            raise MeshError("rate_limited", retry_after=round(wait, 3))
        self._metrics.count("live_published_total")
        listeners = room.channels.get(request.channel)
        if not listeners:
            return
        frame = notification(LIVE, LivePush(mesh=room.mesh, channel=request.channel), body)
        for listener in listeners:
            if listener is not session:
                listener.client.outbound.live(frame)
