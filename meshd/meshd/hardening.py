"""What the process gives up at start: core dumps, being traced, new privileges, files open to others."""

import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass

UMASK = 0o077
# One descriptor a client, a broker link, a database connection: far below this. systemd's hard limit is 524,288;
# macOS refuses more than OPEN_MAX (10,240).
OPEN_FILES = 65_536
OPEN_FILES_MACOS = 10_240
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


@dataclass(frozen=True, slots=True)
class Hardening:
    """What was achieved, for `mesh doctor`. `notes` are sentences about what was not."""

    dumpable: bool
    """False: no core file, no ptrace by this user's other processes, /proc/<pid>/environ and mem closed."""
    no_new_privileges: bool
    core_limit: int
    umask: int
    open_files: int
    notes: tuple[str, ...]


def harden(environ: Mapping[str, str], platform: str) -> Hardening:
    """Call once, first thing, before threads start. Never fails: what cannot be had is a note.

    MESHD_DUMPABLE=1 keeps the process traceable (debuggers, coverage, tests that read its memory).
    """
    notes: list[str] = []
    os.umask(UMASK)
    keep_dumpable = environ.get("MESHD_DUMPABLE") == "1"
    if keep_dumpable:
        notes.append("MESHD_DUMPABLE=1: other processes of this user can read the daemon's memory")
    dumpable, no_new_privileges = True, False
    if platform == "linux":
        dumpable, no_new_privileges = _give_up_privileges(keep_dumpable, notes)
    else:
        notes.append(f"{platform} has no prctl: the daemon can be traced by this user's processes")
    return Hardening(
        dumpable=dumpable,
        no_new_privileges=no_new_privileges,
        core_limit=_forbid_core(notes),
        umask=UMASK,
        open_files=_raise_open_files(platform, notes),
        notes=tuple(notes),
    )


def _give_up_privileges(keep_dumpable: bool, notes: list[str]) -> tuple[bool, bool]:
    import ctypes  # 1.5 ms, and only here

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    no_new_privileges = prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    if not no_new_privileges:
        notes.append(f"no_new_privs refused: {os.strerror(ctypes.get_errno())}")
    if keep_dumpable:
        return True, no_new_privileges
    dumpable = prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0
    if dumpable:
        notes.append(f"dumpable could not be switched off: {os.strerror(ctypes.get_errno())}")
    return dumpable, no_new_privileges


def _forbid_core(notes: list[str]) -> int:
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        notes.append(f"core files could not be forbidden: {error}")
    return resource.getrlimit(resource.RLIMIT_CORE)[0]


def _raise_open_files(platform: str, notes: list[str]) -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MACOS if platform == "darwin" else OPEN_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:
            notes.append(f"the limit of open files stays at {soft}: {error}")
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
