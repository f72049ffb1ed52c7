"""The daemon's inbox as a load: what arrives, arrives again, is shown and read, and the receipts owed for it."""

import random
from dataclasses import dataclass, field

import apsw

from mesh_protocol.ids import DeviceId, MemberId, MeshId, MsgId
from mesh_protocol.io.sqlite import Database, Pending
from meshd.store import inbox as store
from meshd.store.inbox import InboxRow
from meshd.store.meshes import set_stream_got
from meshd.store.schema import APPLICATION_ID, MIGRATIONS
from powercut.rig import Lost

MESH = MeshId(bytes(32))
SENDERS = [DeviceId(bytes([n]) * 32) for n in range(1, 4)]
LIFETIME_MS = 4_000


@dataclass
class InboxLoad:
    """`arrived`: what came so far, acknowledged or not, by the pending commit that brought it."""

    application_id: int = APPLICATION_ID
    migrations: tuple[str, ...] = MIGRATIONS
    now_ms: int = 1_000_000
    streams: dict[DeviceId, int] = field(default_factory=dict)
    arrived: list[tuple[InboxRow, int, Pending[int]]] = field(default_factory=list)
    kept: set[tuple[DeviceId, MsgId]] = field(default_factory=set)
    _new: set[tuple[DeviceId, MsgId]] = field(default_factory=set)

    def begin(self, database: Database) -> None:
        return

    def step(self, database: Database, chance: random.Random) -> None:
        self.now_ms += chance.randint(0, 50)
        deed = chance.choices(("new", "again", "mark", "show", "read", "drop", "expire"), (10, 3, 1, 5, 3, 2, 1))[0]
        now = self.now_ms
        if deed == "new":
            self._arrive(database, *self._make(chance))
        elif deed == "mark":
            sender, msg_id = chance.choice(SENDERS), chance.randbytes(16)
            database.submit(lambda tx: store.mark_seen(tx, sender, msg_id, now))
        elif deed == "expire":
            database.submit(lambda tx: store.expire_receipts(tx, now))
        elif deed == "drop":
            due = [row.id for row in store.due_receipts(database.reader, MESH, 0, chance.choice((1, 5, 30)))]
            database.submit(lambda tx: store.drop_receipts(tx, due))
        elif self.arrived:
            row, number, pending = chance.choice(self.arrived)
            if deed == "again":
                self._arrive(database, row, number)
            elif pending.succeeded and pending.result:
                self._go_on(database, deed, row, pending.result)

    def _make(self, chance: random.Random) -> tuple[InboxRow, int]:
        sender = chance.choice(SENDERS)
        number = self.streams[sender] = self.streams.get(sender, 0) + 1
        row = InboxRow(
            row=0,
            mesh=MESH,
            msg_id=MsgId(chance.randbytes(16)),
            from_device=sender,
            from_member=MemberId(sender[:16]),
            from_session="",
            origin="agent",
            to_session="",
            session_key="",
            person=1,
            lane="next",
            reply_to=b"",
            conv=bytes(16),
            created_ms=self.now_ms,
            stored_ms=self.now_ms,
            expires_ms=self.now_ms + LIFETIME_MS,
            content=chance.randbytes(chance.choice((100, 300, 3000, 9000))),
            attempt=0,
            message_hash=chance.randbytes(32),
            n=0,
            path="mesh",
        )
        return row, number

    def _arrive(self, database: Database, row: InboxRow, number: int) -> None:
        """One envelope, in the transaction that its acknowledgement stands for."""

        def work(tx: apsw.Connection) -> int:
            if not store.mark_seen(tx, row.from_device, row.msg_id, row.stored_ms):
                return 0
            place = store.add_inbox(tx, row)
            store.owe_receipt(tx, row, place, state="stored", at_ms=row.stored_ms, session="", evidence="commit")
            set_stream_got(tx, MESH, row.from_device, number)
            return place

        self.arrived.append((row, number, database.submit(work)))
        self._new.add((row.from_device, row.msg_id))

    def _go_on(self, database: Database, deed: str, row: InboxRow, place: int) -> None:
        now = self.now_ms

        def show(tx: apsw.Connection) -> None:
            if store.set_shown(tx, place, now, "turn"):
                store.owe_receipt(tx, row, place, state="shown", at_ms=now, session="web", evidence="turn")

        database.submit(show if deed == "show" else lambda tx: store.set_read(tx, place, now))

    def acknowledged(self) -> None:
        self.kept |= self._new
        self._new.clear()

    def forgotten(self) -> None:
        """What did not happen comes again, as from a broker that was told nothing."""
        self._new.clear()

    def judge(self, connection: apsw.Connection) -> None:
        found = [tuple(row) for row in connection.execute("SELECT from_device, msg_id FROM inbox")]
        if len(found) != len(set(found)):
            raise Lost("a message is there twice")
        if not self.kept <= set(found):
            raise Lost(f"{len(self.kept - set(found))} acknowledged messages are gone")
        unmarked = (
            "SELECT count(*) FROM inbox WHERE (from_device, msg_id) NOT IN (SELECT from_device, msg_id FROM seen)"
        )
        if connection.execute(unmarked).get:
            raise Lost("a message without its dedupe mark")
        silent = "SELECT count(*) FROM inbox WHERE n < 1 + (shown_ms > 0)"
        if connection.execute(silent).get:
            raise Lost("a fact about a message without its receipt")
