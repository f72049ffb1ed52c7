"""The invite mailbox: requests to join wait here until a signer's daemon answers them."""

from collections.abc import Callable, Sequence
from typing import Final

from mesh_broker.chain import DONE
from mesh_broker.client import Session
from mesh_broker.limits import DAY_MS, Buckets, Limits
from mesh_broker.metrics import Metrics
from mesh_broker.outbound import notification
from mesh_broker.store.interface import Store
from mesh_protocol.broker_api import (
    JOIN_DENIED,
    JOIN_GONE,
    JOIN_REQUEST,
    JoinAnswer,
    JoinAsk,
    JoinDeniedPush,
    JoinDrop,
    JoinGonePush,
    JoinList,
    JoinListAnswer,
    JoinPush,
)
from mesh_protocol.invite import open_join_request
from mesh_protocol.io.connection import Reply
from mesh_protocol.op import write_answer
from mesh_protocol.pae import CryptoError, lst
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.framing import MAX_BODY

MAX_JOIN: Final = 32 * 1024
GRACE_DAYS: Final = 30
"""A request may wait this long after its invite expired: whether it came in time is the admitting signer's to judge."""


class Joins:
    """The joining operations of one broker."""

    def __init__(
        self,
        store: Store,
        limits: Limits,
        metrics: Metrics,
        clock: Callable[[], int],
        now: Callable[[], float],
        require_room: Callable[[], None],
    ) -> None:
        self._store = store
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._require_room = require_room
        self._rate: Buckets[str] = Buckets(limits.join_rate, limits.join_burst, now)

    async def ask(self, session: Session, request: JoinAsk, body: bytes) -> Reply:
        room = session.room
        if session.invite is None or request.invite != session.invite:
            raise MeshError("not_allowed", why="say hello with the key of this invite first")
        invite = room.state.invites[session.invite]
        if not invite.open:
            raise MeshError("not_allowed", why="this invite is used up or closed")
        peer = session.client.peer
        wait = 0.0 if peer.loopback else self._rate.take(peer.address)
        if wait:
            raise MeshError("rate_limited", retry_after=round(wait, 3))
        self._require_room()
        try:
            asked = open_join_request(body, invite.pub)
        except CryptoError as error:
            raise MeshError("bad_envelope", why=str(error)) from None
        if asked.mesh_id != room.mesh or asked.invite_id != session.invite:
            raise MeshError("bad_envelope", why="the request is for another mesh or invite")
        expires = invite.expires_ms + GRACE_DAYS * DAY_MS
        promise = self._store.ask(room.mesh, session.invite, asked.device, body, expires, self._limits.join_waiting)
        number = await promise.wait()
        session.asked = asked.device
        self._metrics.count("joins_total")
        signers = self._signers(session)
        frame = notification(JOIN_REQUEST, JoinPush(mesh=room.mesh, id=number), body)
        for signer in signers:
            signer.client.outbound.must(frame)
        return Reply(write_answer(JoinAnswer(id=number, signers_online=len(signers))))

    async def list(self, session: Session, request: JoinList, body: bytes) -> Reply:
        session.require_signer()
        joins = self._store.joins(session.room.mesh, MAX_BODY - 64 * 1024)
        answer = JoinListAnswer(ids=[join.id for join in joins])
        return Reply(write_answer(answer), lst(*(join.data for join in joins)))

    async def drop(self, session: Session, request: JoinDrop, body: bytes) -> Reply:
        session.require_signer()
        room = session.room
        if request.denied:
            denied = await self._store.deny_join(room.mesh, request.id).wait()
            told = notification(JOIN_DENIED, JoinDeniedPush(mesh=room.mesh))
            for guest in [each for each in room.invited if denied is not None and each.asked == denied]:
                guest.client.outbound.must(told)
        else:
            await self._store.drop_join(room.mesh, request.id).wait()
        gone = notification(JOIN_GONE, JoinGonePush(mesh=room.mesh, id=request.id))
        for other in self._signers(session):
            if other is not session:
                other.client.outbound.must(gone)
        return DONE

    def _signers(self, session: Session) -> Sequence[Session]:
        room = session.room
        return [room.sessions[device] for device in room.state.signers if device in room.sessions]
