"""The broker's mailboxes against a model: accepted, repeated, sent to many, acknowledged, expired, refused for want of
room; and nothing of it changes when the broker is closed, killed, or loses its power."""

import random
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mesh_broker.store.interface import Accepted, ChainEnd, Growth, Mail, MailKey, Promise, Quota
from mesh_broker.store.schema import APPLICATION_ID, MIGRATIONS
from mesh_broker.store.sqlite import SqliteStore
from mesh_protocol.ids import DeviceId, MemberId, MeshId, MsgId
from mesh_protocol.io.sqlite import Database, InlineWorker
from powercut.broker import Open
from world.dose import dose
from world.power import PowerDisk

MESH = MeshId(b"m" * 32)
DEVICES = [DeviceId(bytes([n]) * 32) for n in (1, 2, 3)]
BOXES = (1, 2, 3)
QUOTA = Quota(rows=6, bytes=600, member_rows=4, member_bytes=400)
DEDUPE_MS = 5_000

SIZES = st.sampled_from((1, 50, 90, 300))


@dataclass
class Row:
    """An envelope that lies in a mailbox."""

    lane: int
    sender: int
    expires_ms: int
    envelope: bytes


@dataclass
class BoxModel:
    next_mseq: int = 1
    rows: dict[int, Row] = field(default_factory=dict)

    def has_room(self, sender: int, size: int) -> bool:
        mine = [row for row in self.rows.values() if row.sender == sender]
        return (
            len(self.rows) < QUOTA.rows
            and sum(len(row.envelope) for row in self.rows.values()) + size <= QUOTA.bytes
            and len(mine) < QUOTA.member_rows
            and sum(len(row.envelope) for row in mine) + size <= QUOTA.member_bytes
        )

    def drop(self, mseqs: set[int]) -> int:
        gone = [mseq for mseq in self.rows if mseq in mseqs]
        for mseq in gone:
            del self.rows[mseq]
        return len(gone)


@dataclass
class Model:
    """What the broker has promised."""

    boxes: dict[int, BoxModel] = field(default_factory=lambda: {box: BoxModel() for box in BOXES})
    known: dict[MailKey, Accepted] = field(default_factory=dict)
    accepted: int = 0

    def accept(self, mail: Mail, envelope: bytes, now: int) -> Accepted | str:
        if mail.key in self.known:
            return self.known[mail.key]
        box = self.boxes[mail.key.box]
        if not box.has_room(mail.key.sender, len(envelope)):
            return "mailbox_full"
        self.accepted += 1
        answer = self.known[mail.key] = Accepted(self.accepted, now)
        box.rows[box.next_mseq] = Row(mail.lane, mail.key.sender, mail.expires_ms, envelope)
        box.next_mseq += 1
        return answer

    def expire(self, now: int) -> int:
        gone = 0
        for box in self.boxes.values():
            gone += box.drop({mseq for mseq, row in box.rows.items() if row.expires_ms <= now})
        self.known = {key: answer for key, answer in self.known.items() if answer.at_ms >= now - DEDUPE_MS}
        return gone


class MailboxMachine(RuleBasedStateMachine):
    """Small mailboxes, so that each bound is met."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="mailbox-"))
        self.model = Model()
        self.now = 1_000_000
        self.sent: list[Mail] = []
        self.count = 0

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.disk = PowerDisk(random.Random(seed))
        self._open()
        end = ChainEnd(1, b"1", 1, b"1")
        growth = Growth(1, [b"record"], 1, [(b"marker", b"head")], end, DEVICES)
        assert done(self.store.create(MESH, growth, DEVICES[0], None, self.now)) is True
        assert [self.store.box(MESH, device) for device in DEVICES] == [*BOXES]

    def _open(self) -> None:
        self.database = Database(
            self.folder / "broker.db",
            application_id=APPLICATION_ID,
            migrations=MIGRATIONS,
            worker=InlineWorker(),
            vfs=self.disk.name,
        )
        self.store = SqliteStore(self.database)

    def _mail(self, boxes: list[int], lane: int, size: int, lives_ms: int, attempt: int = 0) -> Mail:
        self.count += 1
        key = MailKey(boxes[0], boxes[1], MsgId(self.count.to_bytes(16, "big")), attempt)
        return Mail(key, MemberId(bytes([boxes[0]]) * 16), lane, self.now + lives_ms, self.count.to_bytes(size, "big"))

    # Sending.

    @rule(boxes=st.permutations(BOXES), lane=st.integers(0, 2), size=SIZES, lives_ms=st.integers(1, 3000))
    def accept(self, boxes: list[int], lane: int, size: int, lives_ms: int) -> None:
        mail = self._mail(boxes, lane, size, lives_ms)
        self.sent.append(mail)
        self._accept(mail)

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), attempt=st.booleans())
    def repeat(self, data: st.DataObject, attempt: bool) -> None:
        mail = data.draw(st.sampled_from(self.sent))
        if attempt:
            mail = mail._replace(key=mail.key._replace(attempt=mail.key.attempt + 1))
        self._accept(mail)

    def _accept(self, mail: Mail) -> None:
        promise = self.store.accept(MESH, mail, QUOTA, self.now)
        expected = self.model.accept(mail, mail.envelope, self.now)
        assert (promise.result if promise.succeeded else refusal(promise)) == expected

    @rule(
        boxes=st.permutations(BOXES),
        to=st.integers(1, 2),
        tail=SIZES,
        lives_ms=st.integers(1, 3000),
        again=st.booleans(),
    )
    def accept_many(self, boxes: list[int], to: int, tail: int, lives_ms: int, again: bool) -> None:
        mails = [self._mail([boxes[0], box], 1, 20, lives_ms) for box in boxes[1 : 1 + to]]
        shared = bytes([self.count % 256]) * tail
        for _ in range(1 + again):
            promise = self.store.accept_many(MESH, mails, shared, QUOTA, self.now, [Open() for _ in mails])
            expected = [self.model.accept(mail, mail.envelope + shared, self.now) for mail in mails]
            assert done(promise) == expected

    # Receiving.

    @rule(box=st.sampled_from(BOXES), ahead=st.integers(0, 5))
    def acknowledge(self, box: int, ahead: int) -> None:
        model = self.model.boxes[box]
        acked = min(model.rows, default=model.next_mseq) - 1 + ahead
        gone = model.drop({*range(acked + 1)})
        assert done(self.store.acknowledge(box, acked, [])) == gone

    @rule(box=st.sampled_from(BOXES), ranges=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3)), max_size=3))
    def acknowledge_ranges(self, box: int, ranges: list[tuple[int, int]]) -> None:
        sacks = [(low, low + more) for low, more in ranges]
        gone = self.model.boxes[box].drop({mseq for low, high in sacks for mseq in range(low, high + 1)})
        assert done(self.store.acknowledge(box, 0, sacks)) == gone

    @rule(ms=st.integers(1, 4000))
    def expire(self, ms: int) -> None:
        self.now += ms
        assert done(self.store.expire(self.now, self.now - DEDUPE_MS, 500)) == self.model.expire(self.now)

    # The broker's deaths.

    @rule(how=st.sampled_from(("close", "kill", "cut")))
    def restart(self, how: str) -> None:
        if how == "kill":
            self.disk.kill()
        elif how == "cut":
            self.disk.cut()
        self.database.close()
        self.disk.restore()
        self._open()

    @rule(boxes=st.permutations(BOXES), size=SIZES, after=st.integers(1, 12))
    def accept_as_the_power_goes(self, boxes: list[int], size: int, after: int) -> None:
        mail = self._mail(boxes, 0, size, 3000)
        self.disk.cut(after=after)
        promised = self.store.accept(MESH, mail, QUOTA, self.now).succeeded
        self.disk.cut()
        self.database.close()
        self.disk.restore()
        self._open()
        there = self.store.accepted(mail.key) is not None
        assert there or not promised, "what was promised is gone"
        if there:
            assert self.model.accept(mail, mail.envelope, self.now) == self.store.accepted(mail.key)

    # What holds at any time.

    @invariant()
    def mailboxes_are_as_promised(self) -> None:
        for box, model in self.model.boxes.items():
            found = self.store.mailbox(box)
            size = sum(len(row.envelope) for row in model.rows.values())
            floor = min(model.rows, default=model.next_mseq)
            assert found == (model.next_mseq, floor, len(model.rows), size, 0)
            for lane in range(3):
                waiting = self.store.waiting(box, lane, 0, 100)
                expected = [
                    (mseq, len(row.envelope), row.expires_ms, row.sender)
                    for mseq, row in sorted(model.rows.items())
                    if row.lane == lane
                ]
                assert waiting == expected
            for mseq, row in model.rows.items():
                assert self.store.envelope(box, mseq) == row.envelope
            assert self.store.envelope(box, model.next_mseq) is None

    @invariant()
    def accepted_is_remembered(self) -> None:
        for key, answer in self.model.known.items():
            assert self.store.accepted(key) == answer
        for mail in self.sent:
            assert (self.store.accepted(mail.key) is not None) == (mail.key in self.model.known)

    @invariant()
    def nothing_is_left_of_what_is_gone(self) -> None:
        used = self.database.reader.execute("SELECT count(DISTINCT shared) FROM mail WHERE shared IS NOT NULL").get
        assert self.database.reader.execute("SELECT count(*) FROM shared").get == used
        shares = self.database.reader.execute("SELECT count(*) FROM share").get
        assert shares == len({(box, row.sender) for box, m in self.model.boxes.items() for row in m.rows.values()})

    def teardown(self) -> None:
        if hasattr(self, "database"):
            assert self.database.reader.pragma("integrity_check") == "ok"
            self.database.close()
            self.disk.close()
        shutil.rmtree(self.folder)


def done(promise: Promise[object]) -> object:
    assert promise.succeeded
    return promise.result


def refusal(promise: Promise[object]) -> str:
    """The code with which a write was refused."""
    error = promise._error  # type: ignore[attr-defined]  # of the real `Pending`
    return str(error.code)


TestMailboxMachine = MailboxMachine.TestCase
TestMailboxMachine.settings = dose(40, 30)
