"""What requests and answers say, stored only where the person asked for it: sealed, bounded in time and in size.

Bodies have a database and a queue of their own. Where they come faster than they can be sealed or written, bodies are left
out and counted; no stream waits, and no request is missing in the record for it.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import apsw
import trio

from mesh_protocol.io.sqlite import Database
from mesh_protocol.keys import BadCiphertext
from meshd.columns import open_column, seal_column
from meshd.seams import Seams
from meshd.services.proxy.codings import Unreadable, open_decoder
from meshd.services.proxy.exchanges import MAX_COPY, Copy, Exchange, Room
from meshd.services.proxy.schema import BODIES_ID, BODIES_MIGRATIONS
from meshd.services.proxy.writing import Writer

NAME: Final = "proxy-bodies.db"
DAY_MS: Final = 86_400_000
MIB: Final = 1024 * 1024
QUEUE: Final = 256
ANSWERS: Final = 64 * MIB
"""Bytes of answers that are kept in memory while they pass."""
WAITING: Final = 32 * MIB
"""Bytes that wait to be sealed: the requests among them take room from those that pass."""
AT_ONCE: Final = 16
PRUNE_S: Final = 600.0
PRUNE_ROWS: Final = 256
FOR_EVER: Final = 2**62
REQUEST: Final = "request"
ANSWER: Final = "answer"


class Keep(NamedTuple):
    """How long bodies stay, and how many bytes of them at most."""

    days: int
    mib: int


class _Body(NamedTuple):
    number: int
    part: str
    started_ms: int
    coding: str
    content: bytes
    nonce: bytes


class _Row(NamedTuple):
    number: int
    part: str
    started_ms: int
    size: int
    kept: int
    coding: str
    sealed: bytes


@dataclass(slots=True)
class Stored:
    """What lies on the disk. `lost` bodies since the daemon's start could not be stored, and `trouble` says why."""

    requests: int
    size: int
    lost: int = 0
    trouble: str = ""


class Bodies:
    """`take` never waits; `run` stores, and deletes what is too old or too much."""

    def __init__(self, folder: Path, seams: Seams, key: bytes, keep: Keep) -> None:
        self._seams = seams
        self._key = key
        self.keep = keep
        self.on = False
        self.db = Database(
            folder / NAME,
            application_id=BODIES_ID,
            migrations=BODIES_MIGRATIONS,
            worker=seams.worker(NAME),
            reached=seams.reached,
        )
        self._writer = Writer(self.db, "bodies", self._lose)
        self.room = Room(ANSWERS)
        self.stored = Stored(*_measure(self.db.reader))
        self._waiting = self._working = 0
        self._idle = trio.Event()
        self._send, self._receive = trio.open_memory_channel[Exchange](QUEUE)

    def copy(self, *, wanted: bool) -> Copy:
        """For an answer that begins."""
        return Copy(self.room, wanted=wanted and self.on)

    def take(self, exchange: Exchange) -> None:
        """An exchange that was recorded: its copies are this object's from now on."""
        size = len(exchange.asked) + len(exchange.answer)
        whole = exchange.asked.whole and exchange.answer.whole
        if whole and self._waiting + size <= WAITING:
            try:
                self._send.send_nowait(exchange)
            except trio.WouldBlock:
                pass
            else:
                self._waiting += size
                self._working += 1
                return
        exchange.release()
        self._lose(1, "bodies came faster than they could be stored" if whole else "bodies were too large")

    async def run(self) -> None:
        """Store until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._prune)
            while True:
                exchanges = [await self._receive.receive()]
                while len(exchanges) < AT_ONCE:
                    try:
                        exchanges.append(self._receive.receive_nowait())
                    except trio.WouldBlock:
                        break
                await self._store(exchanges)

    async def _store(self, exchanges: list[Exchange]) -> None:
        bodies = [body for exchange in exchanges for body in self._bodies(exchange)]
        rows = await self._seams.threads(partial(_seal, self._key, bodies))
        for exchange in exchanges:
            self._waiting -= len(exchange.asked) + len(exchange.answer)
            exchange.release()
        if await self._writer.write(partial(_add, rows=rows), len(exchanges)) is not None:
            self.stored.requests += len(exchanges)
            self.stored.size += sum(row.kept for row in rows)
        await self._shrink()
        self._working -= len(exchanges)
        if not self._working:
            self._idle.set()

    async def drained(self) -> None:
        """Wait until all that was taken is stored or lost."""
        while self._working:
            self._idle = trio.Event()
            await self._idle.wait()

    def _bodies(self, exchange: Exchange) -> Iterable[_Body]:
        number, at, rng = exchange.number, exchange.started_ms, self._seams.rng
        yield _Body(
            number,
            REQUEST,
            at,
            exchange.head.value(b"content-encoding").decode("latin-1")[:64],
            exchange.asked.join(),
            rng(24),
        )
        yield _Body(number, ANSWER, at, exchange.header(b"content-encoding")[:64], exchange.answer.join(), rng(24))

    def _lose(self, bodies: int, why: str) -> None:
        if bodies:
            self.stored.lost += bodies
            self.stored.trouble = why

    async def _shrink(self) -> None:
        """Delete the oldest until the rest is small enough."""
        while self.stored.size > self.keep.mib * MIB:
            surplus = self.stored.size - self.keep.mib * MIB
            gone = await self._writer.write(partial(_drop_oldest, surplus=surplus), 0)
            if not gone or not gone[0]:
                return
            self._note_gone(*gone)

    async def _prune(self) -> None:
        while True:
            await self.forget(self._seams.clock() - self.keep.days * DAY_MS)
            await trio.sleep(PRUNE_S)

    async def forget(self, before_ms: int | None = None) -> int:
        """Delete what is older, or all; not even the free pages of the file hold it then. Returns of how many requests."""
        count = 0
        while gone := await self._writer.write(partial(_drop_older, before_ms=before_ms), 0):
            if not gone[0]:
                break
            self._note_gone(*gone)
            count += gone[0]
        if count:
            self.db.cut_log()
        return count

    def _note_gone(self, requests: int, size: int) -> None:
        self.stored.requests = max(0, self.stored.requests - requests)
        self.stored.size = max(0, self.stored.size - size)

    def sizes(self, numbers: Iterable[int]) -> dict[int, int]:
        """Of those requests that have bodies here: how many bytes passed."""
        found: dict[int, int] = {}
        for number in numbers:
            row = self.db.reader.execute("SELECT sum(size) FROM body WHERE number=?", (number,)).fetchone()
            if row is not None and row[0] is not None:
                found[number] = row[0]
        return found

    async def read(self, number: int, started_ms: int, part: str) -> bytes | None:
        """What was said, plain; None where it is not stored. What the API compressed in a way that is not known here is
        given as it passed. Raises `BadCiphertext` where it was altered."""
        row = self.db.reader.execute(
            "SELECT coding, sealed FROM body WHERE number=? AND part=? AND started_ms=?", (number, part, started_ms)
        ).fetchone()
        if row is None:
            return None
        return await self._seams.threads(partial(_open, self._key, _place(number, started_ms), part, *row))


def _place(number: int, started_ms: int) -> bytes:
    return number.to_bytes(8, "little") + started_ms.to_bytes(8, "little")


def _seal(key: bytes, bodies: list[_Body]) -> list[_Row]:
    rows = []
    for body in bodies:
        packed = zlib.compress(body.content, 1)
        sealed = seal_column(key, "body", body.part, _place(body.number, body.started_ms), packed, body.nonce)
        rows.append(_Row(body.number, body.part, body.started_ms, len(body.content), len(sealed), body.coding, sealed))
    return rows


def _open(key: bytes, place: bytes, part: str, coding: str, sealed: bytes) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(open_column(key, "body", part, place, sealed), MAX_COPY)
    except zlib.error:
        raise BadCiphertext("a stored body is not what was stored") from None
    try:
        return open_decoder(coding).feed(content)
    except Unreadable:
        return content


def _measure(db: apsw.Connection) -> tuple[int, int]:
    rows = db.execute("SELECT count(DISTINCT number), coalesce(sum(kept), 0) FROM body")
    ((requests, size),) = rows
    return requests, size


def _add(tx: apsw.Connection, rows: list[_Row]) -> bool:
    tx.executemany("INSERT OR REPLACE INTO body VALUES(?,?,?,?,?,?,?)", rows)
    return True


def _drop_oldest(tx: apsw.Connection, surplus: int) -> tuple[int, int]:
    last = freed = 0
    for number, kept in tx.execute("SELECT number, kept FROM body ORDER BY number LIMIT ?", (PRUNE_ROWS,)):
        last, freed = number, freed + kept
        if freed >= surplus:
            break
    return _drop(tx, last, FOR_EVER)


def _drop_older(tx: apsw.Connection, before_ms: int | None) -> tuple[int, int]:
    limit = FOR_EVER if before_ms is None else before_ms
    rows = tx.execute(
        "SELECT max(number) FROM (SELECT number FROM body WHERE started_ms < ? ORDER BY number LIMIT ?)",
        (limit, PRUNE_ROWS),
    )
    ((last,),) = rows
    return _drop(tx, last or 0, limit)


def _drop(tx: apsw.Connection, last: int, before_ms: int) -> tuple[int, int]:
    """Delete up to that number what is older; of how many requests, and how many bytes."""
    rows = tx.execute(
        "SELECT count(DISTINCT number), coalesce(sum(kept), 0) FROM body WHERE number <= ? AND started_ms < ?",
        (last, before_ms),
    )
    ((requests, size),) = rows
    tx.execute("DELETE FROM body WHERE number <= ? AND started_ms < ?", (last, before_ms))
    return requests, size
