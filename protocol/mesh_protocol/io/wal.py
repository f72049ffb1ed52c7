"""SQLite's write-ahead log: moving it into the database, and the failures that leave it as it was."""

from pathlib import Path
from typing import Final

import apsw

# A write that found no room fails before anything reached the log's end: rolled back, the database is as it was.
_NO_ROOM: Final = frozenset({apsw.SQLITE_FULL, apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_IOERR_SHMSIZE})

_CHUNK: Final = 64 * 1024
"""SQLite's largest page: of more than 128 KiB at once its file layer writes only a part."""


def error_code(error: BaseException) -> int:
    """SQLite's extended result code; 0 for what is not SQLite's."""
    return int(getattr(error, "extendedresult", getattr(error, "result", 0)))


def found_no_room(error: BaseException) -> bool:
    """Whether SQLite failed for want of room on the disk, and nothing else is wrong."""
    if not isinstance(error, apsw.Error):
        return False
    return error_code(error) in _NO_ROOM or error_code(error) & 0xFF == apsw.SQLITE_FULL


def move_log(connection: apsw.Connection) -> None:
    """Move the log into the database as far as no reader is in the way. Raises `apsw.Error` when the disk fails."""
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    except apsw.BusyError:
        return  # the next commit tries again
    except apsw.Error as error:
        if not found_no_room(error):  # without room the log stays as it is, and nothing is lost
            raise


def cut_log(connection: apsw.Connection) -> bool:
    """Move the whole log into the database and make the log empty, so that nothing of what was deleted is left in it.

    Returns false when a reader was in the way, or no room. Raises `apsw.Error` when the disk fails.
    """
    patience = int(connection.pragma("busy_timeout"))
    connection.set_busy_timeout(0)  # commits wait behind this: a reader in the way is not waited for
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError:
        return False
    except apsw.Error as error:
        if not found_no_room(error):
            raise
        return False
    finally:
        connection.set_busy_timeout(patience)
    return True


def rewrite_log(database: Path, vfs: str | None) -> None:
    """Write the log that a dead process left once more, byte for byte, and sync it; before anything is added.

    If that process died of a failed fsync, the kernel counts pages of the log as written that the disk never got (Linux
    marks them clean), and it still shows them to us. What is put behind them would be fsynced and yet be lost with them
    by a power cut; moved into the database without them, they would leave it in pieces. Raises `apsw.Error` when the
    disk fails.
    """
    log = Path(f"{database}-wal")
    size = log.stat().st_size if log.exists() else 0
    if not size:
        return
    file = apsw.VFSFile(vfs or "", str(log), [apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_READWRITE, 0])
    try:
        for place in range(0, size, _CHUNK):
            file.xWrite(file.xRead(min(_CHUNK, size - place), place), place)
        file.xSync(apsw.SQLITE_SYNC_FULL)
    except apsw.Error as error:
        if not found_no_room(error):  # in place it needs none, but for file systems that copy on write
            raise
    finally:
        file.xClose()
