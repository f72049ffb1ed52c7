"""Who calls: a table of families, and real processes for what a table cannot show."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from meshd.local.tiers import Caller, RegisteredSession, Tier, decide
from meshd.processes import Process, ProcTable

USER, AGENT, STATUS = Tier.USER, Tier.AGENT, Tier.STATUS


@dataclass
class Machine:
    """A ProcessTable built line by line: each process is the parent of the next one added."""

    processes: dict[int, Process] = field(default_factory=dict)
    variables: dict[int, dict[str, str]] = field(default_factory=dict)
    groups: dict[int, str] = field(default_factory=dict)
    last: int = 0
    supported: bool = True

    def add(
        self,
        pid: int,
        name: str,
        start: int,
        *,
        parent: int | None = None,
        argv0: str = "",
        exe: str = "",
        session: int | None = None,
        env: dict[str, str] | None = None,
        group: str = "",
    ) -> "Machine":
        above = self.last if parent is None else parent
        self.processes[pid] = Process(pid, above, start, session or pid, name, exe or name, argv0 or name)
        self.variables[pid] = env or {}
        self.groups[pid] = group
        self.last = pid
        return self

    def look(self, pid: int) -> Process | None:
        return self.processes.get(pid)

    def environ(self, pid: int, names: frozenset[str]) -> Mapping[str, str]:
        return {name: value for name, value in self.variables.get(pid, {}).items() if name in names}

    def cgroup(self, pid: int) -> str:
        return self.groups.get(pid, "")


CLAUDE = RegisteredSession(50, 1000, "web", frozenset({"id-old", "id-new"}), "/run/s.json")
DEAD = RegisteredSession(60, 800, "gone", frozenset({"id-dead"}), alive=False)
CALLER = 99
ID = "CLAUDE_CODE_SESSION_ID"


def desktop() -> Machine:
    """systemd → systemd --user → gnome-terminal-server → bash, and claude below another bash."""
    machine = Machine().add(1, "systemd", 0, parent=0).add(20, "systemd", 100)
    machine.add(30, "gnome-terminal-", 200, exe="gnome-terminal-server").add(40, "bash", 300)
    machine.add(50, "claude", 1000, session=40)
    return machine


def ssh(shell_start: int = 300) -> Machine:
    return (
        Machine()
        .add(1, "systemd", 0, parent=0)
        .add(21, "sshd", 50)
        .add(22, "sshd", 250)
        .add(41, "zsh", shell_start, argv0="-zsh")
    )


FAMILIES: dict[str, tuple[Machine, Tier, bool, str]] = {
    "a person in a terminal": (desktop().add(CALLER, "mesh", 2000, parent=40), USER, True, "gnome-terminal-"),
    "a person over ssh": (ssh().add(CALLER, "mesh", 2000), USER, True, "login shell zsh"),
    "a person's script": (
        ssh().add(45, "make", 1500).add(46, "sh", 1501).add(CALLER, "mesh", 2000),
        USER,
        True,
        "login shell zsh",
    ),
    "a person in a tmux older than the session": (
        Machine()
        .add(1, "systemd", 0, parent=0)
        .add(33, "tmux: server", 400)
        .add(44, "bash", 1500)
        .add(CALLER, "mesh", 2000),
        USER,
        True,
        "tmux: server",
    ),
    "a job of cron": (
        Machine()
        .add(1, "systemd", 0, parent=0)
        .add(7, "cron", 10)
        .add(8, "cron", 1900)
        .add(9, "sh", 1900)
        .add(CALLER, "mesh", 2000),
        USER,
        True,
        "cron",
    ),
    "a service of the user": (
        Machine()
        .add(1, "systemd", 0, parent=0)
        .add(20, "systemd", 100)
        .add(77, "backup", 1900, group="/user.slice/app.slice/backup.service")
        .add(CALLER, "mesh", 2000),
        USER,
        True,
        "service backup.service",
    ),
    "the session itself": (desktop().add(CALLER, "mesh", 2000, parent=50), AGENT, False, "session web (pid 50)"),
    "a tool of the session": (
        desktop().add(70, "bash", 1900, parent=50).add(CALLER, "mesh", 2000),
        AGENT,
        False,
        "session web",
    ),
    "a tool that calls itself a login shell": (
        desktop().add(70, "bash", 1900, parent=50, argv0="-bash").add(CALLER, "mesh", 2000),
        AGENT,
        False,
        "session web",
    ),
    "a tool behind a terminal of its own": (
        desktop().add(70, "xterm", 1900, parent=50).add(71, "bash", 1901).add(CALLER, "mesh", 2000),
        AGENT,
        False,
        "session web",
    ),
    "an orphan left to init": (
        desktop().add(CALLER, "mesh", 2000, parent=1),
        USER,
        False,
        "nobody can say who started mesh",
    ),
    "an orphan's child": (
        desktop().add(80, "sh", 1900, parent=1, session=70).add(CALLER, "mesh", 2000),
        USER,
        False,
        "nobody can say who started sh (pid 80)",
    ),
    "an orphan left to the user's service manager": (
        desktop().add(80, "sh", 1900, parent=20, group="/user.slice/app.slice/term.scope").add(CALLER, "mesh", 2000),
        USER,
        False,
        "nobody can say who started sh",
    ),
    "an orphan in the service the session runs in": (
        Machine()
        .add(1, "systemd", 0, parent=0)
        .add(20, "systemd", 100)
        .add(50, "claude", 1000, group="/user.slice/ide.service")
        .add(80, "sh", 1900, parent=20, group="/user.slice/ide.service")
        .add(CALLER, "mesh", 2000),
        USER,
        False,
        "nobody can say who started sh",
    ),
    "an orphan that is no leader in a service": (
        Machine()
        .add(1, "systemd", 0, parent=0)
        .add(80, "sh", 1900, session=79, group="/system.slice/x.service")
        .add(CALLER, "mesh", 2000),
        USER,
        False,
        "nobody can say who started sh",
    ),
    "what is older than every session": (
        Machine().add(1, "init-of-ours", 0, parent=0).add(5, "runner", 700).add(6, "sh", 701).add(CALLER, "mesh", 2000),
        USER,
        True,
        "older than every session",
    ),
    "a container entered from outside": (
        Machine().add(12, "bash", 1900, parent=0).add(CALLER, "mesh", 2000),
        USER,
        True,
        "from outside the container",
    ),
    "a container's own first process": (
        Machine().add(1, "bash", 0, parent=0).add(CALLER, "mesh", 2000, session=1),
        USER,
        True,
        "bash (pid 1)",
    ),
    "a first process that is no shell and started the caller": (
        Machine().add(1, "runner", 0, parent=0).add(CALLER, "mesh", 2000, session=1),
        USER,
        True,
        "runner (pid 1)",
    ),
    "an orphan in a container whose session shares the first process's": (
        Machine()
        .add(1, "sh", 0, parent=0)
        .add(50, "claude", 1000, session=1)
        .add(CALLER, "mesh", 2000, parent=1, session=1),
        USER,
        False,
        "nobody can say who started mesh",
    ),
    "a parent this user may not see": (Machine().add(CALLER, "mesh", 2000, parent=555), USER, True, "mesh (pid 99)"),
    "a caller nobody can see": (Machine(), USER, False, "cannot be seen from here"),
}


@pytest.mark.parametrize(("machine", "tier", "guarded", "says"), FAMILIES.values(), ids=FAMILIES.keys())
def test_the_callers_family_decides(machine: Machine, tier: Tier, guarded: bool, says: str) -> None:
    caller = decide(CALLER, [CLAUDE], machine)
    assert (caller.tier, caller.guarded) == (tier, guarded)
    assert (caller.session is CLAUDE) is (tier is AGENT)
    assert says in caller.reason
    assert "\n" not in caller.reason
    if not guarded:
        assert "run it in your own terminal" in caller.reason


@pytest.mark.parametrize("name", FAMILIES)
def test_without_a_session_everybody_is_the_person(name: str) -> None:
    machine = FAMILIES[name][0]
    for sessions in ([], [DEAD]):
        caller = decide(CALLER, sessions, machine)
        assert (caller.tier, caller.guarded, caller.session) == (USER, True, None)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_status_tier_only_lowers(name: str) -> None:
    caller = decide(CALLER, [CLAUDE], FAMILIES[name][0], status=True)
    assert (caller.tier, caller.guarded) == (STATUS, False)


def test_a_number_used_again_is_not_the_session() -> None:
    machine = desktop()
    machine.add(50, "vim", 1500, parent=40).add(CALLER, "mesh", 2000)
    assert decide(CALLER, [CLAUDE], machine).tier is USER


def test_an_ended_session_still_makes_its_orphans_suspect() -> None:
    """Another session runs; the orphan is older than that one, but not than the one that ended."""
    machine = desktop().add(80, "sh", 900, parent=1, session=70).add(CALLER, "mesh", 2000)
    assert decide(CALLER, [CLAUDE], machine).guarded
    assert not decide(CALLER, [CLAUDE, DEAD], machine).guarded


ENVIRONMENTS: dict[str, tuple[dict[str, str], int, Tier, str]] = {
    # variables, start of the caller's login shell, expected
    "the session's id": ({ID: "id-new"}, 300, AGENT, ID),
    "an id it had before /clear": ({ID: "id-old"}, 300, AGENT, ID),
    "the session's pid": ({"CLAUDE_PID": "50"}, 300, AGENT, "CLAUDE_PID"),
    "the session's file": ({"MESH_SESSION_FILE": "/run/s.json"}, 300, AGENT, "MESH_SESSION_FILE"),
    "another session's id": ({ID: "id-other"}, 300, USER, ""),
    "an empty id": ({ID: ""}, 300, USER, ""),
    "another's file": ({"MESH_SESSION_FILE": "/run/t.json"}, 300, USER, ""),
    "an ended session's id": ({ID: "id-dead"}, 300, USER, ""),
    "a session older than the login shell": ({ID: "id-new"}, 1500, USER, ""),
    "a session as old as the login shell": ({ID: "id-new"}, 1000, AGENT, ID),
}


@pytest.mark.parametrize(("env", "shell", "tier", "names"), ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys())
def test_a_sessions_environment_counts_while_it_lives_and_is_not_older_than_the_login_shell(
    env: dict[str, str], shell: int, tier: Tier, names: str
) -> None:
    machine = ssh(shell).add(CALLER, "mesh", 2000, env=env)
    caller = decide(CALLER, [CLAUDE, DEAD], machine)
    assert caller.tier is tier
    assert caller.guarded is (tier is USER)
    assert names in caller.reason


def test_a_terminal_server_that_a_session_once_started_does_not_turn_the_person_into_an_agent() -> None:
    machine = Machine().add(1, "systemd", 0, parent=0).add(33, "tmux: server", 1200, env={ID: "id-new"})
    machine.add(44, "bash", 1500, env={ID: "id-new"}).add(CALLER, "mesh", 2000, env={ID: "id-new"})
    assert decide(CALLER, [CLAUDE], machine).tier is USER


def test_behind_a_cut_the_environment_counts_whatever_its_age() -> None:
    machine = desktop().add(CALLER, "mesh", 2000, parent=1, env={ID: "id-new"})
    caller = decide(CALLER, [CLAUDE], machine)
    assert caller.tier is AGENT
    assert caller.session is CLAUDE


# Real processes: this very test is the "session", its descendants are its tools.

LATE = """
import os, sys, time
print(os.getpid(), flush=True)
sys.stdin.read()
"""

ORPHAN = """
import os, sys
go = os.open(sys.argv[1], os.O_RDWR)
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.write(1, b"%d\\n" % os.getpid())
os.read(go, 1)
"""


def this_session(alive: bool = True) -> RegisteredSession:
    me = ProcTable().look(os.getpid())
    assert me is not None
    return RegisteredSession(me.pid, me.start, "tests", frozenset({"real-id"}), alive=alive)


@contextmanager
def orphan(tmp_path: object, env: dict[str, str]) -> Iterator[int]:
    """A process that forked twice and lost its parents, as a daemon does. Ends with the block."""
    fifo = f"{tmp_path}/go"
    os.mkfifo(fifo)
    starter = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, fifo], stdout=subprocess.PIPE, env={"PATH": os.environ["PATH"], **env}
    )
    assert starter.stdout is not None
    try:
        assert select.select([starter.stdout], [], [], 20)[0]
        pid = int(starter.stdout.readline())
        starter.wait(10)
        yield pid
    finally:
        with open(fifo, "r+b", buffering=0) as go:
            go.write(b"x")
            # The pipe ends when the orphan, its last writer, is gone.
            assert select.select([starter.stdout], [], [], 20)[0]
        starter.stdout.close()


def decided(pid: int, *sessions: RegisteredSession) -> Caller:
    return decide(pid, sessions, ProcTable())


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_real_descendant_is_the_sessions_agent() -> None:
    child = subprocess.Popen([sys.executable, "-c", LATE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdout.readline()
        caller = decided(child.pid, this_session())
        assert caller.tier is AGENT
        assert not caller.guarded
        assert decided(child.pid).tier is USER
    finally:
        child.stdin.close()
        child.stdout.close()
        child.wait(10)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_real_double_fork_is_a_cut_while_a_session_lives(tmp_path: object) -> None:
    with orphan(tmp_path, {}) as pid:
        caller = decided(pid, this_session())
        assert caller.tier is USER
        assert not caller.guarded
        assert f"(pid {pid})" in caller.reason
        assert "session tests was running by then" in caller.reason
        assert decided(pid, this_session(alive=False)).guarded
        assert decided(pid).guarded


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_real_double_fork_that_kept_its_environment_is_an_agent(tmp_path: object) -> None:
    with orphan(tmp_path, {ID: "real-id"}) as pid:
        caller = decided(pid, this_session())
        assert caller.tier is AGENT
        assert ID in caller.reason
