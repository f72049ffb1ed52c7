"""Accepting envelopes: one for one device, or one message for many.

The checks run in this order, the cheap before the dear, and all but the last two before the first await, so that
envelopes of one connection get their numbers in the order of their arrival: shape and rights, repeats, turn, rate,
membership, then one transaction with quota, dedupe row, envelope and number.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from mesh_broker.client import Session
from mesh_broker.limits import DAY_MS, Limits
from mesh_broker.metrics import Metrics
from mesh_broker.rates import MailRates
from mesh_broker.store.interface import Accepted, Mail, MailKey, Promise, Quota, Store
from mesh_broker.turns import FOR_NOW, Turn, Turns, Way
from mesh_protocol.broker_api import AcceptAnswer, FanAnswer, MailFan, MailSend
from mesh_protocol.crashpoints import Reached
from mesh_protocol.envelope import MAX_ENVELOPE, Lane, Outer, parse_outer
from mesh_protocol.fan import Fan, Outcome, pack_outcomes, parse_fan, tail_of
from mesh_protocol.ids import DeviceId, MemberId
from mesh_protocol.io.connection import Reply
from mesh_protocol.op import write_answer
from mesh_protocol.pae import BadEncoding
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.framing import MAX_BODY

RETRY_SECONDS: Final = 0.25
LANES: Final = {Lane.NOW.value: 0, Lane.NEXT.value: 1, Lane.LOW.value: 2}


class Admitted(NamedTuple):
    """An envelope that may be stored."""

    key: MailKey
    member: MemberId
    lane: int
    expires_ms: int
    turn: Turn
    to: DeviceId

    @property
    def way(self) -> Way:
        return self.key.box, self.lane


class Single(NamedTuple):
    """One envelope that is being stored."""

    promise: Promise[Accepted]


class OneOf(NamedTuple):
    """One of the envelopes of a message to many that is being stored."""

    promise: Promise[list[Accepted | str]]
    number: int


Underway: TypeAlias = Single | OneOf


class Accepting:
    """The sends of one broker. `clock` gives epoch milliseconds that do not jump."""

    def __init__(
        self,
        store: Store,
        limits: Limits,
        metrics: Metrics,
        rates: MailRates,
        clock: Callable[[], int],
        require_room: Callable[[], None],
        reached: Reached,
    ) -> None:
        self._store = store
        self._limits = limits
        self._metrics = metrics
        self._rates = rates
        self._clock = clock
        self._require_room = require_room
        self._reached = reached
        self._quota = Quota(
            limits.mailbox_rows,
            limits.mailbox_bytes,
            int(limits.mailbox_rows * limits.member_share),
            int(limits.mailbox_bytes * limits.member_share),
        )
        self._underway: dict[MailKey, Underway] = {}
        self._bytes = 0

    # To one.

    def send(self, session: Session, request: MailSend, body: bytes) -> Awaitable[Reply]:
        try:
            return self._reply(self._take(session, body, request.again))
        except MeshError:
            self._metrics.count("mail_refused_total")
            raise

    def _take(self, session: Session, body: bytes, again: bool) -> Underway | Accepted:
        outer = _read_outer(session, body)
        found = self._admit(session, outer, outer.to_device, outer.attempt, again)
        if not isinstance(found, Admitted):
            return found
        self._reached("FP-07")
        mail = Mail(found.key, found.member, found.lane, found.expires_ms, body)
        promise = self._store.accept(session.room.mesh, mail, self._quota, self._clock(), found.turn)
        found.turn.promise = promise
        self._bytes += len(body)
        underway = self._underway[found.key] = Single(promise)
        promise.settled(partial(self._settled_one, session, found, promise, len(body)))
        return underway

    def _settled_one(self, session: Session, found: Admitted, promise: Promise[Accepted], size: int) -> None:
        self._bytes -= size
        self._finish(session, found, accepted=promise.succeeded)

    async def _reply(self, found: Underway | Accepted) -> Reply:
        outcome = await _outcome_of(found)
        if outcome.code:
            raise MeshError(outcome.code)
        return Reply(write_answer(AcceptAnswer(accept_seq=outcome.seq, accepted_ms=outcome.at_ms)))

    # To many.

    def fan(self, session: Session, request: MailFan, body: bytes) -> Awaitable[Reply]:
        try:
            fan = _read_fan(session, body)
        except MeshError:
            self._metrics.count("mail_refused_total")
            raise
        return self._reply_to_fan(self._take_fan(session, fan, request.again))

    def _take_fan(self, session: Session, fan: Fan, again: bool) -> list[Underway | Accepted | Outcome]:
        """Each recipient's answer, in the order of the wraps, as far as it is known."""
        tail = tail_of(fan.shared)
        outcomes: list[Underway | Accepted | Outcome] = []
        admitted: list[tuple[int, Admitted]] = []
        mails: list[Mail] = []
        for index, wrap in enumerate(fan.wraps):
            try:
                found = self._admit(session, fan, wrap.to_device, wrap.attempt, again)
            except MeshError as error:
                self._metrics.count("mail_refused_total")
                wait = error.data.get("retry_after")
                outcomes.append(Outcome(0, 0, error.code, float(wait) if isinstance(wait, int | float) else 0.0))
                continue
            if isinstance(found, Admitted):
                mails.append(Mail(found.key, found.member, found.lane, found.expires_ms, fan.head(wrap)))
                admitted.append((index, found))
                outcomes.append(Outcome(0, 0))
            else:
                outcomes.append(found)
        if not mails:
            return outcomes
        self._reached("FP-07")
        places = [found.turn for _, found in admitted]
        promise = self._store.accept_many(session.room.mesh, mails, tail, self._quota, self._clock(), places)
        size = len(tail) + sum(len(mail.envelope) for mail in mails)
        self._bytes += size
        for number, (index, found) in enumerate(admitted):
            found.turn.promise = promise
            outcomes[index] = self._underway[found.key] = OneOf(promise, number)
        promise.settled(partial(self._settled_fan, session, [found for _, found in admitted], promise, size))
        return outcomes

    def _settled_fan(
        self, session: Session, admitted: Sequence[Admitted], promise: Promise[list[Accepted | str]], size: int
    ) -> None:
        self._bytes -= size
        for number, found in enumerate(admitted):
            accepted = promise.succeeded and isinstance(promise.result[number], Accepted)
            self._finish(session, found, accepted=accepted)

    async def _reply_to_fan(self, outcomes: Sequence[Underway | Accepted | Outcome]) -> Reply:
        told = [each if isinstance(each, Outcome) else await _outcome_of(each) for each in outcomes]
        accepted = sum(not outcome.code for outcome in told)
        return Reply(write_answer(FanAnswer(accepted=accepted)), pack_outcomes(told))

    # Both.

    def _admit(
        self, session: Session, letter: Outer | Fan, to: DeviceId, attempt: int, again: bool
    ) -> Admitted | Underway | Accepted:
        """Whether an envelope may be stored, or what is known of it already. Raises `MeshError` when it is refused."""
        room = session.room
        box = room.box(to)
        if box is None:
            raise MeshError("unknown_device")
        key = MailKey(session.box, box, letter.msg_id, attempt)
        known = self._underway.get(key) or self._store.accepted(key)
        if known is not None:
            self._metrics.count("mail_repeated_total")
            return known
        lane = LANES[letter.lane]
        if session.turns is None:
            session.turns = Turns()
        turn = session.turns.take((box, lane), again)
        try:
            member = self._check(session, letter, key, to)
        except MeshError as error:
            if error.code in FOR_NOW:
                turn.refuse()
            session.turns.settled((box, lane), turn)
            raise
        expires = min(letter.expires_ms, self._clock() + self._limits.mail_days * DAY_MS)
        return Admitted(key, member, lane, expires, turn, to)

    def _check(self, session: Session, letter: Outer | Fan, key: MailKey, to: DeviceId) -> MemberId:
        state = session.room.state
        member = state.member_of(session.device)
        assert member is not None
        wait = self._rates.charge((session.room.mesh, member.member_id), key)
        if wait:
            raise MeshError("rate_limited", retry_after=round(wait, 3))
        if not state.is_active(to):
            raise MeshError("unknown_device")
        self._require_room()
        if self._bytes > self._limits.accepting_bytes:
            raise MeshError("rate_limited", retry_after=RETRY_SECONDS)
        if letter.expires_ms <= self._clock():
            raise MeshError("bad_envelope", why="the message has expired")
        return member.member_id

    def _finish(self, session: Session, found: Admitted, *, accepted: bool) -> None:
        """An envelope is stored, or is not."""
        del self._underway[found.key]
        assert session.turns is not None
        session.turns.settled(found.way, found.turn)
        if not accepted:
            self._metrics.count("mail_refused_total")
            return
        self._metrics.count("mail_accepted_total")
        self._reached("FP-09")
        recipient = session.room.sessions.get(found.to)
        if recipient is not None and recipient.stream is not None:
            recipient.stream.wake()


async def _outcome_of(found: Underway | Accepted) -> Outcome:
    match found:
        case Accepted():
            return Outcome(found.seq, found.at_ms)
        case Single(promise):
            try:
                return Outcome(*await promise.wait())
            except MeshError as error:
                return Outcome(0, 0, error.code)
        case OneOf(promises, number):
            try:
                answer = (await promises.wait())[number]
            except MeshError as error:
                return Outcome(0, 0, error.code)
            return Outcome(0, 0, answer) if isinstance(answer, str) else Outcome(*answer)


def _read_outer(session: Session, body: bytes) -> Outer:
    if len(body) > MAX_ENVELOPE:
        raise MeshError("too_large", what="an envelope", size=len(body), limit=MAX_ENVELOPE)
    try:
        outer = parse_outer(body)
    except BadEncoding as error:
        raise MeshError("bad_envelope", why=str(error)) from None
    _require_own(session, outer)
    return outer


def _read_fan(session: Session, body: bytes) -> Fan:
    if len(body) > MAX_BODY:
        raise MeshError("too_large", what="a message to many", size=len(body), limit=MAX_BODY)
    try:
        fan = parse_fan(body)
    except BadEncoding as error:
        raise MeshError("bad_envelope", why=str(error)) from None
    _require_own(session, fan)
    return fan


def _require_own(session: Session, letter: Outer | Fan) -> None:
    if letter.mesh_id != session.room.mesh or letter.from_device != session.device:
        raise MeshError("not_allowed", why="the envelope is not from this device in this mesh")
