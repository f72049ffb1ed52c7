"""From exchanges that have ended to rows: behind a bounded queue, so that no request ever waits for it.

What does not fit into the queue, or onto the disk, is lost to the account, counted and said; the streams go on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
import trio

from mesh_protocol.io.sqlite import Database
from meshd.log import get_logger
from meshd.seams import Clock, Threads
from meshd.services.proxy.asked import Asked, Histories, account_of, read_asked
from meshd.services.proxy.bodies import Bodies
from meshd.services.proxy.entries import Entry, Reading, local_day, make_entry
from meshd.services.proxy.exchanges import Copy, Exchange, Room
from meshd.services.proxy.heads import Head, Whose
from meshd.services.proxy.retention import forget_histories, forget_requests
from meshd.services.proxy.store import add_entries, finish_under_way, note_under_way
from meshd.services.proxy.usage import Tokens
from meshd.services.proxy.writing import Writer

log = get_logger("proxy")

QUEUE: Final = 1024
"""Requests that wait to be read. Their bodies are bounded by themselves (exchanges.Room)."""
ENTRIES: Final = 24_576
"""Requests that were read and wait for the disk: what gathers during one commit is in the next. About 30 MB."""
LINKS: Final = 500_000
"""Hashes of their histories, all together: about as much again."""
BATCH: Final = 4_096
"""Requests of one transaction."""
READ_AT_ONCE: Final = 32
"""Between two turns of the event loop: one alone would fall behind many connections, all would hold them up."""
INLINE_BYTES: Final = 64 * 1024
"""Of a larger request the history is hashed in a thread: it takes milliseconds."""
UNDER_WAY_S: Final = 1.0
"""How often it is noted how far long requests have come."""
FORGET_S: Final = 3600.0
DAY_MS: Final = 86_400_000


@dataclass(slots=True)
class Counts:
    """Since the daemon's start. `lost`: requests of which nothing was recorded, and `trouble` why."""

    requests: int = 0
    recorded: int = 0
    lost: int = 0
    trouble: str = ""


class Recorder:
    """The witness of all relays. `run` records; `begin` and `done` never wait."""

    def __init__(
        self, db: Database, clock: Clock, threads: Threads, key: bytes, reading: Callable[[], Reading]
    ) -> None:
        self._db = db
        self._clock = clock
        self._threads = threads
        self._key = key
        self._reading = reading
        self._room = Room()
        self._histories = Histories()
        self._open: dict[int, Exchange] = {}
        self._noted: dict[int, Tokens] = {}
        self._send, self._receive = trio.open_memory_channel[Exchange](QUEUE)
        self._entries: list[tuple[int, Entry]] = []
        self._links = 0
        self._gathered = trio.Event()
        self._idle = trio.Event()
        self._working = 0
        self.counts = Counts()
        self._writer = Writer(db, "requests", self._lose)
        self.bodies: Bodies | None = None
        """Where they are to be stored."""
        self.history_days = 0
        """How long single requests are remembered; 0: for ever."""
        self._number = clock()  # so that no number is another daemon's

    @property
    def open_requests(self) -> int:
        return len(self._open)

    def begin(self, head: Head, target: bytes, whose: Whose) -> Exchange:
        self._number += 1
        self.counts.requests += 1
        copy = Copy(self._room, wanted=head.method == b"POST" and b"/messages" in target)
        exchange = Exchange(self._number, head, target, copy, trio.current_time(), self._clock(), whose)
        if self.bodies is not None:
            exchange.answer = self.bodies.copy(wanted=copy.wanted)
        self._open[exchange.number] = exchange
        return exchange

    def done(self, exchange: Exchange) -> None:
        self._open.pop(exchange.number, None)
        try:
            self._send.send_nowait(exchange)
            self._working += 1
        except (trio.WouldBlock, trio.ClosedResourceError, trio.BrokenResourceError):
            exchange.release()
            self._lose(1, "requests came faster than they could be recorded")

    async def run(self) -> None:
        """Record until cancelled; what the last daemon had under way comes first."""
        await self._writer.write(finish_under_way, 0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._note_long_ones)
            nursery.start_soon(self._forget)
            nursery.start_soon(self._write_entries)
            while True:
                await self._read(await self._receive.receive())
                for _ in range(READ_AT_ONCE):
                    try:
                        exchange = self._receive.receive_nowait()
                    except trio.WouldBlock:
                        break
                    await self._read(exchange)

    async def drained(self) -> None:
        """Wait until all that has ended is recorded or lost."""
        while self._working:
            self._idle = trio.Event()
            await self._idle.wait()

    async def _read(self, exchange: Exchange) -> None:
        try:
            entry = await self._make(exchange)
        except Exception as error:  # noqa: BLE001 - one request that cannot be read must not cost the others
            log.error("a request could not be read", error=error)  # noqa: TRY400 - its text may quote the request
            self._settle(1, "a request could not be read (see the log)")
        else:
            if len(self._entries) < ENTRIES and self._links + len(entry.chain) <= LINKS:
                self._entries.append((exchange.number, entry))
                self._links += len(entry.chain)
                self._gathered.set()
            else:
                self._settle(1, "requests came faster than the disk takes them")
        if self.bodies is not None and self.bodies.on and exchange.answer.wanted:
            self.bodies.take(exchange)
        else:
            exchange.release()

    async def _write_entries(self) -> None:
        while True:
            await self._gathered.wait()
            self._entries.sort(key=lambda each: each[0])
            entries = self._entries[:BATCH]
            del self._entries[:BATCH]
            self._links -= sum(len(entry.chain) for _, entry in entries)
            if not self._entries:
                self._gathered = trio.Event()
            if not entries:
                continue
            written = await self._writer.write(partial(add_entries, entries=entries), len(entries))
            self.counts.recorded += written or 0
            for number, _ in entries:
                self._noted.pop(number, None)
            self._settle(len(entries))

    def _settle(self, requests: int, lost: str = "") -> None:
        """So many are done with; `lost` says why nothing was recorded of them."""
        if lost:
            self._lose(requests, lost)
        self._working -= requests
        if not self._working:
            self._idle.set()

    async def _make(self, exchange: Exchange) -> Entry:
        return make_entry(exchange, await self._asked(exchange), self._reading())

    async def _asked(self, exchange: Exchange) -> Asked:
        body = exchange.asked.join() if exchange.asked.whole else None
        account = account_of(exchange.head, self._key)
        work = partial(read_asked, exchange.head, exchange.target, body, self._histories, account)
        if body is None or len(body) <= INLINE_BYTES:
            return work()
        return await self._threads(work)

    def _lose(self, requests: int, why: str) -> None:
        self.counts.lost += requests
        self.counts.trouble = why

    async def _note_long_ones(self) -> None:
        """So that a daemon that is killed has them counted: what the API has reported is spent."""
        while True:
            await trio.sleep(UNDER_WAY_S)
            entries = [
                (number, entry) for number, entry in self._under_way() if self._noted.get(number) != entry.tokens
            ]
            if entries and await self._writer.write(partial(note_under_way, entries=entries), 0) is not None:
                self._noted.update({number: entry.tokens for number, entry in entries if number in self._open})

    def _under_way(self) -> Iterator[tuple[int, Entry]]:
        """What goes on for longer than a moment, as far as it has come."""
        for exchange in list(self._open.values()):
            if trio.current_time() - exchange.began < UNDER_WAY_S or exchange.account is None:
                continue
            # Without its history: the copy may not be complete, and hashing it again and again would cost.
            account = account_of(exchange.head, self._key)
            asked = read_asked(exchange.head, exchange.target, None, self._histories, account)
            try:
                entry = make_entry(exchange, asked, self._reading())
            except Exception as error:  # noqa: BLE001 - it is read once more when it has ended
                log.error("a request under way could not be read", error=error)  # noqa: TRY400 - it may quote it
                continue
            yield exchange.number, msgspec.structs.replace(entry, partial=True)

    async def _forget(self) -> None:
        while True:
            await self._writer.write(partial(forget_histories, now_ms=self._clock()), 0)
            if self.history_days:
                await self.forget(self._clock() - self.history_days * DAY_MS)
            await trio.sleep(FORGET_S)

    async def forget(self, before_ms: int) -> int:
        """Delete the single requests of the days before that moment's; the sums by day stay. Returns how many."""
        count = 0
        while gone := await self._writer.write(partial(forget_requests, before_day=local_day(before_ms)), 0):
            count += gone
        if count:
            self._db.cut_log()
        return count
