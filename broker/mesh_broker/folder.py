"""The data folder: private, held by one broker at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LOCK_FILE: Final = "broker.lock"


class BadFolder(Exception):
    """The data folder cannot be used; the text says what to do."""


class FolderTaken(Exception):
    """Another broker runs on this folder."""


@contextmanager
def held_folder(data: Path, private_files: tuple[str, ...]) -> Iterator[None]:
    """Make the folder if need be and keep other brokers out of it. `private_files` exist with mode 0600 from the start.

    Raises `BadFolder` or `FolderTaken`.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = data.stat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise BadFolder(f"{data} must belong to this user, and nobody else may write there: chmod 700 {data}")
    lock = os.open(data / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderTaken(f"another broker runs on {data}") from None
        except OSError as error:
            raise BadFolder(f"{data} must be on a local disk, where files can be locked: {error.strerror}") from None
        for name in private_files:
            os.close(os.open(data / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        yield
    finally:
        os.close(lock)
