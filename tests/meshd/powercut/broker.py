"""The broker's store as a load: envelopes accepted, repeated, acknowledged and expired, keys put, chains grown."""

import random
from dataclasses import dataclass, field

import apsw

from mesh_broker.store.interface import Accepted, ChainEnd, Growth, Mail, MailKey, Promise, Quota
from mesh_broker.store.schema import APPLICATION_ID, MIGRATIONS
from mesh_broker.store.sqlite import SqliteStore
from mesh_protocol.ids import DeviceId, MemberId, MeshId, MsgId
from mesh_protocol.io.sqlite import Database
from powercut.rig import Lost

MESH = MeshId(b"m" * 32)
DEVICES = [DeviceId(bytes([n]) * 32) for n in range(1, 5)]
BOXES = range(1, len(DEVICES) + 1)
QUOTA = Quota(rows=60, bytes=100_000, member_rows=25, member_bytes=40_000)
LIFETIME_MS = 6_000
NOTHING = ChainEnd(0, b"", 0, b"")


class Open:
    """Nobody is before it."""

    def begin(self) -> bool:
        return True

    def refuse(self) -> None:
        return


@dataclass
class BrokerLoad:
    """`kept`: what the broker has accepted, with its answer."""

    application_id: int = APPLICATION_ID
    migrations: tuple[str, ...] = MIGRATIONS
    now_ms: int = 1_000_000
    head: ChainEnd = NOTHING
    kept: dict[MailKey, Accepted] = field(default_factory=dict)
    _sent: list[Mail] = field(default_factory=list)
    _new: list[tuple[MailKey, Promise[Accepted]]] = field(default_factory=list)
    _many: list[tuple[list[Mail], Promise[list[Accepted | str]]]] = field(default_factory=list)

    def begin(self, database: Database) -> None:
        """Make the mesh, if the broker does not know it (any more, or yet)."""
        found = SqliteStore(database).chain_end(MESH)
        if found is None:
            self.head = ChainEnd(1, b"1", 1, b"1")
            SqliteStore(database).create(MESH, self._growth(1), DEVICES[0], None, self.now_ms)
        else:
            self.head = found

    def _growth(self, number: int) -> Growth:
        end = ChainEnd(number, b"%d" % number, number, b"%d" % number)
        devices = DEVICES if number == 1 else ()
        return Growth(number, [b"record" * 40], number, [(b"marker", b"head")], end, devices)

    def step(self, database: Database, chance: random.Random) -> None:
        self.now_ms += chance.randint(0, 50)
        store, now = SqliteStore(database), self.now_ms
        deed = chance.choices(
            ("accept", "many", "repeat", "ack", "sack", "expire", "prekey", "onetime", "take", "generation", "append"),
            (12, 3, 3, 3, 3, 1, 1, 1, 2, 1, 1),
        )[0]
        box = chance.choice(BOXES)
        above = store.mailbox(box).floor if database.reader.execute("SELECT count(*) FROM device").get else 0
        match deed:
            case "accept":
                self._accept(store, self._make(chance))
            case "many":
                self._accept_many(store, chance)
            case "repeat" if self._sent:
                self._accept(store, chance.choice(self._sent))
            case "ack":
                store.acknowledge(box, above + chance.randint(0, 3), [])
            case "sack":
                low = above + chance.randint(1, 6)
                store.acknowledge(box, 0, [(low, low + chance.randint(0, 2))])
            case "expire":
                store.expire(now, now - 10 * LIFETIME_MS, 50)
            case "prekey":
                store.put_prekey(box, chance.randbytes(160))
            case "onetime":
                first, replaces = chance.getrandbits(62), chance.random() < 0.3
                store.add_onetime(box, first, chance.randint(1, 3), chance.randbytes(100), replace=replaces)
            case "take":
                store.take_onetime(chance.sample(BOXES, 2))
            case "generation":
                store.raise_generation(box, chance.randint(1, 1000))
            case "append":
                previous, self.head = self.head.head, self._growth(self.head.seq + 1).end
                store.append(MESH, previous, self._growth(self.head.seq))

    def _make(self, chance: random.Random) -> Mail:
        sender, box = chance.sample(BOXES, 2)
        key = MailKey(sender, box, MsgId(chance.randbytes(16)), chance.choice((0, 0, 1)))
        envelope = chance.randbytes(chance.choice((500, 800, 3000, 9000)))
        mail = Mail(key, MemberId(bytes([sender]) * 16), chance.randrange(3), self.now_ms + LIFETIME_MS, envelope)
        self._sent.append(mail)
        return mail

    def _accept(self, store: SqliteStore, mail: Mail) -> None:
        self._new.append((mail.key, store.accept(MESH, mail, QUOTA, self.now_ms)))

    def _accept_many(self, store: SqliteStore, chance: random.Random) -> None:
        """One message to several devices: an end they share, and for each a beginning of its own."""
        sender, *boxes = chance.sample(BOXES, chance.randint(2, 4))
        msg_id, expires, member = MsgId(chance.randbytes(16)), self.now_ms + LIFETIME_MS, MemberId(bytes([sender]) * 16)
        mails = [Mail(MailKey(sender, box, msg_id, 0), member, 1, expires, chance.randbytes(300)) for box in boxes]
        places = [Open() for _ in mails]
        promise = store.accept_many(MESH, mails, chance.randbytes(2000), QUOTA, self.now_ms, places)
        self._many.append((mails, promise))

    def acknowledged(self) -> None:
        for key, promise in self._new:
            if promise.succeeded:
                self._keep(key, promise.result)
        for mails, answers in self._many:
            for mail, answer in zip(mails, answers.result if answers.succeeded else (), strict=False):
                if isinstance(answer, Accepted):
                    self._keep(mail.key, answer)
        self._new.clear()
        self._many.clear()

    def _keep(self, key: MailKey, answer: Accepted) -> None:
        if self.kept.setdefault(key, answer) != answer:
            raise Lost(f"a repeat was answered {answer}, first {self.kept[key]}")

    def forgotten(self) -> None:
        self._new.clear()
        self._many.clear()
        self._sent = [mail for mail in self._sent if mail.key in self.kept][-200:]

    def judge(self, connection: apsw.Connection) -> None:
        sql = "SELECT sender, device, msg_id, attempt, seq, at_ms FROM dedupe"
        known = {MailKey(*row[:4]): Accepted(*row[4:]) for row in connection.execute(sql)}
        for key, answer in self.kept.items():
            if known.get(key, answer) != answer:
                raise Lost("an accepted envelope has another number now")
        pruned = {key for key, answer in self.kept.items() if answer.at_ms < self.now_ms - 10 * LIFETIME_MS}
        if lost := self.kept.keys() - known.keys() - pruned:
            raise Lost(f"{len(lost)} accepted envelopes are forgotten")
        if connection.execute("SELECT count(*) FROM mail").get > len(known):
            raise Lost("an envelope without its dedupe row")
        counted = (
            "SELECT count(*) FROM device WHERE (mail_rows, mail_bytes) IS NOT"
            " (SELECT count(*), ifnull(sum(size), 0) FROM mail WHERE mail.device = device.no)"
        )
        if connection.execute(counted).get:
            raise Lost("a mailbox counts otherwise than it holds")
        shared = (
            "SELECT count(*) FROM shared WHERE uses IS NOT (SELECT count(*) FROM mail WHERE mail.shared = shared.no)"
        )
        if connection.execute(shared).get:
            raise Lost("the end that envelopes share counts otherwise than it is used")
        endless = "SELECT count(*) FROM mail WHERE shared IS NOT NULL AND shared NOT IN (SELECT no FROM shared)"
        if connection.execute(endless).get:
            raise Lost("an envelope has lost the end that it shared")
