"""SQLite as the daemon and the broker use it: one writer with group commit, one connection for bounded reads.

`journal_mode=WAL, synchronous=FULL`: a COMMIT that returned is on the disk. The writer takes what is queued, runs each
piece of work under a savepoint of its own, commits once and then wakes all callers; while a commit runs the next batch
gathers, and an idle writer commits at once (no timer). After a failed fsync nothing is retried on the same handle: the
database is dead and its owner must exit.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

import apsw
import trio

from mesh_protocol.crashpoints import Reached, unnoticed
from mesh_protocol.io.wal import cut_log, error_code, found_no_room, move_log, rewrite_log
from mesh_protocol.wire.errors import MeshError

T = TypeVar("T")

MAX_BATCH: Final = 256
PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA wal_autocheckpoint=0",  # the writer does it: SQLite's own would hide a failed fsync of the database file
    "PRAGMA busy_timeout=5000",
    "PRAGMA foreign_keys=ON",
    "PRAGMA trusted_schema=OFF",
    "PRAGMA cell_size_check=ON",
    "PRAGMA secure_delete=ON",
    "PRAGMA fullfsync=ON",  # macOS: fsync alone does not reach the platter; ignored elsewhere
)

CHECKPOINT_PAGES: Final = 1000
"""Pages in the log after which a commit is followed by a checkpoint (SQLite's own default)."""

# What says that the file or the disk is broken, whichever work met it.
_BROKEN: Final = (apsw.FullError, apsw.IOError, apsw.CorruptError, apsw.NotADBError)


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

    __slots__ = ("_callbacks", "_error", "_event", "_result", "_work")

    def __init__(self, work: Callable[[apsw.Connection], T]) -> None:
        self._work = work
        self._event = trio.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._result: list[T] = []
        self._error: BaseException | None = None

    async def wait(self) -> T:
        await self._event.wait()
        if self._error is not None:
            raise self._error
        return self._result[0]

    @property
    def succeeded(self) -> bool:
        """It is durable: `wait` returns at once."""
        return self._event.is_set() and self._error is None

    @property
    def failed(self) -> bool:
        """It has failed. Known in the writer before any later work runs."""
        return self._error is not None

    @property
    def result(self) -> T:
        """What it returned, once it has `succeeded`."""
        return self._result[0]

    def settled(self, callback: Callable[[], None]) -> None:
        """Call `callback` in the event loop when it is durable or has failed; at once if it is decided already.

        For what must follow a commit even if whoever asked for it has gone. It must not raise.
        """
        if self._event.is_set():
            callback()
        else:
            self._callbacks.append(callback)

    def _finish(self) -> None:
        del self._work  # with all that it holds
        self._event.set()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def _run(self, connection: apsw.Connection) -> None:
        self._error = None  # of an earlier try
        self._result = [self._work(connection)]

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self._result = []


class Database:
    """One SQLite file (mode 0600). Open it inside the event loop; close it when the program ends.

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
        reached: Reached = unnoticed,
    ) -> None:
        self.path = path
        self._reached = reached
        self._worker = worker
        self._queue: deque[Pending[object]] = deque()
        self._failed: str | None = None  # why; each caller gets an exception of its own
        self._closed = False
        self._committing = False
        self._log_pages = 0
        self._cutting = False
        self.commits = 0
        """COMMITs so far: what a benchmark counts."""
        self.failure = trio.Event()
        """Set when the database is dead: whoever owns it must exit."""
        if vfs is None:
            path.touch(mode=0o600)  # the log and its index are given the same mode
        self._writer = apsw.Connection(str(path), vfs=vfs)
        try:
            _check_identity(self._writer, application_id, len(migrations))
            rewrite_log(path, vfs)
            _configure(self._writer)
            _migrate(self._writer, application_id, migrations, reached)
            self.reader = apsw.Connection(str(path), vfs=vfs)
            """For bounded reads in the event loop. It sees every commit whose `Pending.wait` has returned."""
            _configure(self.reader)
        except BaseException:
            self._writer.close()
            raise
        self.reader.pragma("query_only", 1)
        self._writer.set_wal_hook(self._note_log)
        self._writer.set_commit_hook(lambda: not self._committing)  # work that commits would commit its neighbours'
        worker.start(self._drain)

    def submit(self, work: Callable[[apsw.Connection], T]) -> Pending[T]:
        """Queue `work` behind all that was queued before. It runs in another thread: it must touch only the connection.

        It may run twice, when a neighbour in its batch undid them all.
        """
        pending = Pending(work)
        if self._failed is not None or self._closed:
            pending._fail(StorageFailed(self._failed or f"{self.path.name}: closed"))
            pending._finish()
            return pending
        self._queue.append(pending)  # type: ignore[arg-type]  # the queue does not look at results
        self._worker.kick()
        return pending

    async def write(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work` in a transaction and return its result when it is on the disk.

        Raises what `work` raised (nothing of it is kept), `MeshError("storage_full")`, or `StorageFailed`.
        """
        return await self.submit(work).wait()

    def cut_log(self) -> None:
        """Soon, and after all that is queued: make the log empty, so that what was deleted is on the disk no more."""
        if self._failed is None and not self._closed:
            self._cutting = True
            self._worker.kick()

    def close(self) -> None:
        """Finish what is queued, then close both connections. What is submitted later fails."""
        self._closed = True
        self._worker.stop()
        try:
            self.reader.close()
            self._writer.close()
        except apsw.Error:
            if self._failed is None:
                raise

    # In the worker.

    def _drain(self) -> None:
        while self._queue and self._failed is None:
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_BATCH))]
            self._commit(batch)
            self._worker.wake(partial(_finish, batch))
            self._checkpoint()
        if self._cutting and self._failed is None:
            self._cut()
        if self._failed is not None and self._queue:
            rest = [self._queue.popleft() for _ in range(len(self._queue))]
            for pending in rest:
                pending._fail(StorageFailed(self._failed))
            self._worker.wake(partial(_finish, rest))

    def _commit(self, batch: list[Pending[object]]) -> None:
        while batch:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                undoer = next((pending for pending in batch if not self._keeps(pending)), None)
                if undoer is None:
                    self._committing = True
                    self._writer.execute("COMMIT")
                    self.commits += 1
                    return
            except BaseException as error:  # noqa: BLE001 - a thread that dies would leave everybody waiting
                self._abandon(batch, error)
                return
            finally:
                self._committing = False
            batch = [pending for pending in batch if pending is not undoer]

    def _keeps(self, pending: Pending[object]) -> bool:
        """Run one piece of work; False when it undid the whole transaction, its neighbours' work with it."""
        # By hand: SQLite ends the whole transaction when there is no room, and apsw's context manager would then hide
        # that behind an error about its savepoint.
        connection = self._writer
        connection.execute("SAVEPOINT work")
        try:
            pending._run(connection)
        except _BROKEN:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the caller
            pending._fail(error)
        try:
            if pending._error is not None:
                connection.execute("ROLLBACK TO work")
            connection.execute("RELEASE work")
        except apsw.SQLError as error:  # no such savepoint: the transaction around it is gone
            pending._fail(pending._error or error)
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            return False
        return True

    def _abandon(self, batch: list[Pending[object]], error: BaseException) -> None:
        recoverable = found_no_room(error)
        try:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        except apsw.Error:
            recoverable = False
        if not recoverable:
            self._die(error)
        for pending in batch:
            pending._fail(StorageFailed(self._failed) if self._failed is not None else MeshError("storage_full"))

    def _die(self, error: BaseException) -> None:
        self._failed = f"{self.path.name}: {type(error).__name__} {error_code(error)}"
        self._worker.wake(self.failure.set)

    def _note_log(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def _cut(self) -> None:
        self._reached("FP-15")
        try:
            self._cutting = not cut_log(self._writer)  # a reader in the way: tried again after the next commit
        except BaseException as error:  # noqa: BLE001 - as in `_commit`
            self._die(error)

    def _checkpoint(self) -> None:
        # After the callers were woken: it costs two fsyncs, and what it moves is durable in the log already.
        if self._failed is not None or self._log_pages < CHECKPOINT_PAGES:
            return
        self._log_pages = 0
        self._reached("FP-15")
        try:
            move_log(self._writer)
        except BaseException as error:  # noqa: BLE001 - as in `_commit`
            self._die(error)


def _finish(batch: Sequence[Pending[object]]) -> None:
    for pending in batch:
        pending._finish()


def _check_identity(connection: apsw.Connection, application_id: int, newest: int) -> None:
    """Before anything is written: another program's file stays as it is."""
    try:
        version = int(connection.pragma("user_version"))
        found = int(connection.pragma("application_id"))
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    except apsw.NotADBError:
        raise WrongDatabase("this file is not a database") from None
    if (version or found or tables) and found != application_id:
        raise WrongDatabase("this file belongs to another program")
    if version > newest:
        raise WrongDatabase(f"this file has version {version}, this program knows up to {newest}: update it")


def _configure(connection: apsw.Connection) -> None:
    for pragma in PRAGMAS:
        connection.execute(pragma)
    if connection.pragma("journal_mode") != "wal":
        raise StorageFailed("this disk cannot hold a write-ahead log: use a local one")


def _migrate(connection: apsw.Connection, application_id: int, migrations: Sequence[str], reached: Reached) -> None:
    for number in range(int(connection.pragma("user_version")), len(migrations)):
        with connection:
            for _ in connection.execute(migrations[number]):
                pass  # a statement that returns rows would hold up those after it
            reached("FP-16")
            connection.pragma("user_version", number + 1)
            connection.pragma("application_id", application_id)
