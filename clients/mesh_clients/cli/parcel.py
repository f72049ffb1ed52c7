"""A backup's file, and its way to the daemon and back: sealed by the daemon, read and written here."""

import contextlib
import os
import stat
import tempfile

from mesh_clients.cli.invocation import Invocation
from mesh_protocol.wire.errors import MeshError

PIECE = 512 * 1024
MAX_BYTES = 64 * 1024 * 1024
"""What the daemon takes of a backup."""
STRETCH_S = 120.0
"""A passphrase is stretched for a second; this is for a machine that swaps."""


def require_new(path: str, *, force: bool) -> None:
    """Raises `MeshError` when the file could not be written, before anybody types a passphrase for it."""
    if not force and os.path.lexists(path):
        raise MeshError(
            "bad_request", what=f"{path} is there already: name another file, or give --force to replace it"
        )
    if force and os.path.lexists(path) and not os.path.isfile(path):
        raise MeshError("bad_request", what=f"{path} is no file: name another")
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise MeshError("bad_request", what=f"there is no folder {os.path.dirname(path)}: make it first")


def fetch(called: Invocation, parcel: str, size: int) -> bytes:
    """A backup that the daemon made. Raises `MeshError`."""
    data = bytearray()
    while True:
        answer, piece = called.exchange("backup.read", {"parcel": parcel, "offset": len(data)})
        data += piece
        if answer.get("more") is not True:
            break
    if len(data) != size:
        raise MeshError("bad_request", what="the daemon gave another backup than it made: run mesh down && mesh up")
    return bytes(data)


def write(path: str, data: bytes, *, force: bool) -> None:
    """The whole file or none, mode 0600, on the disk when this returns. Raises `MeshError`."""
    folder = os.path.dirname(path) or "."
    place = ""
    try:
        descriptor, place = tempfile.mkstemp(prefix=".mesh-backup-", dir=folder)  # 0600
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if force or not claim(place, path):
            os.replace(place, path)
            place = ""
        sync(folder)
    except FileExistsError:
        raise MeshError("bad_request", what=f"{path} is there already: name another file") from None
    except OSError as error:
        raise MeshError("bad_request", what=f"{path} cannot be written: {error.strerror}") from None
    finally:
        if place:
            with contextlib.suppress(OSError):
                os.unlink(place)


def claim(place: str, path: str) -> bool:
    """Give the whole file its name, replacing nothing. Raises FileExistsError where somebody was faster.

    False on a stick, whose filesystem knows no second name for a file: an empty file holds the name, to be replaced.
    """
    try:
        os.link(place, path)
        return True
    except FileExistsError:
        raise
    except OSError:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return False


def sync(folder: str) -> None:
    """The folder's entry for the file is on the disk too, where the filesystem can promise that."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: str) -> bytes:
    """The file's bytes. Raises `MeshError`."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise MeshError("bad_request", what=f"{path} is not a file")
            if found.st_size > MAX_BYTES:
                raise MeshError("too_large", what=path, size=found.st_size, limit=MAX_BYTES)
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise MeshError("bad_request", what=f"{path} cannot be read: {error.strerror}") from None


def bring(called: Invocation, data: bytes) -> str:
    """Take a backup to the daemon; the id under which it lies there. Raises `MeshError`."""
    parcel = ""
    for start in range(0, max(len(data), 1), PIECE):
        piece = data[start : start + PIECE]
        answer, _ = called.exchange("backup.bring", {"size": len(data), "parcel": parcel}, piece)
        parcel = str(answer.get("parcel"))
    return parcel
