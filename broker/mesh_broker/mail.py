"""Accepting envelopes and keeping them until the recipient's device has them.

The checks of a send run in this order, the cheap before the dear, and all but the last two before its first await, so
that envelopes of one connection get their numbers in the order of their arrival: shape and rights, repeats, rate,
membership, then one transaction with quota, dedupe row, envelope and number.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from mesh_broker.acks import AckQueue
from mesh_broker.chain import DONE
from mesh_broker.client import Session
from mesh_broker.limits import DAY_MS, Limits
from mesh_broker.metrics import Metrics
from mesh_broker.rates import MailRates
from mesh_broker.rooms import Room
from mesh_broker.store.interface import Accepted, Mail, MailKey, Promise, Quota, Store
from mesh_broker.stream import MailStream
from mesh_protocol.broker_api import AcceptAnswer, MailAck, MailResume, MailSend, ResumeAnswer, Stats, StatsAnswer
from mesh_protocol.envelope import MAX_ENVELOPE, Lane, Outer, parse_outer
from mesh_protocol.io.connection import Reply
from mesh_protocol.op import write_answer
from mesh_protocol.pae import BadEncoding
from mesh_protocol.wire.errors import MeshError

RETRY_SECONDS: Final = 0.25
LANES: Final = {Lane.NOW.value: 0, Lane.NEXT.value: 1, Lane.LOW.value: 2}


class Mailboxes:
    """The mail operations of one broker. `clock` gives epoch milliseconds that do not jump."""

    def __init__(
        self,
        store: Store,
        limits: Limits,
        metrics: Metrics,
        rates: MailRates,
        clock: Callable[[], int],
        require_room: Callable[[], None],
    ) -> None:
        self._store = store
        self._limits = limits
        self._metrics = metrics
        self._rates = rates
        self._clock = clock
        self._require_room = require_room
        self._quota = Quota(
            limits.mailbox_rows,
            limits.mailbox_bytes,
            int(limits.mailbox_rows * limits.member_share),
            int(limits.mailbox_bytes * limits.member_share),
        )
        self._accepting: dict[MailKey, Promise[Accepted]] = {}
        self._accepting_bytes = 0

    # Sending.

    def send(self, session: Session, request: MailSend, body: bytes) -> Awaitable[Reply]:
        try:
            return self._reply(self._take(session, body))
        except MeshError:
            self._metrics.count("mail_refused_total")
            raise

    def _take(self, session: Session, body: bytes) -> Promise[Accepted] | Accepted:
        outer = _outer(session, body)
        room = session.room
        box = room.box(outer.to_device)
        if box is None:
            raise MeshError("unknown_device")
        key = MailKey(session.box, box, outer.msg_id, outer.attempt)
        repeated = self._accepting.get(key) or self._store.accepted(key)
        if repeated is not None:
            self._metrics.count("mail_repeated_total")
            return repeated
        member = room.state.member_of(session.device)
        assert member is not None
        wait = self._rates.charge((room.mesh, member.member_id), key)
        if wait:
            raise MeshError("rate_limited", retry_after=round(wait, 3))
        if not room.state.is_active(outer.to_device):
            raise MeshError("unknown_device")
        self._require_room()
        if self._accepting_bytes > self._limits.accepting_bytes:
            raise MeshError("rate_limited", retry_after=RETRY_SECONDS)
        now = self._clock()
        if outer.expires_ms <= now:
            raise MeshError("bad_envelope", why="the message has expired")
        expires = min(outer.expires_ms, now + self._limits.mail_days * DAY_MS)
        mail = Mail(key, member.member_id, LANES[outer.lane], expires, body)
        promise = self._accepting[key] = self._store.accept(room.mesh, mail, self._quota, now)
        self._accepting_bytes += len(body)
        promise.settled(lambda: self._settled(room, outer, promise, mail))
        return promise

    def _settled(self, room: Room, outer: Outer, promise: Promise[Accepted], mail: Mail) -> None:
        del self._accepting[mail.key]
        self._accepting_bytes -= len(mail.envelope)
        if not promise.succeeded:
            self._metrics.count("mail_refused_total")
            return
        self._metrics.count("mail_accepted_total")
        recipient = room.sessions.get(outer.to_device)
        if recipient is not None and recipient.stream is not None:
            recipient.stream.wake()

    async def _reply(self, outcome: Promise[Accepted] | Accepted) -> Reply:
        accepted = outcome if isinstance(outcome, Accepted) else await outcome.wait()
        return Reply(write_answer(AcceptAnswer(accept_seq=accepted.seq, accepted_ms=accepted.at_ms)))

    # Receiving.

    def resume(self, session: Session, request: MailResume, body: bytes) -> Awaitable[Reply]:
        sacks = _ranges(request.sacks)
        box = self._store.mailbox(session.box, request.acked)
        if request.acked < box.next_mseq:  # else this broker was restored, and the numbers mean other envelopes
            self._store.acknowledge(session.box, request.acked, sacks)
        if session.stream is not None:
            session.stream.stop()
        session.stream = MailStream(
            session, self._store, self._limits, self._metrics, self._rates, self._clock, request.acked, sacks
        )
        answer = ResumeAnswer(next_mseq=box.next_mseq, floor=box.floor)
        return self._resumed(session.stream, answer)

    async def _resumed(self, stream: MailStream, answer: ResumeAnswer) -> Reply:
        return Reply(write_answer(answer), sent=stream.start)

    def acknowledge(self, session: Session, request: MailAck, body: bytes) -> Awaitable[Reply]:
        sacks = _released(session, request)
        return self._done(self._store.acknowledge(session.box, request.acked, sacks))

    def acknowledged(self, session: Session, request: MailAck, body: bytes) -> None:
        """The same as a notification, durable a little later."""
        if session.acks is None:
            session.acks = AckQueue(self._store, session.box)
        session.acks.add(request.acked, _released(session, request))

    async def _done(self, promise: Promise[int]) -> Reply:
        await promise.wait()
        return DONE

    async def stats(self, session: Session, request: Stats, body: bytes) -> Reply:
        box = self._store.mailbox(session.box)
        online = len(session.room.sessions)
        return Reply(write_answer(StatsAnswer(mailbox_rows=box.rows, mailbox_bytes=box.bytes, devices_online=online)))


def _outer(session: Session, body: bytes) -> Outer:
    if len(body) > MAX_ENVELOPE:
        raise MeshError("too_large", what="an envelope", size=len(body), limit=MAX_ENVELOPE)
    try:
        outer = parse_outer(body)
    except BadEncoding as error:
        raise MeshError("bad_envelope", why=str(error)) from None
    if outer.mesh_id != session.room.mesh or outer.from_device != session.device:
        raise MeshError("not_allowed", why="the envelope is not from this device in this mesh")
    return outer


def _released(session: Session, request: MailAck) -> list[tuple[int, int]]:
    """Give the stream's window back; the ranges, checked."""
    sacks = _ranges(request.sacks)
    if session.stream is not None:
        session.stream.release(request.acked, sacks)
    return sacks


def _ranges(sacks: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    for low, high in sacks:
        if low > high:
            raise MeshError("bad_request", what="sacks: a range must not end before it begins")
    return [(low, high) for low, high in sacks]
