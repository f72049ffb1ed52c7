"""Directories and small files that only this user may read: opened without following links, checked, written atomically.

Everything here works relative to an already checked directory descriptor, so that a path swapped between
the check and the use changes nothing.
"""

import os
import stat
from pathlib import Path

from meshd.refusal import StartRefused

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
OTHERS = 0o077
OTHERS_WRITE = 0o022
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class NotPrivate(StartRefused):
    """A directory or file is a link, another user's, or open to other users. Nothing was read from it."""


def make_directory(path: Path) -> None:
    """Creates `path` and its missing parents with mode 0700. What exists is left as it is."""
    try:
        try:
            path.mkdir(mode=DIRECTORY_MODE)
        except FileNotFoundError:
            make_directory(path.parent)
            path.mkdir(mode=DIRECTORY_MODE)
    except FileExistsError:
        pass
    except OSError as error:
        raise NotPrivate(f"cannot create {path}: {error.strerror}; create it, or set MESH_HOME") from error


def open_directory(path: Path, *, forbidden: int = OTHERS) -> int:
    """Opens an existing directory and proves it private. Returns a descriptor the caller closes.

    Raises NotPrivate when it is a symbolic link, is not ours, or its mode grants others what is forbidden.
    """
    try:
        descriptor = os.open(path, _OPEN_DIRECTORY)
    except OSError as error:
        raise NotPrivate(_why_not_opened(path, error)) from error
    return _checked_directory(descriptor, path, forbidden)


def open_subdirectory(parent: int, name: str, shown: Path) -> int:
    """Creates (0700) and opens `name` below the open directory `parent`; `shown` is its path in error texts."""
    try:
        os.mkdir(name, DIRECTORY_MODE, dir_fd=parent)
    except FileExistsError:
        pass
    try:
        descriptor = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
    except OSError as error:
        raise NotPrivate(_why_not_opened(shown, error)) from error
    return _checked_directory(descriptor, shown)


def write_file(directory: int, name: str, content: bytes) -> None:
    """Replaces `name` with `content` so that a crash leaves the old or the new file, never a mixture.

    Temporary file (O_EXCL, 0600), fsync, rename, fsync of the directory. One writer at a time is assumed: the
    daemon's lock sees to it, so the temporary name is fixed and a crash leaves at most one of them behind.
    """
    temporary = f"{name}.new"
    try:
        os.unlink(temporary, dir_fd=directory)
    except FileNotFoundError:
        pass
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, FILE_MODE, dir_fd=directory)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)


def read_file(directory: int, name: str, shown: Path, limit: int, *, forbidden: int = OTHERS) -> bytes | None:
    """Content of `name`, or None when there is no such file. `limit` is in bytes; `forbidden` are mode bits.

    Raises NotPrivate for a link, another user's file (root's is fine), forbidden mode bits or more than `limit`.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotPrivate(_why_not_opened(shown, error)) from error
    try:
        _check_file(os.fstat(descriptor), shown, forbidden)
        content = bytearray()
        while chunk := os.read(descriptor, limit + 1 - len(content)):
            content += chunk
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise NotPrivate(f"{shown} is longer than {limit} bytes: it is not a file of ours; move it away")
    return bytes(content)


def remove_file(directory: int, name: str) -> None:
    """Removes `name` for good (directory fsynced). Missing is fine."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return
    os.fsync(directory)


def _checked_directory(descriptor: int, path: Path, forbidden: int = OTHERS) -> int:
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            raise NotPrivate(
                f"{path} belongs to user {found.st_uid}, not to {os.geteuid()}; move it away, or set MESH_HOME"
            )
        if found.st_mode & forbidden:
            _tighten_if_empty(descriptor, found.st_mode, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _tighten_if_empty(descriptor: int, mode: int, path: Path) -> None:
    """A fresh `mkdir` (0755, nothing in it yet, nobody else may write) is made 0700; anything else is refused."""
    if mode & OTHERS_WRITE or os.listdir(descriptor):
        shown = stat.S_IMODE(mode)
        raise NotPrivate(f"{path} is open to other users (mode {shown:04o}); run: chmod 700 {path}")
    os.fchmod(descriptor, DIRECTORY_MODE)


def _check_file(found: os.stat_result, shown: Path, forbidden: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise NotPrivate(f"{shown} is not a regular file; move it away")
    if found.st_uid not in (os.geteuid(), 0):
        raise NotPrivate(f"{shown} belongs to user {found.st_uid}, not to {os.geteuid()}; move it away")
    if found.st_mode & forbidden:
        raise NotPrivate(
            f"{shown} is open to other users (mode {stat.S_IMODE(found.st_mode):04o}); run: chmod 600 {shown}"
        )


def _why_not_opened(path: Path, error: OSError) -> str:
    if path.is_symlink():
        return f"{path} is a symbolic link; remove it, or set MESH_HOME to the directory it points to"
    return f"cannot open {path}: {error.strerror}; mend it, or set MESH_HOME"
