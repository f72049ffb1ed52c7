"""The store on one SQLite file. Writes are grouped into commits by `Database`; reads use its second connection."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import apsw

from mesh_broker.store.branchrows import add_branch, cut_chain
from mesh_broker.store.interface import (
    Accepted,
    Box,
    ChainEnd,
    Given,
    Growth,
    Join,
    Mail,
    MailKey,
    Place,
    Promise,
    Quota,
    Switch,
    Waiting,
)
from mesh_broker.store.mailrows import SELECT_ACCEPTED, Tail, accept_mail, release_mail
from mesh_broker.store.onetimerows import add_batch, count_left, next_key, take_keys
from mesh_protocol.crashpoints import Reached, unnoticed
from mesh_protocol.ids import DeviceId, InviteId, MeshId
from mesh_protocol.io.sqlite import Database, StorageFailed
from mesh_protocol.wire.errors import MeshError

_LANES: Final = "lane IN (0, 1, 2)"  # lets the (device, lane, mseq) index serve a range over all lanes
_SEALS_AT_ONCE: Final = 256
_BROKEN: Final = (apsw.IOError, apsw.CorruptError, apsw.NotADBError)


class SqliteStore:
    """`Store` over a `Database` made with `schema.MIGRATIONS`."""

    def __init__(self, database: Database, reached: Reached = unnoticed) -> None:
        self._database = database
        self._reached = reached

    def _read(self, sql: str, *values: int | bytes) -> list[tuple[Any, ...]]:
        try:
            return _rows(self._database.reader, sql, *values)
        except _BROKEN as error:
            self._database.failure.set()  # a reader that meets a broken file is as good a reason to stop as a writer
            raise StorageFailed(f"{type(error).__name__} while reading") from None

    def _read_one(self, sql: str, *values: int | bytes) -> tuple[Any, ...] | None:
        rows = self._read(sql, *values)
        return rows[0] if rows else None

    # Meshes and chains.

    def chain_end(self, mesh: MeshId) -> ChainEnd | None:
        row = self._read_one("SELECT chain_seq, chain_head, log_seq, log_head FROM mesh WHERE id = ?", mesh)
        return None if row is None else ChainEnd(*row)

    def records(self, mesh: MeshId, after: int, count: int, size: int) -> list[bytes]:
        rows = self._read(
            "SELECT data FROM record WHERE mesh = (SELECT no FROM mesh WHERE id = ?) AND seq > ? ORDER BY seq LIMIT ?",
            mesh,
            after,
            count,
        )
        return _fitting((row[0] for row in rows), size)

    def box(self, mesh: MeshId, device: DeviceId) -> int | None:
        row = self._read_one(
            "SELECT no FROM device WHERE mesh = (SELECT no FROM mesh WHERE id = ?) AND id = ?",
            mesh,
            device,
        )
        return None if row is None else int(row[0])

    def create(self, mesh: MeshId, growth: Growth, creator: DeviceId, free: int | None, at_ms: int) -> Promise[bool]:
        def work(connection: apsw.Connection) -> bool:
            if _mesh_no(connection, mesh) is not None:
                return False
            made = _rows(connection, "SELECT count(*) FROM mesh WHERE creator = ? AND free", creator)[0][0]
            if free is not None and made >= free:
                raise MeshError("admission_needed")
            connection.execute(
                "INSERT INTO mesh (id, creator, free, made_ms, chain_seq, chain_head, log_seq, log_head)"
                " VALUES (?, ?, ?, ?, 0, x'', 0, x'')",
                (mesh, creator, free is not None, at_ms),
            )
            _grow(connection, connection.last_insert_rowid(), growth)
            return True

        return self._database.submit(work)

    def append(self, mesh: MeshId, previous: bytes, growth: Growth) -> Promise[None]:
        def work(connection: apsw.Connection) -> None:
            row = _row(connection, "SELECT no, chain_head FROM mesh WHERE id = ?", mesh)
            if row is None or row[1] != previous:
                raise MeshError("chain_conflict")
            _grow(connection, row[0], growth)

        return self._database.submit(work)

    def branch(self, mesh: MeshId) -> list[bytes]:
        rows = self._read("SELECT data FROM branch WHERE mesh = (SELECT no FROM mesh WHERE id = ?)", mesh)
        return [bytes(row[0]) for row in rows]

    def keep_branch(self, mesh: MeshId, records: Sequence[tuple[bytes, bytes]]) -> Promise[None]:
        def work(connection: apsw.Connection) -> None:
            no = _mesh_no(connection, mesh)
            assert no is not None
            add_branch(connection, no, records)

        return self._database.submit(work)

    def log_place(self, mesh: MeshId, item: bytes) -> tuple[int, bytes]:
        sql = "SELECT n, head FROM log WHERE mesh = (SELECT no FROM mesh WHERE id = ?) AND data = ?"
        n, head = self._read(sql, mesh, item)[0]
        return int(n), bytes(head)

    def switch(self, mesh: MeshId, previous: bytes, switch: Switch) -> Promise[None]:
        def work(connection: apsw.Connection) -> None:
            row = _row(connection, "SELECT no, chain_head FROM mesh WHERE id = ?", mesh)
            if row is None or row[1] != previous:
                raise MeshError("chain_conflict")
            cut_chain(connection, row[0], switch)
            _grow(connection, row[0], switch.growth)

        return self._database.submit(work)

    def seals(self, box: int, size: int) -> list[bytes]:
        rows = self._read("SELECT data FROM seal WHERE device = ? ORDER BY epoch LIMIT ?", box, _SEALS_AT_ONCE)
        return _fitting((row[0] for row in rows), size)

    def drop_seals(self, box: int, epoch: int) -> Promise[None]:
        return self._run("DELETE FROM seal WHERE device = ? AND epoch <= ?", box, epoch)

    # Devices.

    def raise_generation(self, box: int, generation: int) -> Promise[int]:
        def work(connection: apsw.Connection) -> int:
            sql = "UPDATE device SET generation = max(generation, ?) WHERE no = ? RETURNING generation"
            return int(_rows(connection, sql, generation, box)[0][0])

        return self._database.submit(work)

    def put_prekey(self, box: int, prekey: bytes) -> Promise[None]:
        return self._run("UPDATE device SET prekey = ? WHERE no = ?", prekey, box)

    def drop_prekeys(self, box: int) -> Promise[None]:
        def work(connection: apsw.Connection) -> None:
            connection.execute("UPDATE device SET prekey = NULL WHERE no = ?", (box,))
            connection.execute("DELETE FROM onetime WHERE device = ?", (box,))

        return self._database.submit(work)

    def prekey(self, box: int) -> bytes | None:
        row = self._read_one("SELECT prekey FROM device WHERE no = ?", box)
        return None if row is None else row[0]

    def add_onetime(self, box: int, first: int, size: int, batch: bytes, *, replace: bool) -> Promise[int]:
        return self._database.submit(lambda connection: add_batch(connection, box, first, size, batch, replace=replace))

    def onetime_left(self, box: int) -> int:
        return count_left(self._database.reader, box)

    def next_onetime(self, box: int) -> int:
        return next_key(self._database.reader, box)

    def take_onetime(self, boxes: Sequence[int]) -> Promise[list[Given]]:
        return self._database.submit(lambda connection: [*take_keys(connection, boxes)])

    # Mail.

    def accepted(self, key: MailKey) -> Accepted | None:
        row = self._read_one(SELECT_ACCEPTED, *key)
        return None if row is None else Accepted(*row)

    def accept(
        self, mesh: MeshId, mail: Mail, quota: Quota, at_ms: int, place: Place | None = None
    ) -> Promise[Accepted]:
        def work(connection: apsw.Connection) -> Accepted:
            found = accept_mail(connection, mesh, mail, Tail(b""), quota, at_ms, place, self._reached)
            if isinstance(found, str):
                raise MeshError(found)
            return found

        return self._database.submit(work)

    def accept_many(
        self, mesh: MeshId, mails: Sequence[Mail], tail: bytes, quota: Quota, at_ms: int, places: Sequence[Place]
    ) -> Promise[list[Accepted | str]]:
        def work(connection: apsw.Connection) -> list[Accepted | str]:
            shared = Tail(tail)
            found = [
                accept_mail(connection, mesh, mail, shared, quota, at_ms, place, self._reached)
                for mail, place in zip(mails, places, strict=True)
            ]
            shared.count(connection)
            return found

        return self._database.submit(work)

    def mailbox(self, box: int, above: int = 0) -> Box:
        sql = "SELECT next_mseq, mail_rows, mail_bytes, generation FROM device WHERE no = ?"
        next_mseq, held, size, generation = self._read(sql, box)[0]
        # The lowest of three index look-ups; one min() over all lanes would walk the whole mailbox.
        sql = "SELECT min(mseq) FROM mail WHERE device = ? AND lane = ? AND mseq > ?"
        lowest = [self._read(sql, box, lane, above)[0][0] for lane in (0, 1, 2)]
        floor = min((mseq for mseq in lowest if mseq is not None), default=next_mseq)
        return Box(next_mseq, floor, held, size, generation)

    def waiting(self, box: int, lane: int, after: int, count: int) -> list[Waiting]:
        rows = self._read(
            "SELECT mseq, size, expires_ms, sender FROM mail WHERE device = ? AND lane = ? AND mseq > ?"
            " ORDER BY mseq LIMIT ?",
            box,
            lane,
            after,
            count,
        )
        return [Waiting(*row) for row in rows]

    def envelope(self, box: int, mseq: int) -> bytes | None:
        sql = f"SELECT envelope, shared FROM mail WHERE device = ? AND {_LANES} AND mseq = ?"  # noqa: S608 - a constant
        row = self._read_one(sql, box, mseq)
        if row is None or row[1] is None:
            return None if row is None else row[0]
        tail = self._read_one("SELECT data FROM shared WHERE no = ?", row[1])
        return None if tail is None else row[0] + tail[0]

    def acknowledge(self, box: int, acked: int, sacks: Sequence[tuple[int, int]]) -> Promise[int]:
        def work(connection: apsw.Connection) -> int:
            return sum(release_mail(connection, box, low, high) for low, high in ((0, acked), *sacks))

        return self._database.submit(work)

    def expire(self, now_ms: int, dedupe_before_ms: int, count: int) -> Promise[int]:
        def work(connection: apsw.Connection) -> int:
            sql = "SELECT device, mseq FROM mail WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?"
            expired = _rows(connection, sql, now_ms, count)
            for box, mseq in expired:
                release_mail(connection, box, mseq, mseq)
            connection.execute(
                "DELETE FROM dedupe WHERE no IN (SELECT no FROM dedupe ORDER BY no LIMIT ?) AND at_ms < ?",
                (count, dedupe_before_ms),
            )
            connection.execute("DELETE FROM joining WHERE expires_ms <= ?", (now_ms,))
            return len(expired)

        return self._database.submit(work)

    # Joining.

    def ask(
        self, mesh: MeshId, invite: InviteId, device: DeviceId, join: bytes, expires_ms: int, room: int
    ) -> Promise[int]:
        def work(connection: apsw.Connection) -> int:
            no = _mesh_no(connection, mesh)
            assert no is not None
            sql = "SELECT no, data = x'' FROM joining WHERE mesh = ? AND invite = ? AND device = ?"
            row = _row(connection, sql, no, invite, device)
            if row is not None and row[1]:
                raise MeshError("invite_denied")
            if row is not None:
                connection.execute("UPDATE joining SET data = ? WHERE no = ?", (join, row[0]))
                return int(row[0])
            if _rows(connection, "SELECT count(*) FROM joining WHERE mesh = ? AND data <> x''", no)[0][0] >= room:
                raise MeshError("rate_limited", retry_after=3600)
            connection.execute(
                "INSERT INTO joining (mesh, invite, device, expires_ms, data) VALUES (?, ?, ?, ?, ?)",
                (no, invite, device, expires_ms, join),
            )
            return connection.last_insert_rowid()

        return self._database.submit(work)

    def joins(self, mesh: MeshId, size: int) -> list[Join]:
        # One without data was denied, and is kept so that it is not asked again.
        sql = "SELECT no, data FROM joining WHERE mesh = (SELECT no FROM mesh WHERE id = ?) AND data <> x'' ORDER BY no"
        found = [Join(*row) for row in self._read(sql, mesh)]
        return found[: len(_fitting((join.data for join in found), size))]

    def drop_join(self, mesh: MeshId, join: int) -> Promise[None]:
        return self._run("DELETE FROM joining WHERE no = ? AND mesh = (SELECT no FROM mesh WHERE id = ?)", join, mesh)

    def deny_join(self, mesh: MeshId, join: int) -> Promise[DeviceId | None]:
        def work(connection: apsw.Connection) -> DeviceId | None:
            sql = (
                "UPDATE joining SET data = x'' WHERE no = ? AND mesh = (SELECT no FROM mesh WHERE id = ?) AND data <> x''"
                " RETURNING device"
            )
            rows = _rows(connection, sql, join, mesh)
            return DeviceId(rows[0][0]) if rows else None

        return self._database.submit(work)

    # The whole.

    def probe(self) -> Promise[None]:
        return self._run("INSERT INTO probe VALUES (1, 1) ON CONFLICT DO UPDATE SET at = at + 1")

    def _run(self, sql: str, *values: int | bytes) -> Promise[None]:
        def work(connection: apsw.Connection) -> None:
            connection.execute(sql, values)

        return self._database.submit(work)


def _rows(connection: apsw.Connection, sql: str, *values: int | bytes) -> list[tuple[Any, ...]]:
    """All rows: a cursor left open would hold the WAL back."""
    return connection.execute(sql, values).fetchall()


def _row(connection: apsw.Connection, sql: str, *values: int | bytes) -> tuple[Any, ...] | None:
    rows = _rows(connection, sql, *values)
    return rows[0] if rows else None


def _fitting(items: Iterable[bytes], size: int) -> list[bytes]:
    """As many of `items` as fit `size` bytes, but one at least."""
    fitting: list[bytes] = []
    for item in items:
        size -= len(item)
        if size < 0 and fitting:
            break
        fitting.append(item)
    return fitting


# In the writer.


def _mesh_no(connection: apsw.Connection, mesh: MeshId) -> int | None:
    row = _row(connection, "SELECT no FROM mesh WHERE id = ?", mesh)
    return None if row is None else int(row[0])


def _grow(connection: apsw.Connection, mesh: int, growth: Growth) -> None:
    connection.executemany(
        "INSERT INTO record VALUES (?, ?, ?)",
        [(mesh, seq, data) for seq, data in enumerate(growth.records, growth.first)],
    )
    connection.executemany(
        "INSERT INTO log VALUES (?, ?, ?, ?)",
        [(mesh, n, head, data) for n, (data, head) in enumerate(growth.markers, growth.log_first)],
    )
    connection.execute(
        "UPDATE mesh SET chain_seq = ?, chain_head = ?, log_seq = ?, log_head = ? WHERE no = ?", (*growth.end, mesh)
    )
    connection.executemany(
        "INSERT OR IGNORE INTO device (mesh, id) VALUES (?, ?)", [(mesh, device) for device in growth.devices]
    )
    gone = [(mesh, device) for device in growth.gone]
    connection.executemany("UPDATE device SET prekey = NULL WHERE mesh = ? AND id = ?", gone)
    for table in ("onetime", "seal"):
        sql = f"DELETE FROM {table} WHERE device = (SELECT no FROM device WHERE mesh = ? AND id = ?)"  # noqa: S608
        connection.executemany(sql, gone)
    connection.executemany(
        "INSERT OR REPLACE INTO seal SELECT no, ?, ? FROM device WHERE mesh = ? AND id = ?",
        [(epoch, data, mesh, device) for device, epoch, data in growth.seals],
    )
    connection.executemany(
        "DELETE FROM joining WHERE mesh = ? AND invite = ? AND device = ?",
        [(mesh, invite, device) for invite, device in growth.admitted],
    )
    connection.executemany(
        "DELETE FROM joining WHERE mesh = ? AND invite = ?", [(mesh, invite) for invite in growth.closed]
    )
