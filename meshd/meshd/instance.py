"""One daemon a home: the lock it holds for life, the stale socket it may replace, and the birth of the new one."""

import errno
import fcntl
import json
import os
import socket
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from meshd.local_disk import NotLocal, check_filesystem, check_wal, current_kind
from meshd.paths import SOCKET_NAME, Paths, SocketPlace, record_where
from meshd.private_files import NotPrivate, open_directory, read_file
from meshd.refusal import EXIT_TRY_LATER, StartRefused

BACKLOG = 128
# Bind makes the node with 0777 & ~umask: 0600 from the first instant.
SOCKET_UMASK = 0o177
_LOCK_LIMIT = 4096
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
_BIRTH_PREFIX = f"{SOCKET_NAME}."


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock, as the lock file says. Informational: only the lock itself is the truth."""

    pid: int | None
    home: str | None
    version: str | None


class AlreadyRunning(StartRefused):
    """Another daemon serves this home. Exit status 75."""

    exit_status: ClassVar[int] = EXIT_TRY_LATER

    def __init__(self, holder: Holder, data: Path) -> None:
        self.pid = holder.pid
        self.home = holder.home or str(data)
        self.version = holder.version
        who = f"meshd {holder.version}" if holder.version else "meshd"
        pid = f" (pid {holder.pid})" if holder.pid else ""
        super().__init__(f"{who}{pid} already runs for {self.home}; use it, or stop it first: mesh down")


@dataclass(slots=True)
class Instance:
    """The proof that this process is the one daemon of its home. Holding it is holding the lock."""

    paths: Paths
    _lock: int
    _born: tuple[SocketPlace, os.stat_result] | None = field(default=None)

    def release(self) -> None:
        """Takes our socket away (only if it is still ours) and frees the lock. Idempotent."""
        if self._lock < 0:
            return
        if self._born is not None:
            _unlink_if(*self._born)
        os.close(self._lock)
        self._lock = -1


def hold(paths: Paths, version: str, kind_of: Callable[[Path], str | None] = current_kind) -> Instance:
    """Takes the lock of this home for life; call after `prepare`.

    Raises AlreadyRunning (exit 75) when another daemon has it, NotLocal (78) where locks or WAL cannot be trusted,
    NotPrivate (78) when the lock file was planted. The kernel frees the lock when the process dies, however it dies.
    """
    check_filesystem(paths.data, kind_of(paths.data))
    lock = _lock_file(paths)
    try:
        told = {"pid": os.getpid(), "version": version, "home": str(paths.data)}
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps(told).encode() + b"\n", 0)
        check_wal(paths.data)
    except BaseException:
        os.close(lock)
        raise
    return Instance(paths, lock)


def read_holder(paths: Paths) -> Holder:
    """What the lock file says about its holder; fields are None where it says nothing sensible."""
    try:
        directory = open_directory(paths.data)
    except NotPrivate:
        return Holder(None, None, None)
    try:
        told = json.loads(read_file(directory, paths.lock.name, paths.lock, _LOCK_LIMIT) or b"{}")
    except (NotPrivate, ValueError):
        return Holder(None, None, None)
    finally:
        os.close(directory)
    if not isinstance(told, dict):
        return Holder(None, None, None)
    pid, home, version = told.get("pid"), told.get("home"), told.get("version")
    return Holder(
        pid if isinstance(pid, int) else None,
        home if isinstance(home, str) else None,
        version if isinstance(version, str) else None,
    )


def bind_socket(held: Instance, place: SocketPlace, rng: Callable[[int], bytes]) -> socket.socket:
    """A listening, non-blocking socket at `place`, mode 0600 from its first instant, and run/where written.

    Needs the lock, so that a stale socket is replaced by its only possible heir. The umask is the process's own for
    the length of one bind: call before threads start. Raises AlreadyRunning when somebody answers there.
    """
    directory = open_directory(place.directory)
    try:
        reach = f"/proc/self/fd/{directory}" if place.through_descriptor else str(place.directory)
        _clear_stale(directory, reach, place, held.paths)
        birth = _BIRTH_PREFIX + rng(4).hex()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            before = os.umask(SOCKET_UMASK)
            try:
                listener.bind(f"{reach}/{birth}")
            finally:
                os.umask(before)
            listener.listen(BACKLOG)
            os.rename(birth, SOCKET_NAME, src_dir_fd=directory, dst_dir_fd=directory)
            record_where(held.paths, place)
        except BaseException:
            listener.close()
            raise
        found = os.stat(SOCKET_NAME, dir_fd=directory, follow_symlinks=False)
    finally:
        os.close(directory)
    held._born = (place, found)
    return listener


def _lock_file(paths: Paths) -> int:
    """Opens and locks daemon.lock; once more if the name was replaced between the two."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            lock = os.open(paths.lock, flags, 0o600)
        except OSError as error:
            raise NotPrivate(f"cannot open {paths.lock}: {error.strerror}; remove it") from error
        try:
            found = os.fstat(lock)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                raise NotPrivate(f"{paths.lock} is not a file of ours; remove it")
            _flock(lock, paths)
            if _same_file(found, paths.lock):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _flock(lock: int, paths: Paths) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AlreadyRunning(read_holder(paths), paths.data) from None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise NotLocal(f"{paths.data} has no locks: {error.strerror}") from error
        raise


def _same_file(found: os.stat_result, path: Path) -> bool:
    try:
        return os.path.samestat(found, os.lstat(path))
    except FileNotFoundError:
        return False


def _clear_stale(directory: int, reach: str, place: SocketPlace, paths: Paths) -> None:
    """Removes what a dead daemon left. Somebody who answers, or anything that is no socket, is not touched."""
    for name in os.listdir(directory):
        if name.startswith(_BIRTH_PREFIX):
            os.unlink(name, dir_fd=directory)
    try:
        found = os.stat(SOCKET_NAME, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise NotPrivate(f"{place.path} is not a socket; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(f"{reach}/{SOCKET_NAME}")
        except ConnectionRefusedError:
            os.unlink(SOCKET_NAME, dir_fd=directory)
            return
        except BlockingIOError:
            pass  # a full backlog: somebody listens, however slowly
        raise AlreadyRunning(Holder(_peer_pid(probe), None, None), paths.data)


def _peer_pid(probe: socket.socket) -> int | None:
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    try:
        pid = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    except OSError:
        return None
    return pid if pid > 0 else None


def _unlink_if(place: SocketPlace, born: os.stat_result) -> None:
    try:
        directory = open_directory(place.directory)
    except NotPrivate:
        return
    try:
        found = os.stat(SOCKET_NAME, dir_fd=directory, follow_symlinks=False)
        # An inode number is used again at once; its change time is not.
        if os.path.samestat(found, born) and found.st_ctime_ns == born.st_ctime_ns:
            os.unlink(SOCKET_NAME, dir_fd=directory)
    except FileNotFoundError:
        pass
    finally:
        os.close(directory)
