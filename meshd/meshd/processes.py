"""What may be known of the machine's processes, and how Linux tells it. Every reader injects the table."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

# A chain longer than this is not a person's.
MAX_ANCESTORS = 64
_STAT_LIMIT = 4096
_ENVIRON_LIMIT = 2 * 1024 * 1024
_CMDLINE_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Process:
    """One process as it was at the moment of asking. (pid, start) names it for good."""

    pid: int
    parent: int
    """0: the parent is outside this process namespace (or this is the first process)."""
    start: int
    """Clock ticks since boot: field 22 of /proc/<pid>/stat, the same number Claude Code calls procStart."""
    session: int
    """The POSIX session id: the pid of its leader."""
    name: str
    """comm: at most 15 characters, chosen by the program."""
    exe: str
    """Path of the program file; empty where it may not be asked (another user's process)."""
    argv0: str
    """First argument; a login shell's begins with "-"."""

    @property
    def program(self) -> str:
        """Base name of the program file."""
        return self.exe.removesuffix(" (deleted)").rpartition("/")[2]


class ProcessTable(Protocol):
    """The processes of this machine. A process that is gone, or not ours to see, is None or empty."""

    @property
    def supported(self) -> bool:
        """Whether this system's processes can be read at all; if not, every process is None."""

    def look(self, pid: int) -> Process | None: ...

    def environ(self, pid: int, names: frozenset[str]) -> Mapping[str, str]: ...

    def cgroup(self, pid: int) -> str: ...


class ProcTable:
    """ProcessTable over Linux's /proc."""

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = str(root)

    @property
    def supported(self) -> bool:
        return Path(f"{self._root}/stat").exists()

    def look(self, pid: int) -> Process | None:
        """One process, or None when there is none of that number (or it vanished while being read)."""
        raw = self._read(pid, "stat", _STAT_LIMIT)
        opened, closed = raw.find(b"("), raw.rfind(b")")
        if pid < 1 or opened < 0 or closed < opened:
            return None
        # comm may itself hold blanks and parentheses: the fields after it begin behind the last one.
        fields = raw[closed + 2 :].split()
        try:
            parent, session, start = int(fields[1]), int(fields[3]), int(fields[19])
        except (IndexError, ValueError):
            return None
        return Process(
            pid=pid,
            parent=parent,
            start=start,
            session=session,
            name=_printable(raw[opened + 1 : closed]),
            exe=self._exe(pid),
            argv0=_printable(self._read(pid, "cmdline", _CMDLINE_LIMIT).split(b"\0", 1)[0]),
        )

    def environ(self, pid: int, names: frozenset[str]) -> Mapping[str, str]:
        """Those of `names` that the process was started with; the rest of an environment holds keys and tokens."""
        found: dict[str, str] = {}
        for entry in self._read(pid, "environ", _ENVIRON_LIMIT).split(b"\0"):
            raw_name, given, value = entry.partition(b"=")
            name = raw_name.decode("utf-8", "replace")
            if given and name in names:
                found.setdefault(name, value.decode("utf-8", "replace"))
        return found

    def cgroup(self, pid: int) -> str:
        """The path of its unified (or systemd) control group; empty where there is none."""
        path = ""
        for line in self._read(pid, "cgroup", _STAT_LIMIT).splitlines():
            number, _, rest = line.partition(b":")
            controllers, _, group = rest.partition(b":")
            if controllers == b"name=systemd" or (number == b"0" and not path):
                path = group.decode("utf-8", "replace")
        return path

    def _exe(self, pid: int) -> str:
        try:
            return os.readlink(f"{self._root}/{pid}/exe")  # noqa: PTH115 - "…/x (deleted)" is text, not a path
        except OSError:
            return ""

    def _read(self, pid: int, name: str, limit: int) -> bytes:
        try:
            descriptor = os.open(f"{self._root}/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        content = bytearray()
        try:
            while len(content) < limit and (chunk := os.read(descriptor, limit - len(content))):
                content += chunk
        except OSError:
            return b""
        finally:
            os.close(descriptor)
        return bytes(content)


def _printable(raw: bytes) -> str:
    """A program chooses these bytes, and they end up in sentences: nothing that moves a cursor survives."""
    return "".join(each if each.isprintable() else "?" for each in raw.decode("utf-8", "replace"))


def walk(table: ProcessTable, pid: int) -> tuple[Process, ...]:
    """The process and its ancestors, nearest first, up to the last one that can be seen (at most MAX_ANCESTORS).

    Ends early where a parent is younger than its child (its number was given to somebody else in between). A parent
    that vanishes during the walk is replaced by the one its child was given to.
    """
    chain: list[Process] = []
    for _ in range(2 * MAX_ANCESTORS):
        if pid < 1 or len(chain) == MAX_ANCESTORS:
            break
        found = table.look(pid)
        if found is None and chain:
            child = table.look(chain[-1].pid)
            if child is None or child.start != chain[-1].start or child.parent == pid:
                break
            chain[-1], pid = child, child.parent
            continue
        if found is None or (chain and found.start > chain[-1].start):
            break
        chain.append(found)
        pid = found.parent
    return tuple(chain)
