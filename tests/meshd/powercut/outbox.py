"""The daemon's outbox as a load: messages with their deliveries, and everything that becomes of them."""

import random
from dataclasses import dataclass, field

import apsw

from mesh_protocol.ids import DeviceId, MemberId, MeshId, MsgId
from mesh_protocol.io.sqlite import Database
from meshd.store import outbox as store
from meshd.store.meshes import set_stream_sent
from meshd.store.outbox import DeliveryRow, MessageRow, ReceiptFact
from meshd.store.schema import APPLICATION_ID, MIGRATIONS
from powercut.rig import Lost

MESH = MeshId(bytes(32))
DEVICES = [DeviceId(bytes([n]) * 32) for n in range(1, 5)]
LIFETIME_MS = 4_000


@dataclass
class OutboxLoad:
    """Keeps what it asked for, so that later work has something to be about; the twin keeps the truth."""

    application_id: int = APPLICATION_ID
    migrations: tuple[str, ...] = MIGRATIONS
    now_ms: int = 1_000_000
    streams: dict[DeviceId, int] = field(default_factory=dict)
    deliveries: list[DeliveryRow] = field(default_factory=list)
    kept: dict[MsgId, int] = field(default_factory=dict)
    """Acknowledged messages with the number of their deliveries. Bounces are not among them: they may be forgotten."""
    _new: dict[MsgId, int] = field(default_factory=dict)

    def begin(self, database: Database) -> None:
        return

    def step(self, database: Database, chance: random.Random) -> None:
        self.now_ms += chance.randint(0, 50)
        deed = chance.choices(
            ("send", "bounce", "seal", "accept", "receipt", "end", "expire", "forget"), (10, 1, 6, 6, 6, 1, 1, 1)
        )[0]
        if deed in ("send", "bounce"):
            self._send(database, chance, "text" if deed == "send" else "bounce")
        elif deed == "expire":
            now = self.now_ms
            database.submit(lambda tx: store.expire_deliveries(tx, now))
        elif deed == "forget":
            database.submit(store.forget_bounces)
        elif self.deliveries:
            self._go_on(database, chance, deed)

    def _send(self, database: Database, chance: random.Random, kind: str) -> None:
        msg_id = MsgId(chance.randbytes(16))
        message = MessageRow(
            msg_id=msg_id,
            mesh=MESH,
            kind=kind,
            scope="user",
            idem_key=msg_id.hex() if chance.random() < 0.5 else None,
            fingerprint=chance.randbytes(32),
            from_session="",
            origin="person",
            lane="next",
            reply_to=b"",
            conv=msg_id,
            created_ms=self.now_ms,
            expires_ms=self.now_ms + LIFETIME_MS,
            content=chance.randbytes(chance.choice((100, 300, 3000, 9000))),
        )
        rows = [self._delivery(message, device) for device in chance.sample(DEVICES, chance.randint(1, 3))]

        def work(tx: apsw.Connection) -> None:
            store.add_message(tx, message, rows)
            for row in rows:
                set_stream_sent(tx, row.mesh, row.device, row.stream_seq)

        database.submit(work)
        self.deliveries.extend(rows)
        if kind == "text":
            self._new[msg_id] = len(rows)

    def _delivery(self, message: MessageRow, device: DeviceId) -> DeliveryRow:
        number = self.streams[device] = self.streams.get(device, 0) + 1
        return DeliveryRow(
            msg_id=message.msg_id,
            device=device,
            mesh=MESH,
            member=MemberId(device[:16]),
            to_session="*",
            path="mesh",
            lane=1,
            stream_seq=number,
            attempt=0,
            envelope=None,
            message_hash=None,
            outer_hash=None,
            expires_ms=message.expires_ms,
            queued_ms=message.created_ms,
        )

    def _go_on(self, database: Database, chance: random.Random, deed: str) -> None:
        place = chance.randrange(len(self.deliveries))
        row, now = self.deliveries[place], self.now_ms
        if deed == "seal":
            row = row._replace(
                envelope=chance.randbytes(chance.choice((600, 2000))),
                message_hash=chance.randbytes(32),
                outer_hash=chance.randbytes(32),
                attempt=row.attempt + 1,
            )
            self.deliveries[place] = row
            sealed = row
            database.submit(lambda tx: store.set_envelopes(tx, [sealed]))
        elif deed == "accept":
            database.submit(lambda tx: store.set_accepted(tx, row.msg_id, row.device, row.attempt, now))
        elif deed == "end":
            database.submit(lambda tx: store.set_ended(tx, row.msg_id, row.device, "removed", "gone"))
        else:
            state = chance.choice(("stored", "shown", "turn_started", "held"))
            row = self.deliveries[place] = row._replace(n=row.n + 1)
            fact = ReceiptFact(
                row.msg_id, row.message_hash or b"", state, "", chance.choice(("", "web")), "commit", now, row.n
            )
            database.submit(lambda tx: store.apply_receipt(tx, row.device, fact))

    def acknowledged(self) -> None:
        self.kept.update(self._new)
        self._new.clear()

    def forgotten(self) -> None:
        self._new.clear()

    def judge(self, connection: apsw.Connection) -> None:
        counts = dict(connection.execute("SELECT msg_id, count(*) FROM delivery GROUP BY msg_id"))
        messages = {row[0] for row in connection.execute("SELECT msg_id FROM message")}
        if lost := [msg_id.hex() for msg_id in self.kept if msg_id not in messages]:
            raise Lost(f"acknowledged messages are gone: {lost[:3]}")
        if half := [msg_id.hex() for msg_id, count in self.kept.items() if counts.get(msg_id) != count]:
            raise Lost(f"messages without all their deliveries: {half[:3]}")
        if messages != set(counts):
            raise Lost("a message without a delivery, or a delivery without its message")
        behind = "SELECT count(*) FROM delivery d LEFT JOIN stream s USING(mesh, device) WHERE ifnull(s.sent, 0) < d.stream_seq"
        if connection.execute(behind).get:
            raise Lost("a number of a stream would be given twice")
