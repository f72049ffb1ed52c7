"""One database on a disk that loses its power, and its twin in memory that knows what it must hold.

The twin does the same pieces of work, but only those whose commit was acknowledged. What a cut interrupted is one
commit: afterwards the database equals the twin, or the twin with that whole commit, and nothing between.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Protocol, TypeVar

import apsw

from mesh_protocol.io import sqlite
from mesh_protocol.io.sqlite import Database, Pending, StorageFailed
from mesh_protocol.wire.errors import MeshError
from world.disk import Disk
from world.power import PowerDisk

T = TypeVar("T")

Work = Callable[[apsw.Connection], object]

MOST_AT_ONCE = 12
"""Pieces of work in one commit."""


class Lost(AssertionError):
    """The database is not what was promised."""


class WatchedDatabase(Database):
    """Remembers what was submitted since it was last asked."""

    submitted: list[tuple[Work, Pending[object]]]

    def submit(self, work: Callable[[apsw.Connection], T]) -> Pending[T]:
        pending = super().submit(work)
        self.submitted.append((work, pending))  # type: ignore[arg-type]  # nobody looks at the result
        return pending


class Load(Protocol):
    """What one kind of database is used for."""

    application_id: int
    migrations: Sequence[str]

    def begin(self, database: Database) -> None:
        """Called with each newly opened database; what it submits is part of the load."""

    def step(self, database: Database, chance: random.Random) -> None:
        """Submit one random piece of work."""

    def acknowledged(self) -> None:
        """What was submitted so far is durable."""

    def forgotten(self) -> None:
        """What was submitted since the last acknowledgement did not happen."""

    def judge(self, connection: apsw.Connection) -> None:
        """Raise `Lost` when an acknowledged fact is missing, or when half of something is there."""


@dataclass
class Tally:
    """What happened so far."""

    cuts: int = 0
    while_opening: int = 0
    kills: int = 0
    failed_syncs: int = 0
    full_disks: int = 0
    commits: int = 0
    works: int = 0
    kept_unacknowledged: int = 0
    lost_commits: int = 0
    runs_with_loss: int = 0


@dataclass
class Rig:
    """`normal`: with `synchronous=NORMAL`, under which commits must get lost, or this harness would see nothing."""

    folder: Path
    load: Load
    chance: random.Random
    tally: Tally
    normal: bool = False
    disk: PowerDisk = field(init=False)
    twin: apsw.Connection = field(init=False)
    _history: list[bytes] = field(default_factory=list)
    """What the twin was after each commit, under `normal`."""
    _unknown: list[Work] = field(default_factory=list)
    """The batch that the end interrupted."""
    _fails_at: int | None = None
    """The number of changes from which on a sync fails."""
    _worker: Disk = field(default_factory=Disk)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.disk = PowerDisk(self.chance)
        self.twin = self._fresh_twin()

    def close(self) -> None:
        self.twin.close()
        self.disk.close()

    def live_and_die(self, most_changes: int) -> None:
        """Open, work, lose the power at a random change, and look at what is left. Now and then the program was killed
        before, or died of a failed fsync, and what it left behind is worked on until the cut."""
        if not self.normal:
            self._die_otherwise()
        self.disk.cut(after=self.chance.randint(1, most_changes), in_sync=self.chance.random() < 0.3)
        self._live()
        self.tally.cuts += 1

    def _die_otherwise(self) -> None:
        after = self.chance.randint(1, 400)
        match self.chance.choice(("", "", "kill", "fsync")):
            case "kill":
                self.disk.kill(after=after)
                self._live()
                self.tally.kills += 1
            case "fsync":
                self._fails_at = self.disk.changes + after
                self._live()
                self.tally.failed_syncs += 1
                self._fails_at = None

    def _live(self) -> None:
        with self._opened() as database:
            if database is None:
                self.tally.while_opening += 1
            else:
                self._work_until_dead(database)
            if self._fails_at is not None and self.chance.random() < 0.5:
                self.disk.kill()  # so that it does not even close its files in good order
        self.disk.restore()
        with self._opened() as database:
            assert database is not None
            self._judge(database)

    @contextmanager
    def _opened(self) -> Iterator[WatchedDatabase | None]:
        """None when the power goes while it is being opened."""
        self._worker = Disk()
        database = self._open()
        if database is None:
            yield None
            return
        database.submitted = []
        if self.normal:
            database._writer.execute("PRAGMA synchronous=NORMAL")
        try:
            yield database
        finally:
            database.close()

    def _open(self) -> WatchedDatabase | None:
        with self.disk.hushed():
            try:
                return WatchedDatabase(
                    self.folder / "x.db",
                    application_id=self.load.application_id,
                    migrations=self.load.migrations,
                    worker=self._worker,
                    vfs=self.disk.name,
                )
            except (apsw.Error, StorageFailed):
                if self.disk.on:
                    raise
                return None

    def _work_until_dead(self, database: WatchedDatabase) -> None:
        self.load.begin(database)
        self._settle(database)
        while not database.failure.is_set():
            if self._fails_at is not None and self.disk.changes >= self._fails_at:
                self.disk.fail_syncs()
            self.disk.full = self.chance.random() < 0.02
            self._worker.hold()
            for _ in range(self.chance.randint(1, MOST_AT_ONCE)):
                self.load.step(database, self.chance)
            self._worker.release()
            self._settle(database)

    def _settle(self, database: WatchedDatabase) -> None:
        """Let the twin do what was acknowledged. The batch that was not is left in `_unknown`."""
        done, database.submitted = database.submitted, []
        if not done:
            return
        errors = [pending._error for _, pending in done]
        if any(isinstance(error, StorageFailed) for error in errors):
            assert not self.disk.on or self._fails_at is not None, f"it failed for no reason: {errors}"
            self._unknown = [work for work, _ in done]
            return
        if any(isinstance(error, MeshError) and error.code == "storage_full" for error in errors):
            assert self.disk.full, f"there was room: {errors}"
            self.tally.full_disks += 1
            self.load.forgotten()
            return
        with self.twin:
            for work, _ in done:
                run_kept(self.twin, work)
        self.load.acknowledged()
        self.tally.commits += 1
        self.tally.works += len(done)
        if self.normal:
            self._history.append(fingerprint(self.twin))

    def _judge(self, database: WatchedDatabase) -> None:
        connection = database.reader
        check = connection.pragma("integrity_check")
        if check != "ok":
            raise Lost(f"the database is broken: {check}")
        found = fingerprint(connection)
        unknown, self._unknown = self._unknown, []
        if found == fingerprint(self.twin):
            self.load.forgotten()
        elif unknown and self._equals_with(unknown, found):
            self.load.acknowledged()
            self.tally.kept_unacknowledged += 1
        elif self.normal:
            self._count_loss(found)
            return
        else:
            raise Lost(f"after {self.tally.commits} commits the database holds neither what was promised nor one more")
        self.load.judge(connection)

    def _equals_with(self, works: Sequence[Work], found: bytes) -> bool:
        """Whether the twin and the whole interrupted commit make `found`; if so the twin keeps it."""
        self.twin.execute("SAVEPOINT unknown")
        for work in works:
            run_kept(self.twin, work)
        same = fingerprint(self.twin) == found
        if not same:
            self.twin.execute("ROLLBACK TO unknown")
        self.twin.execute("RELEASE unknown")
        return same

    def _count_loss(self, found: bytes) -> None:
        """Without an fsync a commit an older state may come back, but never a mixture."""
        empty = fingerprint(self._fresh_twin())
        states = [empty, *self._history]
        if found not in states:
            raise Lost("the database holds what it never held")
        self.tally.lost_commits += len(states) - 1 - states.index(found)
        self.tally.runs_with_loss += 1

    def _fresh_twin(self) -> apsw.Connection:
        twin = apsw.Connection(":memory:")
        for script in self.load.migrations:
            for _ in twin.execute(script):
                pass
        return twin


def run_kept(connection: apsw.Connection, work: Work) -> None:
    """As `Database` does it: what a piece of work refuses is undone, and its neighbours stay."""
    connection.execute("SAVEPOINT one")
    try:
        work(connection)
    except MeshError:
        connection.execute("ROLLBACK TO one")
    connection.execute("RELEASE one")


def fingerprint(connection: apsw.Connection) -> bytes:
    """Every row of every table, in one hash."""
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type='table' ORDER BY name")]
    told = sha256()
    for table in tables:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        told.update(table.encode())
        for row in connection.execute(f"SELECT * FROM {table} ORDER BY {','.join(columns)}"):
            told.update(repr(row).encode())
    return told.digest()


@contextmanager
def small_checkpoints(pages: int) -> Iterator[None]:
    """The log is moved into the database every so many pages, so that cuts fall into that too."""
    before = sqlite.CHECKPOINT_PAGES
    sqlite.CHECKPOINT_PAGES = pages  # type: ignore[misc]
    try:
        yield
    finally:
        sqlite.CHECKPOINT_PAGES = before  # type: ignore[misc]


def run_cuts(
    make: Callable[[], Load], folder: Path, seed: int, cuts: int, *, normal: bool = False, lives: int = 20
) -> Tally:
    """So many power cuts, `lives` of each database. Raises `Lost` with the seed that repeats it."""
    chance = random.Random(seed)
    tally = Tally()
    place = 0
    while tally.cuts < cuts:
        place += 1
        rig = Rig(folder / f"{seed}-{place}", make(), chance, tally, normal)
        try:
            with small_checkpoints(chance.choice((5, 40, 200))):
                for _ in range(1 if normal else min(lives, cuts - tally.cuts)):
                    rig.live_and_die(chance.choice((60, 400, 2000)))
        except Lost as error:
            raise Lost(f"{error} (seed {seed}, cut {tally.cuts}, place {place})") from error
        finally:
            rig.close()
    return tally
