"""Whether a daemon may be started from here: judged on trees of processes, made up and real."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mesh_clients import ancestry

Tree = dict[int, tuple[int, str, str]]
"""pid: (parent, program, network namespace)."""


def proc_of(tmp_path: Path, tree: Tree) -> str:
    """A /proc with these processes."""
    root = tmp_path / "proc"
    for pid, (parent, program, net) in tree.items():
        own = root / str(pid)
        (own / "ns").mkdir(parents=True)
        (own / "stat").write_text(f"{pid} (odd) name) S {parent} 1 1 0 -1")
        (own / "comm").write_text(f"{Path(program).name[:15]}\n")
        (own / "exe").symlink_to(program)
        for kind in ancestry.NAMESPACES:
            (own / "ns" / kind).symlink_to(f"{kind}:[{net if kind == 'net' else 1}]")
    return str(root)


PERSON: Tree = {1: (0, "/sbin/init", "1"), 20: (1, "/bin/bash", "1"), 30: (20, "/usr/bin/python3", "1")}


def test_a_person_at_a_shell_may(tmp_path: Path) -> None:
    assert ancestry.refusal({"HOME": "/x"}, 30, proc_of(tmp_path, PERSON)) == ""


@pytest.mark.parametrize(
    "program", ["/opt/npm/claude", "/home/al/.local/share/claude/versions/2.1.329", "/usr/local/bin/claude"]
)
def test_a_child_of_an_agent_outside_any_sandbox_may(tmp_path: Path, program: str) -> None:
    proc = proc_of(tmp_path, {**PERSON, 25: (20, program, "1"), 30: (25, "/usr/bin/python3", "1")})
    assert ancestry.refusal({"HOME": "/x", "CLAUDECODE": "1"}, 30, proc) == ""


def test_an_agent_is_also_known_by_claude_codes_own_registry(tmp_path: Path) -> None:
    sessions = tmp_path / "config" / "sessions"
    sessions.mkdir(parents=True)
    (sessions / "25.json").write_text("{}")
    proc = proc_of(tmp_path, {**PERSON, 25: (20, "/usr/bin/node", "1"), 30: (25, "/usr/bin/python3", "1")})
    told = {"HOME": "/x", "CLAUDECODE": "1", "CLAUDE_CONFIG_DIR": str(tmp_path / "config")}
    assert ancestry.refusal(told, 30, proc) == ""
    assert ancestry.refusal({**told, "CLAUDE_CONFIG_DIR": "/elsewhere"}, 30, proc) != ""


def test_inside_the_agents_sandbox_it_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    tree = {**PERSON, 25: (20, "/opt/claude", "1"), 28: (25, "/usr/bin/bwrap", "2"), 30: (28, "/bin/python3", "2")}
    said = ancestry.refusal({"HOME": "/x"}, 30, proc_of(tmp_path, tree))
    assert "sandbox" in said
    assert said.endswith("start it outside: mesh up")


def test_namespaces_that_may_not_be_seen_are_refused(tmp_path: Path) -> None:
    proc = proc_of(tmp_path, {**PERSON, 25: (20, "/opt/claude", "1"), 30: (25, "/bin/python3", "1")})
    (Path(proc) / "25" / "ns" / "user").unlink()
    assert "sandbox" in ancestry.refusal({"HOME": "/x"}, 30, proc)
    (Path(proc) / "30" / "ns" / "user").unlink()
    assert "sandbox" in ancestry.refusal({"HOME": "/x"}, 30, proc)


@pytest.mark.parametrize("variable", ancestry.AGENT_VARIABLES)
def test_an_agents_variables_without_an_agent_above_are_refused_by_name(tmp_path: Path, variable: str) -> None:
    said = ancestry.refusal({"HOME": "/x", variable: "1"}, 30, proc_of(tmp_path, PERSON))
    assert said.startswith(f"{variable} is set")


def test_a_person_inside_a_container_as_a_whole_may(tmp_path: Path) -> None:
    inside = {pid: (parent, program, "77") for pid, (parent, program, _) in PERSON.items()}
    assert ancestry.refusal({"HOME": "/x"}, 30, proc_of(tmp_path, inside)) == ""


def test_a_ring_of_parents_ends(tmp_path: Path) -> None:
    proc = proc_of(tmp_path, {7: (8, "/bin/a", "1"), 8: (7, "/bin/b", "1")})
    assert len(list(ancestry.ancestors(7, proc))) == ancestry.MAX_ANCESTORS


CHECK = (
    "import os; from mesh_clients import ancestry; "
    "print(ancestry.refusal({'HOME': '/x', 'CLAUDECODE': '1'}, os.getpid()))"
)


def below_an_agent(tmp_path: Path, *wrapper: str) -> str:
    """What a real process below a real program called claude is told, run through `wrapper`."""
    agent = tmp_path / "claude"
    shutil.copy("/bin/sh", agent)
    # `; true` keeps the shell there: it would else become what it runs.
    command = [str(agent), "-c", '"$@"; true', "claude", *wrapper, sys.executable, "-c", CHECK]
    return subprocess.run(command, capture_output=True, timeout=20, check=True, text=True).stdout.strip()


def test_a_real_child_of_a_program_called_claude_may(tmp_path: Path) -> None:
    assert below_an_agent(tmp_path) == ""


def can_unshare(*flags: str) -> bool:
    return subprocess.run(["unshare", *flags, "true"], capture_output=True, timeout=20, check=False).returncode == 0


@pytest.mark.parametrize("flags", [("--net",), ("--mount",), ("--user", "--map-root-user")], ids=" ".join)
def test_a_real_child_in_namespaces_of_its_own_is_refused(tmp_path: Path, flags: tuple[str, ...]) -> None:
    if not can_unshare(*flags):
        pytest.skip(f"this machine's kernel does not let us unshare {' '.join(flags)}")
    assert "sandbox" in below_an_agent(tmp_path, "unshare", *flags)


def test_a_real_child_that_does_not_see_its_agent_is_refused(tmp_path: Path) -> None:
    flags = ("--pid", "--fork", "--mount-proc")
    if not can_unshare(*flags):
        pytest.skip(f"this machine's kernel does not let us unshare {' '.join(flags)}")
    assert below_an_agent(tmp_path, "unshare", *flags).startswith("CLAUDECODE is set")
