"""What the system says about processes: parents, start times, programs, folders and a few named variables.

Linux's /proc now. On another system every question is answered with ProcessError.NOT_SUPPORTED.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

MAX_ANCESTORS = 64
MAX_STAT_BYTES = 4096
MAX_ENVIRON_BYTES = 4 << 20

READABLE_VARIABLES = frozenset(
    {"CLAUDE_CONFIG_DIR", "CLAUDE_CODE_SESSION_ID", "CLAUDE_PROJECT_DIR", "HOME", "MESH", "MESH_SESSION_FILE"}
)
"""The variables of another process that may be looked at; the rest of an environment holds keys and tokens."""


class ProcessError(Enum):
    """Why a question about a process has no answer."""

    GONE = "gone"
    DENIED = "denied"
    UNREADABLE = "unreadable"
    NOT_SUPPORTED = "not_supported"


@dataclass(frozen=True, slots=True)
class Process:
    """One process at one moment. `start` is in the system's own form and, with `pid`, names it for good.

    On Linux `start` is field 22 of /proc/PID/stat in decimal: clock ticks since boot.
    """

    pid: int
    ppid: int
    start: str


class ProcessTable(Protocol):
    """Where questions about processes go."""

    def process(self, pid: int) -> Process | ProcessError:
        """The process with this pid now."""
        ...

    def exe(self, pid: int) -> Path | ProcessError:
        """The program it runs."""
        ...

    def cwd(self, pid: int) -> Path | ProcessError:
        """Its working folder."""
        ...

    def env(self, pid: int, names: Iterable[str]) -> Mapping[str, str] | ProcessError:
        """The named variables that it was started with, without those it lacks. ValueError for other names."""
        ...


class LinuxProcesses:
    """Answers from /proc (proc(5)); `root` is where that is mounted."""

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = root

    def process(self, pid: int) -> Process | ProcessError:
        data = self._read(pid, "stat", MAX_STAT_BYTES)
        return data if isinstance(data, ProcessError) else parse_stat(data, pid) or ProcessError.UNREADABLE

    def exe(self, pid: int) -> Path | ProcessError:
        return self._link(pid, "exe")

    def cwd(self, pid: int) -> Path | ProcessError:
        return self._link(pid, "cwd")

    def env(self, pid: int, names: Iterable[str]) -> Mapping[str, str] | ProcessError:
        wanted = _allowed(names)
        data = self._read(pid, "environ", MAX_ENVIRON_BYTES)
        if isinstance(data, ProcessError):
            return data
        pairs = (item.partition(b"=") for item in data.split(b"\0"))
        known = {os.fsdecode(name): os.fsdecode(value) for name, sep, value in pairs if sep}
        return {name: known[name] for name in wanted if name in known}

    def _link(self, pid: int, name: str) -> Path | ProcessError:
        try:
            return (self._root / str(pid) / name).readlink()
        except OSError as error:
            return _translate(error)

    def _read(self, pid: int, name: str, limit: int) -> bytes | ProcessError:
        try:
            with (self._root / str(pid) / name).open("rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            return _translate(error)
        return data if len(data) <= limit else ProcessError.UNREADABLE


class UnsupportedProcesses:
    """Stands in on systems whose process table is not read yet."""

    def process(self, pid: int) -> Process | ProcessError:
        return ProcessError.NOT_SUPPORTED

    def exe(self, pid: int) -> Path | ProcessError:
        return ProcessError.NOT_SUPPORTED

    def cwd(self, pid: int) -> Path | ProcessError:
        return ProcessError.NOT_SUPPORTED

    def env(self, pid: int, names: Iterable[str]) -> Mapping[str, str] | ProcessError:
        _allowed(names)
        return ProcessError.NOT_SUPPORTED


def system_processes() -> ProcessTable:
    """The process table of this system."""
    return LinuxProcesses() if sys.platform == "linux" else UnsupportedProcesses()


def parse_stat(data: bytes, pid: int) -> Process | None:
    """A line of /proc/PID/stat. The name in parentheses may hold anything, so it ends at the last parenthesis."""
    head, _, tail = data.rpartition(b")")
    fields = tail.split()
    try:
        # Field 3 is the first of `fields`: 4 is the parent, 22 the start.
        ppid, start = int(fields[1]), int(fields[19])
        if int(head.partition(b" ")[0]) != pid:
            return None
    except (IndexError, ValueError):
        return None
    return Process(pid, ppid, str(start))


def ancestors(table: ProcessTable, pid: int) -> tuple[Process, ...] | ProcessError:
    """The process itself, its parent and so on up, each as it was found; at most MAX_ANCESTORS.

    It ends at the first process that has no visible parent, and where a "parent" is younger than its child: that
    pid has been given to another process since.
    """
    first = table.process(pid)
    if isinstance(first, ProcessError):
        return first
    line = [first]
    while line[-1].ppid > 0 and len(line) < MAX_ANCESTORS:
        parent = table.process(line[-1].ppid)
        if isinstance(parent, ProcessError) or _is_younger(parent, line[-1]):
            break
        line.append(parent)
    return tuple(line)


def _is_younger(one: Process, other: Process) -> bool:
    return one.start.isdecimal() and other.start.isdecimal() and int(one.start) > int(other.start)


def _allowed(names: Iterable[str]) -> tuple[str, ...]:
    wanted = tuple(names)
    forbidden = set(wanted) - READABLE_VARIABLES
    if forbidden:
        raise ValueError(f"not on the list of variables that may be read: {', '.join(sorted(forbidden))}")
    return wanted


def _translate(error: OSError) -> ProcessError:
    if isinstance(error, PermissionError):
        return ProcessError.DENIED
    if isinstance(error, (FileNotFoundError, ProcessLookupError)):
        return ProcessError.GONE
    return ProcessError.UNREADABLE
