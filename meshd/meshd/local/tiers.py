"""Who calls: the person, an agent of one of this daemon's sessions, or the status line.

Judged by where the calling process comes from. This is a guard rail: it stops an agent that uses its tools, not code
that hides its origin, for whoever runs code as a user is that user.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace

from meshd.processes import MAX_ANCESTORS, Process, ProcessTable, walk

SHELLS = frozenset(
    {"sh", "bash", "zsh", "fish", "dash", "ksh", "mksh", "tcsh", "csh", "ash", "busybox", "nu", "xonsh", "pwsh"}
)
LOGINS = frozenset(
    {"login", "sshd", "sshd-session", "dropbear", "mosh-server", "cron", "crond", "atd", "anacron", "supervisord"}
)
# comm keeps 15 characters, so the long names are cut here too; the file's own name is compared as well.
TERMINALS = frozenset(
    {"alacritty", "code", "codium", "cosmic-term", "cursor", "emacs", "foot", "ghostty", "gnome-terminal-", "guake"}
    | {"gnome-terminal-server", "iTerm2", "iTermServer", "kgx", "kitty", "konsole", "lxterminal", "mate-terminal"}
    | {"ptyxis", "ptyxis-agent", "qterminal", "rxvt", "st", "Terminal", "terminator", "tilda", "tilix", "urxvt"}
    | {"urxvtd", "wezterm-gui", "wezterm-mux-ser", "wezterm-mux-server", "windsurf", "xfce4-terminal", "xterm"}
    | {"yakuake", "zed-editor"}
)
MULTIPLEXERS = frozenset({"tmux", "tmux: server", "screen", "SCREEN", "zellij", "dtach", "abduco", "dvtm"})
ROOTS = LOGINS | TERMINALS | MULTIPLEXERS
# These start services and also inherit orphans: only a control group tells the two apart.
ADOPTERS = frozenset({"systemd", "launchd", "init", "openrc-init", "s6-svscan", "runsvdir"})
# What Claude Code and our SessionStart hook put into the environment of everything a session starts.
SESSION_ID_VARIABLE = "CLAUDE_CODE_SESSION_ID"
SESSION_PID_VARIABLE = "CLAUDE_PID"
SESSION_FILE_VARIABLE = "MESH_SESSION_FILE"
_VARIABLES = frozenset({SESSION_ID_VARIABLE, SESSION_PID_VARIABLE, SESSION_FILE_VARIABLE})


class Tier(enum.Enum):
    USER = "user"
    AGENT = "agent"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class RegisteredSession:
    """A session this daemon watches, or watched: ended ones still tell which orphans may have come from them."""

    pid: int
    start: int
    """Start time in the table's unit (clock ticks since boot)."""
    name: str
    ids: frozenset[str] = frozenset()
    """Every id it has had: Claude's id changes with /clear while older children keep the old one."""
    session_file: str | None = None
    alive: bool = True


@dataclass(frozen=True, slots=True)
class Caller:
    """The judgement about one connection."""

    tier: Tier
    guarded: bool
    """May use the guarded verbs (new, join, invite, …)."""
    session: RegisteredSession | None
    """Whose agent it is; None for a person."""
    reason: str
    """One sentence for a refusal and for the log: what was found, and what the person can do."""


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where the walk ended. `since` is the start of the caller's login shell, None when no such shell was found."""

    cut: bool
    since: int | None
    reason: str


def decide(pid: int, sessions: Sequence[RegisteredSession], table: ProcessTable, *, status: bool = False) -> Caller:
    """Judges the process `pid`. `status` is a caller's own wish for the read-only tier: it only ever lowers.

    An ancestor that is a live registered session makes an agent wherever it stands in the chain, also above a login
    shell: agents run their commands through `bash -l`.
    """
    chain = walk(table, pid)
    live = {(each.pid, each.start): each for each in sessions if each.alive}
    caller = _by_ancestry(chain, live)
    if caller is None:
        origin = _origin(chain, sessions, table)
        caller = _by_environment(chain, live, origin, table) or _person(origin, bool(live))
    return replace(caller, tier=Tier.STATUS, guarded=False) if status else caller


def _by_ancestry(chain: Sequence[Process], live: dict[tuple[int, int], RegisteredSession]) -> Caller | None:
    for process in chain:
        session = live.get((process.pid, process.start))
        if session is not None:
            reason = f"the call comes from session {session.name} (pid {session.pid}); run it in your own terminal"
            return Caller(Tier.AGENT, guarded=False, session=session, reason=reason)
    return None


def _by_environment(
    chain: Sequence[Process], live: dict[tuple[int, int], RegisteredSession], origin: _Origin, table: ProcessTable
) -> Caller | None:
    """A session's variables count while it lives, unless it is older than the caller's own login shell.

    A terminal server that was once started by a session hands those variables to every later shell of the person.
    """
    if not chain or not live:
        return None
    environ = table.environ(chain[0].pid, _VARIABLES)
    for session in live.values():
        if origin.since is not None and session.start < origin.since:
            continue
        if environ.get(SESSION_ID_VARIABLE, "") in session.ids:
            variable = SESSION_ID_VARIABLE
        elif environ.get(SESSION_PID_VARIABLE) == str(session.pid):
            variable = SESSION_PID_VARIABLE
        elif session.session_file is not None and environ.get(SESSION_FILE_VARIABLE) == session.session_file:
            variable = SESSION_FILE_VARIABLE
        else:
            continue
        reason = f"{variable} names the running session {session.name}; run it in your own terminal, or unset it there"
        return Caller(Tier.AGENT, guarded=False, session=session, reason=reason)
    return None


def _person(origin: _Origin, any_live: bool) -> Caller:
    return Caller(Tier.USER, guarded=not (origin.cut and any_live), session=None, reason=origin.reason)


def _origin(chain: Sequence[Process], sessions: Sequence[RegisteredSession], table: ProcessTable) -> _Origin:
    """Walks up to the first login shell, terminal, multiplexer or service; a link left to init on the way is a cut."""
    if not chain:
        return _Origin(True, None, "the calling process cannot be seen from here; run it in your own terminal")
    for index, process in enumerate(chain):
        if index and _is_login_shell(process):
            return _Origin(False, process.start, f"called from the login shell {process.name} (pid {process.pid})")
        if index and (process.name in ROOTS or process.program in ROOTS):
            return _Origin(False, chain[index - 1].start, f"called from {process.name} (pid {process.pid})")
        parent = chain[index + 1] if index + 1 < len(chain) else None
        if process.parent == 0 and process.pid != 1:
            return _Origin(False, process.start, f"{process.name} (pid {process.pid}) came from outside the container")
        if parent is not None and (parent.pid == 1 or parent.name in ADOPTERS):
            return _below_adopter(process, parent, sessions, table)
    return _top(chain, sessions)


def _below_adopter(
    process: Process, parent: Process, sessions: Sequence[RegisteredSession], table: ProcessTable
) -> _Origin:
    """A child of init or of the user's service manager: started by it, or an orphan left to it?"""
    if _started_by(process, parent, sessions, table):
        return _Origin(False, parent.start, f"called from {parent.name} (pid {parent.pid})")
    group = table.cgroup(process.pid)
    if (
        parent.name in ADOPTERS
        and group.endswith(".service")
        and process.session == process.pid
        and all(table.cgroup(session.pid) != group for session in sessions if session.alive)
    ):
        return _Origin(False, process.start, f"called from the service {group.rpartition('/')[2]}")
    return _orphan(process, sessions)


def _started_by(process: Process, parent: Process, sessions: Sequence[RegisteredSession], table: ProcessTable) -> bool:
    """Whether a container's first process started this one itself: an agent's tools run in POSIX sessions of their own."""
    if parent.pid != 1 or parent.name in ADOPTERS or process.session != parent.session:
        return False
    agents = (table.look(session.pid) for session in sessions if session.alive)
    return all(agent is None or agent.session != process.session for agent in agents)


def _top(chain: Sequence[Process], sessions: Sequence[RegisteredSession]) -> _Origin:
    """No root was met: the first process of the namespace, a parent hidden from this user, or a chain without end."""
    top = chain[-1]
    if len(chain) < MAX_ANCESTORS and (top.pid == 1 or top.parent > 1):
        return _Origin(False, None, f"called from {top.name} (pid {top.pid})")
    return _orphan(top, sessions)


def _orphan(process: Process, sessions: Sequence[RegisteredSession]) -> _Origin:
    """A link whose parent is gone. What is older than every session known cannot come from one: that is no cut."""
    suspects = [session.name for session in sessions if session.start <= process.start]
    if not suspects:
        return _Origin(False, None, f"called from {process.name} (pid {process.pid}), older than every session")
    reason = (
        f"nobody can say who started {process.name} (pid {process.pid}), and session {suspects[0]} was running by then;"
        " run it in your own terminal"
    )
    return _Origin(True, None, reason)


def _is_login_shell(process: Process) -> bool:
    return process.argv0.startswith("-") and process.name in SHELLS
