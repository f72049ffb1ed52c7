"""Where everything of one daemon lies: data, lock, socket, configuration, keys, logs.

The rule for clients: the data directory is `MESH_HOME`, or the platform's own; the first line of
`<data>/run/where` is the path of the socket. Nothing else need be known.
"""

import contextlib
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meshd.private_files import (
    OTHERS_WRITE,
    NotPrivate,
    make_directory,
    open_directory,
    open_subdirectory,
    write_file,
)

SOCKET_NAME = "sock"
RUN_NAME = "run"
WHERE_NAME = "where"
KEYS_NAME = "keys"
# sun_path holds 108 bytes on Linux and 104 on macOS, the closing NUL included.
LINUX_SOCKET_PATH = 107
MACOS_SOCKET_PATH = 103
# bind happens on "sock.<8 hex>", renamed afterwards, so that name has to fit as well.
BIRTH_NAME_EXTRA = 9


@dataclass(frozen=True, slots=True)
class Paths:
    """The places of one daemon, all absolute. Nothing here has been looked at on disk yet."""

    data: Path
    lock: Path
    start_lock: Path
    config: Path
    database: Path
    keys: Path
    logs: Path
    run: Path
    where: Path
    runtime: Path | None
    """$XDG_RUNTIME_DIR where it may serve for the socket; None when MESH_HOME holds everything."""
    temporary: Path
    """Parent of the short private directory macOS needs when the socket's path is too long."""
    platform: str
    uid: int


@dataclass(frozen=True, slots=True)
class SocketPlace:
    """Where the socket is to be born. `directory` exists, is 0700 and ours."""

    directory: Path
    through_descriptor: bool
    """True when the path is too long for sockaddr_un and Linux goes through /proc/self/fd/<dirfd>/sock."""

    @property
    def path(self) -> Path:
        return self.directory / SOCKET_NAME


def resolve(environ: Mapping[str, str], platform: str, uid: int, *, cwd: str | None = None) -> Paths:
    """Names the places for this environment, without touching the disk.

    A relative MESH_HOME is taken from `cwd`. Raises NotPrivate when neither MESH_HOME nor HOME gives an absolute path.
    """
    home = environ.get("MESH_HOME", "")
    if home:
        data = _absolute(home, "MESH_HOME", cwd)
        runtime = None
    else:
        data = _platform_data(_absolute(environ.get("HOME", ""), "HOME", None), platform)
        runtime = _clean(environ.get("XDG_RUNTIME_DIR", ""))
    run = data / RUN_NAME
    return Paths(
        data=data,
        lock=data / "daemon.lock",
        start_lock=data / "start.lock",
        config=data / "config.toml",
        database=data / "mesh.db",
        keys=data / KEYS_NAME,
        logs=data / "logs",
        run=run,
        where=run / WHERE_NAME,
        runtime=runtime,
        temporary=_clean(environ.get("TMPDIR", "")) or Path("/tmp"),  # noqa: S108 a checked 0700 one goes below it
        platform=platform,
        uid=uid,
    )


def prepare(paths: Paths) -> SocketPlace:
    """Creates what is missing (0700) and proves every directory private. Returns where the socket goes.

    Raises NotPrivate (exit 78) with one sentence otherwise. Idempotent; run/where is written only with the socket.
    """
    make_directory(paths.data)
    with contextlib.ExitStack() as opened:
        data = _keep(opened, open_directory(paths.data))
        for name, path in ((RUN_NAME, paths.run), (KEYS_NAME, paths.keys), (paths.logs.name, paths.logs)):
            _keep(opened, open_subdirectory(data, name, path))
        directory = _socket_directory(paths, opened)
        if _fits(directory, paths.platform):
            return SocketPlace(directory, through_descriptor=False)
        if paths.platform != "darwin":
            return SocketPlace(directory, through_descriptor=True)
        return SocketPlace(_short_directory(paths, data, opened), through_descriptor=False)


def record_where(paths: Paths, place: SocketPlace) -> None:
    """Writes the socket's path to run/where, atomically. Clients read its first line."""
    directory = open_directory(paths.run)
    try:
        write_file(directory, WHERE_NAME, os.fsencode(place.path) + b"\n")
    finally:
        os.close(directory)


def _absolute(value: str, variable: str, cwd: str | None) -> Path:
    if not value:
        raise NotPrivate(f"{variable} is not set; set MESH_HOME to a directory of your own")
    if "\n" in value:
        raise NotPrivate(f"{variable} holds a line break; set MESH_HOME to a path without one")
    path = Path(value) if cwd is None else Path(cwd) / value
    if not path.is_absolute():
        raise NotPrivate(f"{variable} must be an absolute path, not {value!r}")
    return path


def _platform_data(home: Path, platform: str) -> Path:
    if platform == "darwin":
        return home / "Library" / "Application Support" / "meshd"
    return home / ".local" / "share" / "meshd"


def _clean(value: str) -> Path | None:
    path = Path(value)
    return path if value and path.is_absolute() and "\n" not in value else None


def _socket_directory(paths: Paths, opened: contextlib.ExitStack) -> Path:
    """The runtime directory's own `meshd`, when the runtime directory is there and private; else data/run.

    A runtime directory that is not ours is passed over; a planted `meshd` inside our own is refused.
    """
    if paths.runtime is None:
        return paths.run
    try:
        found = os.lstat(paths.runtime)
        if found.st_uid != paths.uid or found.st_mode & OTHERS_WRITE:
            return paths.run
        runtime = os.open(paths.runtime, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return paths.run
    _keep(opened, runtime)
    directory = paths.runtime / "meshd"
    _keep(opened, open_subdirectory(runtime, "meshd", directory))
    return directory


def _short_directory(paths: Paths, data: int, opened: contextlib.ExitStack) -> Path:
    """`$TMPDIR/meshd-<8 hex of the home's device:inode>`, 0700."""
    found = os.fstat(data)
    tag = zlib.crc32(f"{found.st_dev}:{found.st_ino}".encode())
    directory = paths.temporary / f"meshd-{tag:08x}"
    make_directory(directory)
    _keep(opened, open_directory(directory))
    if not _fits(directory, paths.platform):
        raise NotPrivate(f"the socket's path {directory} is too long; set TMPDIR or MESH_HOME to a shorter one")
    return directory


def _fits(directory: Path, platform: str) -> bool:
    limit = MACOS_SOCKET_PATH if platform == "darwin" else LINUX_SOCKET_PATH
    return len(os.fsencode(directory / SOCKET_NAME)) + BIRTH_NAME_EXTRA <= limit


def _keep(opened: contextlib.ExitStack, descriptor: int) -> int:
    opened.callback(os.close, descriptor)
    return descriptor
