"""The two secrets of a broker's data folder: its signing key and its admission token.

Each is written once: a temporary file of mode 0600, fsync, a link to its name that fails if another took it first,
fsync of the folder. A file that others may read is refused.
"""

import base64
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mesh_protocol.keys import SigningKey

KEY_FILE: Final = "broker.key"
TOKEN_FILE: Final = "admission-token"  # noqa: S105 - a file's name
SEED_SIZE: Final = 32
TOKEN_SIZE: Final = 32


class BadKeyFile(Exception):
    """A secret cannot be used; the text says what to do."""


def load_key(data: Path, rng: Callable[[int], bytes]) -> SigningKey:
    """The broker's key; made at the first start. Raises `BadKeyFile`."""
    path = data / KEY_FILE
    if not path.exists():
        _write_once(path, rng(SEED_SIZE), rng)
    seed = _read(path)
    if len(seed) != SEED_SIZE:
        raise BadKeyFile(f"{path} is damaged: restore it from a backup; without it no daemon trusts this broker")
    return SigningKey.from_seed(seed)


def load_token(data: Path, rng: Callable[[int], bytes]) -> tuple[bytes, bool]:
    """The admission token's characters, and whether it was made just now. Raises `BadKeyFile`."""
    path = data / TOKEN_FILE
    made = not path.exists()
    if made:
        _write_once(path, base64.urlsafe_b64encode(rng(TOKEN_SIZE)).rstrip(b"=") + b"\n", rng)
    token = _read(path).strip()
    if len(token) < TOKEN_SIZE:
        raise BadKeyFile(f"{path} is too short to be safe: remove it, and the broker makes a new one")
    return token, made


def _write_once(path: Path, content: bytes, rng: Callable[[int], bytes]) -> None:
    temporary = path.with_name(f".{path.name}.{rng(4).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass  # another start was faster: its file stands
    finally:
        temporary.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise BadKeyFile(f"{path} cannot be read: {error.strerror}") from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise BadKeyFile(f"{path} must be a file of this user that nobody else may read: chmod 600 {path}")
        return os.read(handle, 4096)
    finally:
        os.close(handle)
