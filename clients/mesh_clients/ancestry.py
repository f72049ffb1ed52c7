"""Where this process stands below an agent, for one question: may a daemon be started from here?

A daemon lives on after its starter. Born inside an agent's sandbox it would keep the sandbox's network and mounts, and
no other session could use it. This is a guard rail against accidents, not against code that hides.
"""

import os
import sys
from collections.abc import Iterator, Mapping

AGENT_VARIABLES = ("CLAUDECODE", "CLAUDE_CODE_SESSION_ID", "CLAUDE_CODE_CHILD_SESSION")
"""Set by Claude Code for what it runs."""
NAMESPACES = ("pid", "net", "mnt", "user")
MAX_ANCESTORS = 64
OUTSIDE = "start it outside: mesh up"


def refusal(environ: Mapping[str, str], pid: int, proc: str = "/proc") -> str:
    """Why no daemon may be started by `pid`; empty when it may."""
    agent = next((parent for parent in ancestors(pid, proc) if is_agent(parent, environ, proc)), 0)
    if agent:
        for kind in NAMESPACES:
            if namespace(agent, kind, proc) != namespace(pid, kind, proc) or not namespace(pid, kind, proc):
                return f"this command runs in the agent's sandbox ({kind} namespace); {OUTSIDE}"
        return ""
    for variable in AGENT_VARIABLES:
        if environ.get(variable):
            return f"{variable} is set, but no agent is above this process; {OUTSIDE}"
    return ""


def is_below_agent(environ: Mapping[str, str], pid: int, proc: str = "/proc") -> bool:
    """Whether an agent has `pid` run, as far as one that does not hide can be seen."""
    return any(map(environ.get, AGENT_VARIABLES)) or any(is_agent(each, environ, proc) for each in ancestors(pid, proc))


def ancestors(pid: int, proc: str = "/proc") -> Iterator[int]:
    """The parent of `pid`, its parent, and so on, as far as they can be seen."""
    for _ in range(MAX_ANCESTORS):
        pid = parent_of(pid, proc)
        if pid <= 0:
            return
        yield pid


def parent_of(pid: int, proc: str) -> int:
    """The parent's pid, 0 when it cannot be seen."""
    if not sys.platform.startswith("linux"):
        return _parent_by_ps(pid)
    try:
        with open(f"{proc}/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything, so it ends at the last one; the parent is the second after it.
            return int(file.read(4096).rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _parent_by_ps(pid: int) -> int:
    import subprocess

    try:
        said = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, timeout=2, check=False)
        return int(said.stdout or b"0")
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0


def is_agent(pid: int, environ: Mapping[str, str], proc: str = "/proc") -> bool:
    """Whether `pid` is a Claude Code: by the program it runs, or because Claude Code's own registry names it."""
    config = environ.get("CLAUDE_CONFIG_DIR") or f"{environ.get('HOME', '')}/.claude"
    if os.path.exists(f"{config}/sessions/{pid}.json"):
        return True
    try:
        program = os.readlink(f"{proc}/{pid}/exe")
    except OSError:
        program = ""
    if os.path.basename(program) == "claude" or "/claude/versions/" in program:
        return True
    try:
        with open(f"{proc}/{pid}/comm", "rb") as file:
            return file.read(32).strip() == b"claude"
    except OSError:
        return False


def namespace(pid: int, kind: str, proc: str) -> str:
    """The namespace's name, empty when it may not be seen. Systems without namespaces have one for all."""
    if not sys.platform.startswith("linux"):
        return "only"
    try:
        return os.readlink(f"{proc}/{pid}/ns/{kind}")
    except OSError:
        return ""
