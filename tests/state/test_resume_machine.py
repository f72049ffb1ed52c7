"""Handing over a mailbox against a model: what is pushed after each step, in which order and within which window, over
connections that end at any time and resume as a daemon does, or with numbers of their own.

The broker is the real one, reached through memory in virtual time; the acknowledgements are those of the daemon's tracker.
"""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from broker_kit.people import Device, envelope
from broker_kit.side import Side
from broker_kit.stand import open_memory_stand
from mesh_broker.limits import Limits
from mesh_protocol.broker_api import MAIL_ACK, AcceptAnswer, Done, MailAck, MailSend, Stats, StatsAnswer
from meshd.link.acks import AckTracker
from world.dose import dose
from world.guest import GuestRun

LANES = ("now", "next", "low")
WINDOW, WINDOW_BYTES = 4, 12_000
LIMITS = Limits(
    window_rows=WINDOW,
    window_bytes=WINDOW_BYTES,
    member_rate=5000,
    member_burst=100_000,
    call_burst=100_000,
    hello_burst=100_000,
)

Range = tuple[int, int]


@dataclass
class StreamModel:
    """What one connection has been handed since it resumed."""

    after: list[int]
    sacks: list[Range]
    open: dict[int, int] = field(default_factory=dict)
    """Handed over and not acknowledged, with sizes."""

    def pushes(self, mailbox: dict[int, tuple[int, bytes]]) -> list[int]:
        """The numbers that go out now: urgent lanes first, each lane in order, as long as the window has room."""
        found = []
        while (mseq := self._next(mailbox)) is not None:
            lane, body = mailbox[mseq]
            if self.open and (len(self.open) >= WINDOW or sum(self.open.values()) + len(body) > WINDOW_BYTES):
                break
            self.after[lane] = mseq
            self.open[mseq] = len(body)
            found.append(mseq)
        return found

    def _next(self, mailbox: dict[int, tuple[int, bytes]]) -> int | None:
        for lane in range(3):
            waiting = [
                mseq
                for mseq, (its, _) in mailbox.items()
                if its == lane and mseq > self.after[lane] and not within(mseq, self.sacks)
            ]
            if waiting:
                return min(waiting)
        return None


class ResumeMachine(RuleBasedStateMachine):
    """Ann sends to bob, whose connection comes and goes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="resume-"))
        self.run = GuestRun(1)
        self.stand = self.run.hold(open_memory_stand(self.folder, LIMITS))
        self.ann, self.bob = Device("ann"), Device("bob")
        self.mesh, self.sender = self.run.call(lambda: self.stand.create(self.ann))
        self.run.call(lambda: self.sender.append(self.mesh, self.mesh.add_member(self.bob)))
        self.side: Side | None = None
        self.stream = StreamModel([0, 0, 0], [])
        self.tracker = AckTracker()
        self.mailbox: dict[int, tuple[int, bytes]] = {}
        self.sent: dict[int, tuple[int, bytes]] = {}
        self.here: list[int] = []
        """Pushed over this connection and not committed."""
        self.committed: list[int] = []

    # The sender.

    @rule(lane=st.integers(0, 2), size=st.sampled_from((10, 10, 10, 4000)))
    def send(self, lane: int, size: int) -> None:
        mseq = len(self.sent) + 1
        body = envelope(self.mesh, self.ann, self.bob, mseq, lane=LANES[lane], text="x" * size)
        answer = self.run.call(lambda: self.sender.call(MailSend(mesh=self.mesh.id), AcceptAnswer, body))
        assert answer.accept_seq == mseq
        self.sent[mseq] = self.mailbox[mseq] = (lane, body)
        self._hear()

    # The recipient.

    @rule(generous=st.booleans(), data=st.data())
    def connect(self, generous: bool, data: st.DataObject) -> None:
        """Resume: as the daemon does (it asks for everything), or naming what is committed already."""
        self.disconnect()
        acked, sacks = (0, []) if not generous else self._named(data)
        self.run.call(lambda: self._connect(acked, sacks))
        self._delete(acked, sacks)
        self.stream = StreamModel([acked] * 3, sacks)
        self._hear()

    def _named(self, data: st.DataObject) -> tuple[int, list[Range]]:
        done = {*self.committed, *(set(self.sent) - set(self.mailbox))}
        contiguous = next(mseq for mseq in range(1, len(self.sent) + 2) if mseq not in done) - 1
        acked = data.draw(st.integers(0, contiguous))
        more = sorted(mseq for mseq in self.committed if mseq > acked)
        chosen = data.draw(st.lists(st.sampled_from(more), max_size=4, unique=True)) if more else []
        return acked, [(mseq, mseq) for mseq in sorted(chosen)]

    async def _connect(self, acked: int, sacks: list[Range]) -> None:
        self.side = await self.stand.enter(self.mesh, self.bob)
        answer = await self.side.resume(self.mesh, acked, [[*pair] for pair in sacks])
        assert answer.next_mseq == len(self.sent) + 1
        expected = min((mseq for mseq in self.mailbox if mseq > acked), default=answer.next_mseq)
        assert answer.floor == expected
        self.tracker = AckTracker()
        self.tracker.start_at(answer.floor - 1)

    @precondition(lambda self: self.side is not None)
    @rule()
    def disconnect(self) -> None:
        """What was handed over and not acknowledged belongs to nobody now."""
        side, self.side = self.side, None
        if side is not None:
            self.run.call(lambda: self._close(side))
        self.here = []

    async def _close(self, side: Side) -> None:
        await side.connection.aclose()
        await trio.sleep(0.01)

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        """Some of what is here, in any order; what is committed a second time was known and is acknowledged again."""
        for mseq in data.draw(st.lists(st.sampled_from(self.here), min_size=1, max_size=4, unique=True)):
            self.here.remove(mseq)
            if mseq not in self.committed:
                self.committed.append(mseq)
            self.tracker.add(mseq)

    @precondition(lambda self: self.side is not None and self.tracker.dirty)
    @rule(asks=st.booleans())
    def acknowledge(self, asks: bool) -> None:
        acked, ranges = self.tracker.take()
        self.run.call(lambda: self._acknowledge(acked, ranges, asks))
        sacks = [(low, high) for low, high in ranges]
        self._delete(acked, sacks)
        for mseq in [mseq for mseq in self.stream.open if mseq <= acked or within(mseq, sacks)]:
            del self.stream.open[mseq]
        self._hear()

    async def _acknowledge(self, acked: int, ranges: list[list[int]], asks: bool) -> None:
        assert self.side is not None
        request = MailAck(mesh=self.mesh.id, acked=acked, sacks=ranges)
        if asks:
            await self.side.call(request, Done)
        else:
            await self.side.connection.notify(MAIL_ACK, {"mesh": self.mesh.id, "acked": acked, "sacks": [*ranges]})

    # The model.

    def _delete(self, acked: int, sacks: list[Range]) -> None:
        self.mailbox = {mseq: row for mseq, row in self.mailbox.items() if mseq > acked and not within(mseq, sacks)}

    def _hear(self) -> None:
        """Everything that can happen happens; the pushes are those of the model."""
        if self.side is None:
            return
        expected = self.stream.pushes(self.mailbox)
        found = self.run.call(self._pushed)
        assert [mseq for mseq, _ in found] == expected
        assert [body for _, body in found] == [self.sent[mseq][1] for mseq in expected]
        self.here += expected

    async def _pushed(self) -> list[tuple[int, bytes]]:
        assert self.side is not None
        await trio.sleep(0.01)
        return await self.side.mail(self.side.waiting("mail"))

    def teardown(self) -> None:
        try:
            self._drain()
            self.run.close()
        finally:
            shutil.rmtree(self.folder)

    def _drain(self) -> None:
        """At last everything is handed over, committed and acknowledged, and the mailbox is empty."""
        self.disconnect()
        self.run.call(lambda: self._connect(0, []))
        self.stream = StreamModel([0, 0, 0], [])
        self._hear()
        for _ in range(len(self.sent) + 1):
            for mseq in self.here:
                self.committed += [mseq] if mseq not in self.committed else []
                self.tracker.add(mseq)
            self.here = []
            if self.tracker.dirty:
                self.acknowledge(True)
        assert sorted(self.committed) == sorted(self.sent)
        side = self.side
        assert side is not None
        assert self.run.call(lambda: side.call(Stats(mesh=self.mesh.id), StatsAnswer)).mailbox_rows == 0


def within(mseq: int, ranges: list[Range]) -> bool:
    return any(low <= mseq <= high for low, high in ranges)


TestResumeMachine = ResumeMachine.TestCase
TestResumeMachine.settings = dose(25, 25)
