"""The disk that loses its power: what it keeps, what it loses, and that the same seed does the same damage."""

import random
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from mesh_protocol.io.sqlite import Database
from world.disk import Disk
from world.power import SECTOR, PowerDisk

APPLICATION = 7
TABLE = "CREATE TABLE fact(n INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT"


class Shelf:
    """One database on one such disk, opened anew after each end."""

    def __init__(self, folder: Path, seed: int = 1) -> None:
        self.disk = PowerDisk(random.Random(seed))
        self.path = folder / "x.db"
        self.database: Database | None = None
        self.open()

    def open(self) -> None:
        with self.disk.hushed():
            self.database = Database(
                self.path, application_id=APPLICATION, migrations=[TABLE], worker=Disk(), vfs=self.disk.name
            )

    def reopen(self) -> None:
        self.shut()
        self.disk.restore()
        self.open()

    def shut(self) -> None:
        assert self.database is not None
        self.database.close()
        self.database = None

    def put(self, number: int, size: int = 100) -> bool:
        """Whether it is durable, as its writer was told."""
        assert self.database is not None
        pending = self.database.submit(lambda tx: _insert(tx, number, size))
        return pending.succeeded

    def numbers(self) -> list[int]:
        assert self.database is not None
        assert self.database.reader.pragma("integrity_check") == "ok"
        return [row[0] for row in self.database.reader.execute("SELECT n FROM fact ORDER BY n")]

    def close(self) -> None:
        if self.database is not None:
            self.shut()
        self.disk.close()


def _insert(tx: apsw.Connection, number: int, size: int) -> None:
    tx.execute("INSERT INTO fact VALUES(?, ?)", (number, bytes(size)))


def _delete_first(tx: apsw.Connection) -> None:
    tx.execute("DELETE FROM fact WHERE n < 5")


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    made.close()


def test_a_database_works_on_it_with_its_log_and_two_connections(shelf: Shelf) -> None:
    assert all(shelf.put(n, 5000) for n in range(50))
    assert shelf.numbers() == [*range(50)]
    assert Path(f"{shelf.path}-wal").stat().st_size > 50 * 5000


def test_what_was_fsynced_is_there_after_a_cut(shelf: Shelf) -> None:
    for n in range(20):
        assert shelf.put(n)
        shelf.disk.cut()
        shelf.reopen()
        assert shelf.numbers() == [*range(n + 1)]


def test_without_fsync_something_is_lost(shelf: Shelf) -> None:
    lost = 0
    for n in range(40):
        assert shelf.database is not None
        shelf.database._writer.execute("PRAGMA synchronous=NORMAL")
        assert shelf.put(n)
        shelf.disk.cut()
        shelf.reopen()
        lost += n not in shelf.numbers()
    assert 5 < lost < 40, "each of them must be possible"


def test_nothing_works_any_more_once_the_power_is_cut_and_nobody_is_told_otherwise(shelf: Shelf) -> None:
    shelf.disk.cut()
    assert not shelf.put(1)
    assert shelf.database is not None
    assert shelf.database.failure.is_set()
    shelf.reopen()
    assert shelf.numbers() == []
    assert shelf.put(1)


def test_a_cut_comes_at_the_very_change_it_was_ordered_for(shelf: Shelf) -> None:
    before = shelf.disk.changes
    shelf.disk.cut(after=10)
    while shelf.disk.on:
        shelf.put(shelf.disk.changes)
    assert shelf.disk.changes == before + 10


def test_a_kill_keeps_what_the_kernel_has_and_a_later_cut_may_lose_it(tmp_path: Path) -> None:
    kept = lost = 0
    for seed in range(30):
        folder = tmp_path / str(seed)
        folder.mkdir()
        shelf = Shelf(folder, seed)
        assert shelf.database is not None
        shelf.database._writer.execute("PRAGMA synchronous=OFF")
        assert shelf.put(1)
        shelf.disk.kill()
        shelf.shut()
        assert Path(f"{shelf.path}-wal").stat().st_size > 0, "a killed process moves no log"
        shelf.disk.restore()
        shelf.disk.cut()
        shelf.disk.restore()
        shelf.open()
        kept += shelf.numbers() == [1]
        lost += shelf.numbers() == []
        shelf.close()
    assert kept
    assert lost
    assert kept + lost == 30


def test_a_file_that_no_sync_made_known_may_vanish(tmp_path: Path) -> None:
    found = set()
    for seed in range(20):
        disk = PowerDisk(random.Random(seed))
        path = tmp_path / f"{seed}.db"
        connection = apsw.Connection(str(path), vfs=disk.name)
        connection.pragma("synchronous", 0)
        connection.execute(TABLE)
        disk.cut()
        connection.close()
        disk.restore()
        found.add(path.exists())
        disk.close()
    assert found == {True, False}


def test_pages_are_torn_at_sectors(tmp_path: Path) -> None:
    torn = False
    for seed in range(30):
        disk = PowerDisk(random.Random(seed))
        path = tmp_path / f"{seed}.db"
        path.write_bytes(b"")
        connection = apsw.Connection(str(path), vfs=disk.name)
        connection.pragma("synchronous", 0)
        connection.pragma("journal_mode", "off")
        connection.execute("CREATE TABLE t(x)")
        connection.execute("INSERT INTO t VALUES(?)", (b"\xee" * 20_000,))
        disk.cut()
        connection.close()
        disk.restore()
        content = path.read_bytes() if path.exists() else b""
        sectors = [content[place : place + SECTOR] for place in range(0, len(content), SECTOR)]
        full = sum(sector == b"\xee" * SECTOR for sector in sectors)
        assert all(sector.count(0xEE) != SECTOR or sector == b"\xee" * SECTOR for sector in sectors)
        torn = torn or 0 < full < 30
        disk.close()
    assert torn


def test_a_failed_fsync_ends_the_database_and_what_it_was_for_is_not_promised(shelf: Shelf) -> None:
    assert shelf.put(1)
    shelf.disk.fail_syncs()
    assert not shelf.put(2)
    assert not shelf.put(3), "nothing is retried on the same handle"
    shelf.reopen()
    assert shelf.numbers() in ([1], [1, 2])


@pytest.mark.parametrize("in_good_order", [True, False])
def test_what_is_promised_after_a_failed_fsync_and_a_restart_survives_a_cut(
    tmp_path: Path, in_good_order: bool
) -> None:
    """The kernel counts the pages of the failed fsync as written: what is put behind them in the log would go with them."""
    for seed in range(40):
        folder = tmp_path / str(seed)
        folder.mkdir()
        shelf = Shelf(folder, seed)
        promised = {n for n in range(3) if shelf.put(n)}
        shelf.disk.fail_syncs()
        assert not shelf.put(10)
        if not in_good_order:
            shelf.disk.kill()
        shelf.reopen()
        promised |= {n for n in range(20, 23) if shelf.put(n)}
        shelf.disk.cut()
        shelf.reopen()
        assert promised <= set(shelf.numbers())
        shelf.close()


def test_an_old_log_that_comes_back_after_a_failed_fsync_does_no_harm(tmp_path: Path) -> None:
    """Moved into the database and deleted, but no sync of the folder told the disk: its last pages, of the failed fsync,
    are in the database and not in the log that a cut brings back."""
    for seed in range(60):
        folder = tmp_path / str(seed)
        folder.mkdir()
        shelf = Shelf(folder, seed)
        assert all(shelf.put(n, 3000) for n in range(8))
        shelf.reopen()
        assert shelf.put(8, 3000)
        shelf.disk.fail_syncs()
        assert shelf.database is not None
        assert not shelf.database.submit(_delete_first).succeeded
        shelf.disk.kill()
        shelf.reopen()
        found = shelf.numbers()
        assert found in ([*range(9)], [*range(5, 9)])
        shelf.shut()
        shelf.disk.cut()
        shelf.disk.restore()
        shelf.open()
        assert shelf.numbers() == found
        shelf.close()


def test_a_full_disk_refuses_and_goes_on_when_there_is_room(shelf: Shelf) -> None:
    assert shelf.put(1)
    shelf.disk.full = True
    assert not shelf.put(2, 50_000)
    assert shelf.database is not None
    assert not shelf.database.failure.is_set()
    shelf.disk.full = False
    assert shelf.put(3)
    assert shelf.numbers() == [1, 3]


def test_a_read_that_fails_is_told(shelf: Shelf) -> None:
    assert all(shelf.put(n, 4000) for n in range(5))
    shelf.reopen()
    shelf.disk.fail_reads(100)
    with pytest.raises(apsw.IOError):
        shelf.numbers()
    shelf.disk.fail_reads(0)
    assert shelf.numbers() == [*range(5)]


def test_a_backup_that_came_back_is_taken_as_it_is(shelf: Shelf) -> None:
    assert shelf.put(1)
    shelf.shut()
    backup = shelf.path.read_bytes()
    shelf.open()
    assert shelf.put(2)
    shelf.shut()
    shelf.path.write_bytes(backup)
    shelf.disk.forget()
    shelf.open()
    assert shelf.numbers() == [1]
    shelf.disk.cut()
    shelf.reopen()
    assert shelf.numbers() == [1]


def test_the_same_seed_does_the_same_damage(tmp_path: Path) -> None:
    def damage(folder: Path) -> list[list[int]]:
        folder.mkdir()
        shelf = Shelf(folder, 5)
        found = []
        for place in range(10):
            assert shelf.database is not None
            shelf.database._writer.execute("PRAGMA synchronous=OFF")
            for n in range(5):
                shelf.put(100 * place + n, 700)
            shelf.disk.cut()
            shelf.reopen()
            found.append(shelf.numbers())
        shelf.close()
        return found

    assert damage(tmp_path / "one") == damage(tmp_path / "two")
