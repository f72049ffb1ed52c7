"""The mailboxes: envelopes lie there until the recipient's device has them. How they get there is in `accepting`."""

from collections.abc import Awaitable, Callable, Sequence

from mesh_broker.acks import AckQueue
from mesh_broker.chain import DONE
from mesh_broker.client import Session
from mesh_broker.limits import Limits
from mesh_broker.metrics import Metrics
from mesh_broker.rates import MailRates
from mesh_broker.store.interface import Promise, Store
from mesh_broker.stream import MailStream
from mesh_protocol.broker_api import MailAck, MailResume, ResumeAnswer, Stats, StatsAnswer
from mesh_protocol.crashpoints import Reached
from mesh_protocol.io.connection import Reply
from mesh_protocol.op import write_answer
from mesh_protocol.wire.errors import MeshError


class Mailboxes:
    """Handing over and acknowledging, for one broker. `clock` gives epoch milliseconds that do not jump."""

    def __init__(
        self,
        store: Store,
        limits: Limits,
        metrics: Metrics,
        rates: MailRates,
        clock: Callable[[], int],
        reached: Reached,
    ) -> None:
        self._reached = reached
        self._store = store
        self._limits = limits
        self._metrics = metrics
        self._rates = rates
        self._clock = clock

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
        self._reached("FP-14")
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
