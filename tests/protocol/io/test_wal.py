"""The log that a dead process left, and the failures that leave a log as it was."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from mesh_protocol.io.wal import error_code, found_no_room, move_log, rewrite_log


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Path]:
    """A database as it lies on the disk while a process that wrote to it dies."""
    alive = tmp_path / "alive.db"
    connection = apsw.Connection(str(alive))
    connection.execute("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE fact(n)").fetchall()
    for number in range(300):
        connection.execute("INSERT INTO fact VALUES(?)", (number,))
    dead = tmp_path / "dead.db"
    for end in ("", "-wal"):
        shutil.copyfile(f"{alive}{end}", f"{dead}{end}")
    yield dead
    connection.close()


def test_the_log_is_written_once_more_and_is_the_same(left: Path) -> None:
    log = Path(f"{left}-wal")
    os.utime(log, (1, 1))
    before = log.read_bytes()
    assert len(before) > 1024 * 1024, "more than one piece"
    rewrite_log(left, None)
    assert log.read_bytes() == before
    assert log.stat().st_mtime > 1
    connection = apsw.Connection(str(left))
    assert connection.execute("SELECT count(*) FROM fact").get == 300
    assert connection.pragma("integrity_check") == "ok"
    connection.close()


def test_a_database_without_a_log_is_left_alone(tmp_path: Path) -> None:
    rewrite_log(tmp_path / "none.db", None)
    assert not [*tmp_path.iterdir()]


def test_a_log_that_cannot_be_read_is_told(left: Path) -> None:
    log = Path(f"{left}-wal")
    log.unlink()
    log.mkdir()
    (log / "something").touch()
    with pytest.raises(apsw.Error):
        rewrite_log(left, None)


def test_every_piece_of_the_log_is_written(left: Path) -> None:
    log = Path(f"{left}-wal")
    written: list[tuple[int, int]] = []

    class File(apsw.VFSFile):
        def __init__(self, name: "str | apsw.URIFilename | None", flags: list[int]) -> None:
            super().__init__("", name, flags)

        def xWrite(self, data: bytes, offset: int) -> None:
            written.append((offset, len(data)))
            super().xWrite(data, offset)

    class Disk(apsw.VFS):
        def __init__(self) -> None:
            super().__init__("watched", "")

        def xOpen(self, name: "str | apsw.URIFilename | None", flags: list[int]) -> File:
            return File(name, flags)

    disk = Disk()
    rewrite_log(left, "watched")
    disk.unregister()
    places = [place for place, _ in written]
    assert places == [sum(size for _, size in written[:place]) for place in range(len(written))]
    assert sum(size for _, size in written) == log.stat().st_size


def test_the_log_stays_where_a_reader_is_in_the_way(left: Path) -> None:
    writer, reader = apsw.Connection(str(left)), apsw.Connection(str(left))
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM fact").get == 300
    writer.execute("INSERT INTO fact VALUES(300)")
    move_log(writer)
    assert reader.execute("SELECT count(*) FROM fact").get == 300
    reader.execute("COMMIT")
    move_log(writer)
    reader.close()
    writer.close()


def test_only_a_want_of_room_counts_as_one() -> None:
    assert found_no_room(apsw.exception_for(apsw.SQLITE_FULL))
    assert found_no_room(apsw.exception_for(apsw.SQLITE_IOERR_WRITE))
    assert not found_no_room(apsw.exception_for(apsw.SQLITE_IOERR_FSYNC))
    assert not found_no_room(OSError(28, "No space left on device"))
    assert error_code(OSError()) == 0
