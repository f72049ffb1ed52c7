"""Which process holds a home although nobody reaches it at its socket: the lock that a daemon holds for life tells.

The number in the lock file alone is not enough: another process may have it by now, or has it in this container.
"""

import fcntl
import json
import os
import sys

LOCK = b"/daemon.lock"
MAX_BYTES = 4096


def find_holder(data: bytes) -> int:
    """The pid of the daemon that holds the home at `data`; 0 where none does, or where it cannot be seen from here."""
    try:
        lock = os.open(data + LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        told = json.loads(os.read(lock, MAX_BYTES))
        pid = told.get("pid") if isinstance(told, dict) else None
        return pid if type(pid) is int and pid > 1 and is_held(lock, pid) else 0
    except (OSError, ValueError):
        return 0
    finally:
        os.close(lock)


def is_held(lock: int, pid: int) -> bool:
    """Whether `pid` holds the open file `lock`: proc_locks(5) says it by this namespace's numbers. Raises `OSError`."""
    if not sys.platform.startswith("linux"):
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # freed when it is closed
        except BlockingIOError:
            return True
        return False
    inode = b":%d" % os.fstat(lock).st_ino
    with open("/proc/locks", "rb") as table:
        rows = (line.split() for line in table)
        return any(b"FLOCK" in row[1:2] and row[4:5] == [b"%d" % pid] and row[5].endswith(inode) for row in rows)
