"""The process table of one machine of the world."""

from collections.abc import Mapping
from itertools import count

from meshd.processes import Process

FIRST_PID = 5_000_000
"""Above what a kernel gives out, so that no question about these processes reaches a real one."""


class Processes:
    """A desktop: systemd, a terminal, the person's login shell. `spawn` adds to it."""

    supported = True

    def __init__(self) -> None:
        self._table: dict[int, Process] = {}
        self._environ: dict[int, Mapping[str, str]] = {}
        self._pids = count(FIRST_PID)
        self._ticks = count(1000)
        self._table[1] = Process(1, 0, 0, 1, "systemd", "/usr/lib/systemd/systemd", "/sbin/init")
        terminal = self.spawn("kitty", 1)
        self.shell = self.spawn("bash", terminal, argv0="-bash")
        """The person's login shell: what it starts is called by a person."""

    def spawn(self, name: str, parent: int, *, exe: str = "", argv0: str = "", env: Mapping[str, str] = {}) -> int:
        """Start a process; its pid."""
        pid = next(self._pids)
        self._table[pid] = Process(pid, parent, next(self._ticks), pid, name, exe or f"/usr/bin/{name}", argv0 or name)
        self._environ[pid] = dict(env)
        return pid

    def orphan(self, name: str) -> int:
        """Start a process that was left to systemd: nobody can say who started it."""
        return self.spawn(name, 1)

    def adopt(self, pid: int, name: str) -> None:
        """Let a real process stand in this table, started by the person's shell."""
        self._table[pid] = Process(pid, self.shell, next(self._ticks), pid, name, f"/usr/bin/{name}", name)

    def end(self, pid: int) -> None:
        """The process is gone; its children are left to process 1."""
        del self._table[pid]
        for child in [p for p in self._table.values() if p.parent == pid]:
            self._table[child.pid] = Process(
                child.pid, 1, child.start, child.session, child.name, child.exe, child.argv0
            )

    def look(self, pid: int) -> Process | None:
        return self._table.get(pid)

    def environ(self, pid: int, names: frozenset[str]) -> Mapping[str, str]:
        return {name: value for name, value in self._environ.get(pid, {}).items() if name in names}

    def cgroup(self, pid: int) -> str:
        return ""
