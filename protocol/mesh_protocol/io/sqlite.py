"""SQLite as the daemon and the broker use it: one writer with group commit, one connection for bounded reads.

`journal_mode=WAL, synchronous=FULL`: a COMMIT that returned is on the disk. The writer takes what is queued, runs each
piece of work under a savepoint of its own, commits once and then wakes all callers; while a commit runs the next batch
gathers, and an idle writer commits at once (no timer). After a failed fsync nothing is retried on the same handle: the
database is dead and its owner must exit.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

import apsw
import trio

from mesh_protocol.wire.errors import MeshError

T = TypeVar("T")

MAX_BATCH: Final = 256
PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA wal_autocheckpoint=1000",
    "PRAGMA busy_timeout=5000",
    "PRAGMA foreign_keys=ON",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA cell_size_check=ON",
    "PRAGMA secure_delete=ON",
    "PRAGMA fullfsync=ON",  # macOS: fsync alone does not reach the platter; ignored elsewhere
)

# A write that found no room fails before anything reached the log's end: rolled back, the database is as it was.
_NO_ROOM: Final = frozenset({apsw.SQLITE_FULL, apsw.SQLITE_IOERR_WRITE})


class StorageFailed(Exception):
    """The database cannot be trusted to hold what it is told; the process must end (exit status 70)."""


class WrongDatabase(Exception):
    """The file is another program's, or of a newer version of this one."""


class Worker(Protocol):
    """Where a database's writing happens: a thread outside, inline in the simulator."""

    def start(self, drain: Callable[[], None]) -> None:
        """Call `drain` after each `kick`, never twice at once."""

    def kick(self) -> None:
        """There is work. May be called from the event loop only."""

    def wake(self, callback: Callable[[], None]) -> None:
        """Run `callback` in the event loop. Called from within `drain`."""

    def stop(self) -> None:
        """Finish what is queued and end."""


class ThreadWorker:
    """One thread for one database."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._signal = threading.Semaphore(0)
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._token: trio.lowlevel.TrioToken | None = None

    def start(self, drain: Callable[[], None]) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.Thread(target=self._loop, args=(drain,), name=self._name, daemon=True)
        self._thread.start()

    def _loop(self, drain: Callable[[], None]) -> None:
        while True:
            self._signal.acquire()
            drain()
            if self._stopping:
                return

    def kick(self) -> None:
        self._signal.release()

    def wake(self, callback: Callable[[], None]) -> None:
        assert self._token is not None
        try:
            self._token.run_sync_soon(callback)
        except trio.RunFinishedError:
            return  # the program ends; nobody waits any more

    def stop(self) -> None:
        self._stopping = True
        self._signal.release()
        if self._thread is not None:
            self._thread.join(timeout=10)


class InlineWorker:
    """Writes in the event loop, before `kick` returns: one seed, one history."""

    def __init__(self) -> None:
        self._drain: Callable[[], None] = lambda: None

    def start(self, drain: Callable[[], None]) -> None:
        self._drain = drain

    def kick(self) -> None:
        self._drain()

    def wake(self, callback: Callable[[], None]) -> None:
        callback()

    def stop(self) -> None:
        self._drain()


class Pending(Generic[T]):
    """Work that was queued. `wait` returns its result once it is durable, or raises what it raised."""

    __slots__ = ("_done", "_error", "_event", "_result", "_work")

    def __init__(self, work: Callable[[apsw.Connection], T]) -> None:
        self._work = work
        self._event = trio.Event()
        self._done = False
        self._result: list[T] = []
        self._error: BaseException | None = None

    async def wait(self) -> T:
        await self._event.wait()
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _run(self, connection: apsw.Connection) -> None:
        with connection:  # a savepoint inside the batch's transaction
            self._result = [self._work(connection)]

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._result = []


class Database:
    """One SQLite file. Open it inside the event loop; close it when the program ends.

    `migrations` are SQL scripts; entry n brings `user_version` from n to n+1, in one transaction with the number.
    """

    def __init__(
        self,
        path: Path,
        *,
        application_id: int,
        migrations: Sequence[str],
        worker: Worker,
        vfs: str | None = None,
    ) -> None:
        self.path = path
        self._worker = worker
        self._queue: deque[Pending[object]] = deque()
        self._failed: StorageFailed | None = None
        self.commits = 0
        """COMMITs so far: what a benchmark counts."""
        self._writer = _connect(path, vfs)
        _migrate(self._writer, application_id, migrations)
        self.reader = _connect(path, vfs)
        """For bounded reads in the event loop. It sees every commit whose `Pending.wait` has returned."""
        self.reader.pragma("query_only", 1)
        self.failure = trio.Event()
        """Set when the database is dead: whoever owns it must exit."""
        worker.start(self._drain)

    def submit(self, work: Callable[[apsw.Connection], T]) -> Pending[T]:
        """Queue `work` behind all that was queued before. It runs in another thread: it must touch only the connection."""
        pending = Pending(work)
        if self._failed is not None:
            pending._fail(self._failed)
            pending._event.set()
            return pending
        self._queue.append(pending)  # type: ignore[arg-type]  # the queue does not look at results
        self._worker.kick()
        return pending

    async def write(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work` in a transaction and return its result when it is on the disk.

        Raises what `work` raised (nothing of it is kept), `MeshError("storage_full")`, or `StorageFailed`.
        """
        return await self.submit(work).wait()

    def close(self) -> None:
        """Finish what is queued, then close both connections."""
        self._worker.stop()
        self.reader.close()
        self._writer.close()

    # In the worker.

    def _drain(self) -> None:
        while self._queue and self._failed is None:
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH))]
            self._commit(batch)
            self._worker.wake(lambda batch=batch: _finish(batch))  # type: ignore[misc]
        if self._failed is not None and self._queue:
            batch = list(self._queue)
            self._queue.clear()
            for pending in batch:
                pending._fail(self._failed)
            self._worker.wake(lambda: _finish(batch))

    def _commit(self, batch: list[Pending[object]]) -> None:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for pending in batch:
                self._run_one(pending)
            self._writer.execute("COMMIT")
            self.commits += 1
        except apsw.Error as error:
            self._abandon(batch, error)

    def _run_one(self, pending: Pending[object]) -> None:
        try:
            pending._run(self._writer)
        except (apsw.FullError, apsw.IOError):
            raise
        except Exception as error:
            pending._fail(error)
            if not self._writer.in_transaction:
                raise apsw.AbortError("the batch was rolled back") from error

    def _abandon(self, batch: list[Pending[object]], error: apsw.Error) -> None:
        code = getattr(error, "extendedresult", getattr(error, "result", 0))
        recoverable = code in _NO_ROOM or code & 0xFF == apsw.SQLITE_FULL or isinstance(error, apsw.AbortError)
        try:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        except apsw.Error:
            recoverable = False
        for pending in batch:
            if recoverable:
                pending._fail(MeshError("storage_full"))
            else:
                pending._fail(StorageFailed(f"{self.path.name}: {type(error).__name__} {code}"))
        if not recoverable:
            self._failed = StorageFailed(f"{self.path.name}: {type(error).__name__} {code}")
            self._worker.wake(self.failure.set)


def _finish(batch: Sequence[Pending[object]]) -> None:
    for pending in batch:
        pending._event.set()


def _connect(path: Path, vfs: str | None) -> apsw.Connection:
    connection = apsw.Connection(str(path), vfs=vfs) if vfs else apsw.Connection(str(path))
    for pragma in PRAGMAS:
        connection.execute(pragma)
    return connection


def _migrate(connection: apsw.Connection, application_id: int, migrations: Sequence[str]) -> None:
    version = int(connection.pragma("user_version"))
    found = int(connection.pragma("application_id"))
    if (version or found) and found != application_id:
        raise WrongDatabase("this file belongs to another program")
    if version > len(migrations):
        raise WrongDatabase(f"this file has version {version}, this program knows up to {len(migrations)}: update it")
    for number in range(version, len(migrations)):
        with connection:
            connection.execute(migrations[number])
            connection.execute(f"PRAGMA user_version={number + 1}")
            connection.execute(f"PRAGMA application_id={application_id}")
