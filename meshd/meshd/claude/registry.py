"""Finds the Claude session a process belongs to, in Claude's own registry: `<config dir>/sessions/<pid>.json`."""

import os
import stat
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from meshd.processes import Process, ProcessTable, walk

from .formats import MAX_REGISTRY_BYTES, ClaudeSession, is_claude_program, parse_session

MAX_SESSIONS = 1024


class Missing(Enum):
    """Why there is no session to be found."""

    NO_PROCESS = "no_process"
    NOT_SUPPORTED = "not_supported"
    NOT_REGISTERED = "not_registered"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class NoSession:
    """No session: the reason, and which process it was about."""

    reason: Missing
    pid: int


class Registry:
    """Claude's registry below one config dir, read anew at every question, for files of user `uid` only.

    An entry counts only for a live process with the start time it names that runs Claude's program: the files of
    dead sessions are passed over, and so are those that somebody wrote for another process.
    """

    def __init__(self, config_dir: Path, processes: ProcessTable, uid: int) -> None:
        self._folder = config_dir / "sessions"
        self._processes = processes
        self._uid = uid

    def session_above(self, pid: int) -> ClaudeSession | NoSession:
        """The session of the nearest ancestor of `pid`, itself included, that is a registered Claude process."""
        line = walk(self._processes, pid)
        if not line:
            return NoSession(Missing.NO_PROCESS if self._processes.supported else Missing.NOT_SUPPORTED, pid)
        for process in line:
            entry = self._read(process.pid)
            if isinstance(entry, NoSession):
                return entry
            if entry is not None and self._fits(entry, process):
                return entry
        return NoSession(Missing.NOT_REGISTERED, pid)

    def session_of(self, pid: int, proc_start: str) -> ClaudeSession | NoSession:
        """What the Claude process (`pid`, `proc_start`) holds now, if it still lives and is still registered."""
        process = self._processes.look(pid)
        if process is None or str(process.start) != proc_start:
            return NoSession(Missing.NO_PROCESS if self._processes.supported else Missing.NOT_SUPPORTED, pid)
        entry = self._read(pid)
        if isinstance(entry, NoSession):
            return entry
        if entry is None or not self._fits(entry, process):
            return NoSession(Missing.NOT_REGISTERED, pid)
        return entry

    def live_sessions(self) -> tuple[ClaudeSession, ...]:
        """All sessions whose process lives, by pid; at most MAX_SESSIONS files are looked at."""
        try:
            paths = list(self._folder.iterdir())
        except OSError:
            return ()
        pids = sorted(int(path.stem) for path in paths if path.suffix == ".json" and path.stem.isdecimal())
        found: list[ClaudeSession] = []
        for pid in pids[:MAX_SESSIONS]:
            entry = self._read(pid)
            process = self._processes.look(pid)
            if isinstance(entry, ClaudeSession) and process is not None and self._fits(entry, process):
                found.append(entry)
        return tuple(found)

    def _fits(self, entry: ClaudeSession, process: Process) -> bool:
        return entry.proc_start == str(process.start) and is_claude_program(process.exe)

    def _read(self, pid: int) -> ClaudeSession | NoSession | None:
        """The entry of `pid`; None if there is none; NoSession if there is one that cannot be trusted or read."""
        unreadable = NoSession(Missing.UNREADABLE, pid)
        try:
            descriptor = os.open(
                self._folder / f"{pid}.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except FileNotFoundError:
            return None
        except OSError:
            return unreadable
        with open(descriptor, "rb") as file:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode) or about.st_uid != self._uid:
                return unreadable
            try:
                data = file.read(MAX_REGISTRY_BYTES + 1)
            except OSError:
                return unreadable
        return parse_session(data, pid) or unreadable


def config_dir(config: str | None, home: str | None) -> Path | None:
    """Claude's config dir from a client's CLAUDE_CONFIG_DIR and HOME; None where neither is an absolute path."""
    if config and Path(config).is_absolute():
        return Path(config)
    return Path(home) / ".claude" if home and Path(home).is_absolute() else None
