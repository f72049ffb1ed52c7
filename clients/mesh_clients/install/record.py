"""What an install remembers, below the data directory: each file as it was, and a digest of what it was made into.

`install/<8 hex of the settings' path>/`, one folder for each configuration of Claude Code, files of mode 0600.
"""

import json
import os
from contextlib import contextmanager
from hashlib import sha256
from typing import NamedTuple

from mesh_clients.build import BUILD
from mesh_clients.exclusive import exclusive
from mesh_clients.install.documents import read_bytes, remove_file, replace_file
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = "record.json"


class Remembered(NamedTuple):
    """One file: what was there (None: no file), and the SHA-256 of what was written."""

    before: bytes | None
    after: str


class Record:
    """The record of one configuration; `files` is by path, empty where nothing is installed."""

    def __init__(self, data: str, settings: str) -> None:
        self.data = data
        self.folder = f"{data}/install/{sha256(os.fsencode(settings)).hexdigest()[:8]}"
        self.build = ""
        self.files: dict[str, Remembered] = {}

    def copy_path(self, path: str) -> str:
        """Where the former bytes of the file at `path` are kept."""
        return f"{self.folder}/{os.path.basename(path)}"

    def load(self) -> "Record":
        """Read it. One that cannot be read counts as none: then only our own parts are taken out."""
        raw = read_bytes(f"{self.folder}/{FILE}")
        try:
            told = json.loads(raw) if raw is not None else {}
            self.build = str(told["build"]) if told else ""
            for path, (had, after) in (told["files"] if told else {}).items():
                before = read_bytes(self.copy_path(path)) if had else None
                if had and before is None:
                    continue
                self.files[path] = Remembered(before, str(after))
        except (ValueError, TypeError, KeyError, AttributeError):
            self.files.clear()
        return self

    @contextmanager
    def held(self) -> "Iterator[None]":
        """Keep other installs and uninstalls out, and read anew what they recorded.

        Raises `MeshError`.
        """
        with exclusive(self.data):
            self.files.clear()
            self.load()
            yield

    def remember(self, path: str, before: bytes | None, after: bytes) -> None:
        self.files[path] = Remembered(before, digest(after))

    def save(self) -> None:
        """Write copies first, then the record. Raises `MeshError`."""
        try:
            for folder in (os.path.dirname(self.folder), self.folder):  # a mode is given to the last folder only
                os.makedirs(folder, 0o700, exist_ok=True)
        except OSError as error:
            raise MeshError("bad_request", what=f"{self.folder} cannot be made: {error.strerror}") from None
        for path, (before, _) in self.files.items():
            if before is None:
                remove_file(self.copy_path(path))
            else:
                replace_file(self.copy_path(path), before)
        files = {path: [each.before is not None, each.after] for path, each in self.files.items()}
        replace_file(f"{self.folder}/{FILE}", json.dumps({"build": BUILD, "files": files}).encode())

    def forget(self) -> None:
        """Remove it with its copies, which may hold secrets of the settings."""
        for name in (FILE, *(os.path.basename(path) for path in self.files)):
            remove_file(f"{self.folder}/{name}")
        for folder in (self.folder, os.path.dirname(self.folder)):
            try:
                os.rmdir(folder)
            except OSError:
                return


def digest(raw: bytes) -> str:
    return sha256(raw).hexdigest()
