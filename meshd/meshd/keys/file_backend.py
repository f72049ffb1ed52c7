"""The identity in files: a sealed record, and beside it the random machine key that opens it unless a passphrase does.

Without a passphrase this protects as an unencrypted ssh key does, and `mesh status` says so.
"""

import os
from pathlib import Path

from meshd.keys.record import RECORD_LIMIT, StoreId
from meshd.keys.states import BackendName, KeysDamaged
from meshd.private_files import open_directory, read_file, remove_file, write_file

IDENTITY_NAME = "identity"
MACHINE_KEY_NAME = "machine.key"
MARKER_NAME = "backend"
MACHINE_KEY_SIZE = 32


class KeyDirectory:
    """The small 0600 files of `<data>/keys`. Every call opens the directory anew and checks it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str, limit: int = RECORD_LIMIT) -> bytes | None:
        """Content, or None. Raises NotPrivate for what is not a private file of ours."""
        directory = open_directory(self.path)
        try:
            return read_file(directory, name, self.path / name, limit)
        finally:
            os.close(directory)

    def write(self, name: str, content: bytes) -> None:
        """Atomic and durable: the old or the new content, whenever the power goes."""
        directory = open_directory(self.path)
        try:
            write_file(directory, name, content)
        finally:
            os.close(directory)

    def remove(self, name: str) -> None:
        directory = open_directory(self.path)
        try:
            remove_file(directory, name)
        finally:
            os.close(directory)

    def machine_key(self) -> bytes | None:
        """The 32-byte key of this machine; None when there is none. Raises KeysDamaged for another size."""
        key = self.read(MACHINE_KEY_NAME)
        if key is not None and len(key) != MACHINE_KEY_SIZE:
            raise KeysDamaged(
                f"{self.path / MACHINE_KEY_NAME} has {len(key)} bytes, not 32; restore it from a backup of this home"
            )
        return key


class FileBackend:
    """The sealed record as the file `identity`."""

    name: BackendName = "file"

    def __init__(self, directory: KeyDirectory) -> None:
        self._directory = directory

    def read(self, store: StoreId) -> bytes | None:
        del store  # one home has one file
        return self._directory.read(IDENTITY_NAME)

    def write(self, store: StoreId, record: bytes) -> None:
        del store
        self._directory.write(IDENTITY_NAME, record)

    def close(self) -> None:
        """Nothing is held open."""
