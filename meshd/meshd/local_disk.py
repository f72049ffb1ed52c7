"""Is the data directory on a disk whose locks and shared memory can be trusted? Network and user-space ones cannot."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw

from meshd.refusal import DiskFull, StartRefused

MOUNTS = Path("/proc/self/mountinfo")
_PROBE = "wal-probe.db"
_NO_ROOM = frozenset({apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_IOERR_SHMSIZE})
_NOT_LOCAL = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "9p", "virtiofs", "vboxsf", "fuse", "fuseblk"}
    | {"webdav", "osxfuse", "macfuse", "afpfs"}
)


class NotLocal(StartRefused):
    """Locks or WAL do not work where the data is."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"MESH_HOME must be on a local disk: keys and WAL are not safe there; set MESH_HOME ({detail})"
        )


def check_filesystem(directory: Path, kind: str | None) -> None:
    """Raises NotLocal for a network or user-space filesystem. An unknown kind passes: the probes decide."""
    if kind is not None and (kind in _NOT_LOCAL or kind.startswith("fuse.")):
        raise NotLocal(f"{directory} is on {kind}")


def filesystem_kind(directory: Path, mountinfo: bytes) -> str | None:
    """The type of the filesystem that holds `directory`, by a table in the form of proc(5) mountinfo.

    The deepest mount point that is a prefix of the resolved path wins; of several on one point, the last mounted.
    """
    where = os.fsencode(os.path.realpath(directory))
    best, kind = -1, None
    for line in mountinfo.splitlines():
        fields = line.split(b" ")
        if b"-" not in fields[6:]:
            continue
        point = _unescape(fields[4])
        inside = where == point or where.startswith(point.rstrip(b"/") + b"/")
        if inside and len(point) >= best:
            best, kind = len(point), fields[fields.index(b"-", 6) + 1].decode("ascii", "replace")
    return kind


def current_kind(directory: Path) -> str | None:
    """The type as the running system tells it; None where it cannot be asked."""
    if sys.platform == "darwin":
        return _statfs_kind(directory)
    try:
        return filesystem_kind(directory, MOUNTS.read_bytes())
    except OSError:
        return None


def check_wal(directory: Path) -> None:
    """Opens a scratch database in WAL mode and reads it through a second connection. Raises NotLocal if that fails.

    No fsync (the file is thrown away): about a millisecond.
    """
    probe = directory / _PROBE
    try:
        _remove(probe)
        with _opened(probe) as first:
            mode = first.execute("PRAGMA journal_mode=WAL").fetchone()
            if mode != ("wal",):
                raise NotLocal(f"SQLite cannot keep a WAL in {directory}")
            first.execute("PRAGMA synchronous=OFF; CREATE TABLE t(x); INSERT INTO t VALUES (1)")
            with _opened(probe) as second:
                if second.execute("SELECT x FROM t").fetchone() != (1,):
                    raise NotLocal(f"a second connection in {directory} does not see the WAL")
    except (apsw.Error, OSError) as error:
        if isinstance(error, apsw.FullError) or getattr(error, "extendedresult", 0) in _NO_ROOM:
            raise DiskFull(directory) from error
        raise NotLocal(f"{directory}: {error}") from error
    finally:
        with suppress(OSError):
            _remove(probe)


@contextmanager
def _opened(path: Path) -> Iterator[apsw.Connection]:
    """apsw's own context manager is a savepoint; this one closes."""
    connection = apsw.Connection(str(path))
    try:
        yield connection
    finally:
        connection.close(True)


def _remove(probe: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{probe}{suffix}").unlink(missing_ok=True)


def _unescape(field: bytes) -> bytes:
    """mountinfo writes blank, tab, newline and backslash as three octal digits."""
    for code, plain in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(code, plain)
    return field


def _statfs_kind(directory: Path) -> str | None:
    """statfs(2) of macOS by ctypes: f_fstypename lies 72 bytes in, 16 bytes long (64-bit inode layout)."""
    import ctypes

    buffer = ctypes.create_string_buffer(4096)
    libc = ctypes.CDLL(None, use_errno=True)
    call = getattr(libc, "statfs$INODE64", libc.statfs)
    if call(os.fsencode(directory), buffer) != 0:
        return None
    return buffer.raw[72:88].split(b"\0", 1)[0].decode("ascii", "replace")
