"""The folder of the daemon's data and its socket, as far as they can be judged without a daemon."""

import os
import stat

from mesh_clients import thin
from mesh_clients.checks.finding import Finding
from mesh_clients.holder import find_holder
from mesh_clients.start import ANEW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FREE_FLOOR = 256 * 1024 * 1024
"""Bytes below which the disk is called nearly full, as the daemon does."""
OPEN = 0o077
"""Rights that others must not have."""


def check_folder(data: bytes) -> "Iterator[Finding]":
    """The data folder: whose it is, who may read it, and whether there is room. For when no daemon says it."""
    shown = os.fsdecode(data)
    try:
        found = os.stat(data)
    except FileNotFoundError:
        yield Finding("files", "ok", f"{shown} is not there yet; the first start makes it")
        return
    except OSError as error:
        yield Finding("files", "bad", f"{shown} cannot be read: {error.strerror}", "set MESH_HOME to a folder of yours")
        return
    if not stat.S_ISDIR(found.st_mode):
        yield Finding("files", "bad", f"{shown} is no folder", "move it away, or set MESH_HOME")
        return
    if found.st_uid != os.geteuid():
        yield Finding("files", "bad", f"{shown} belongs to another user", f"chown -R {os.geteuid()} {shown}")
    elif found.st_mode & OPEN:
        yield Finding("files", "bad", f"others can read or write {shown}", f"chmod -R go= {shown}")
    else:
        yield Finding("files", "ok", f"{shown} is private")
    room = os.statvfs(data)
    free = room.f_bavail * room.f_frsize
    text = f"{free // (1024 * 1024)} MiB free"
    if free < FREE_FLOOR:
        yield Finding("disk", "bad", text, f"free some space on the disk of {shown}")
    else:
        yield Finding("disk", "ok", text)


def check_socket(data: bytes) -> Finding:
    """Where the daemon listens, and whether it is the only one who can be reached there."""
    try:
        path = thin.socket_path(data)
    except thin.NoDaemon as error:
        where = f"{os.fsdecode(data)}/run/where"
        if os.path.exists(where):
            return Finding(
                "socket", "bad", f"{where} cannot be used: {error}", "mesh down; then mesh up writes it anew"
            )
        return judge_missing(data, f"there is none: no daemon has written {where}")
    shown = os.fsdecode(path)
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return judge_missing(data, f"{shown} is not there: no daemon runs")
    except OSError as error:
        return Finding("socket", "bad", f"{shown} cannot be reached: {error.strerror}", "mesh down, then mesh up")
    if not stat.S_ISSOCK(found.st_mode):
        return Finding("socket", "bad", f"{shown} is no socket", f"rm {shown}; then mesh up")
    if found.st_mode & OPEN:
        return Finding("socket", "bad", f"others may connect to {shown}", f"chmod 600 {shown}")
    try:
        thin.connect(path, blocking=False).close()
    except thin.NotTrusted as error:
        return Finding("socket", "bad", f"{shown}: {error}", "find out whose it is before you go on: ls -l /proc/*/exe")
    except thin.NoDaemon:
        return Finding("socket", "bad", f"nobody listens at {shown}: the daemon ended without a word", "mesh up")
    return Finding("socket", "ok", f"{shown}, mode {stat.S_IMODE(found.st_mode):o}")


def judge_missing(data: bytes, text: str) -> Finding:
    """No socket: `text` where that is because nobody has made one."""
    pid = find_holder(data)
    if pid:
        return Finding("socket", "bad", f"it is gone, though a daemon runs (pid {pid})", ANEW)
    return Finding("socket", "bad", text, "mesh up")
