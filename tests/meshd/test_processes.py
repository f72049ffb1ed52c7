"""What /proc says, and what it cannot make us believe."""

import os
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from meshd.processes import MAX_ANCESTORS, Process, ProcTable, walk

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def process(pid: int, parent: int, start: int = 1) -> Process:
    return Process(pid, parent, start, pid, "x", "x", "x")


class Table:
    supported = True

    def __init__(self, *processes: Process) -> None:
        self.processes = {each.pid: each for each in processes}

    def look(self, pid: int) -> Process | None:
        return self.processes.get(pid)

    def environ(self, pid: int, names: frozenset[str]) -> Mapping[str, str]:
        return {}

    def cgroup(self, pid: int) -> str:
        return ""


@linux
def test_this_process_is_found_with_its_parents() -> None:
    table = ProcTable()
    me = table.look(os.getpid())
    assert me is not None
    assert me.parent == os.getppid()
    assert me.session == os.getsid(0)
    assert me.start == int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    assert me.exe == str(Path(sys.executable).resolve())
    assert me.program.startswith("python")
    chain = walk(table, os.getpid())
    assert [each.pid for each in chain[:2]] == [os.getpid(), os.getppid()]
    assert chain[-1].pid == 1 or chain[-1].parent == 0
    assert all(child.parent == parent.pid for child, parent in pairwise(chain))


@linux
@pytest.mark.parametrize("pid", [0, -1, 2**31 - 1])
def test_a_number_of_nobodys_is_nobody(pid: int) -> None:
    table = ProcTable()
    assert table.look(pid) is None
    assert walk(table, pid) == ()
    assert table.environ(pid, frozenset({"PATH"})) == {}
    assert table.cgroup(pid) == ""


@linux
def test_a_name_full_of_traps_moves_no_field() -> None:
    """comm is the program's own choice: blanks, parentheses, newlines and escapes."""
    script = (
        "import ctypes, sys\n"
        "ctypes.CDLL(None).prctl(15, b') S 1 1\\n\\x1b[2J', 0, 0, 0)\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"ready\n"
        found = ProcTable().look(child.pid)
        assert found is not None
        assert found.parent == os.getpid()
        assert found.name == ") S 1 1??[2J"
    finally:
        child.stdin.close()
        child.stdout.close()
        child.wait(10)


@linux
def test_only_named_variables_are_read() -> None:
    environ = {"CLAUDE_CODE_SESSION_ID": "s-1", "ANTHROPIC_API_KEY": "canary", "EMPTY": ""}
    # It has said something, so it runs: between fork and exec a process shows no environment at all.
    script = "print('up', flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-Sc", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"up\n"
        found = ProcTable().environ(child.pid, frozenset({"CLAUDE_CODE_SESSION_ID", "EMPTY", "MISSING"}))
        assert found == {"CLAUDE_CODE_SESSION_ID": "s-1", "EMPTY": ""}
    finally:
        child.communicate(b"\n", 10)


@pytest.mark.parametrize(
    "stat", [b"", b"1", b"1 (x", b"1 x) S 1", b"1 (x) S", b"1 (x) S a b c " + b"d " * 20, b"\xff" * 5000]
)
def test_a_stat_of_garbage_is_nobody(tmp_path: Path, stat: bytes) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_bytes(stat)
    assert ProcTable(tmp_path).look(7) is None


@linux
def test_a_process_that_ended_is_nobody() -> None:
    child = subprocess.Popen([sys.executable, "-ISc", "pass"])
    child.wait(10)
    table = ProcTable()
    assert table.look(child.pid) is None
    assert table.environ(child.pid, frozenset({"HOME"})) == {}


def test_a_program_that_was_replaced_on_the_disk_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_bytes(b"7 (a) R 1 (x)) S 3 4 5 " + b" ".join(b"%d" % n for n in range(7, 53)))
    (tmp_path / "7" / "exe").symlink_to("/opt/claude/versions/2.1.329 (deleted)")
    found = ProcTable(tmp_path).look(7)
    assert found == Process(7, 3, 22, 5, "a) R 1 (x)", "/opt/claude/versions/2.1.329 (deleted)", "")
    assert found.program == "2.1.329"
    (tmp_path / "7" / "exe").unlink()  # another user's
    hidden = ProcTable(tmp_path).look(7)
    assert hidden is not None
    assert (hidden.exe, hidden.program) == ("", "")


def test_a_system_without_such_a_folder_says_that_it_is_not_supported(tmp_path: Path) -> None:
    assert not ProcTable(tmp_path).supported
    assert walk(ProcTable(tmp_path), os.getpid()) == ()
    assert ProcTable().supported == (sys.platform == "linux")


def test_the_control_group_is_the_unified_or_systemds_own(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    for content, expected in (
        (b"0::/user.slice/a.scope\n", "/user.slice/a.scope"),
        (b"5:cpu:/x\n1:name=systemd:/user.slice/b.service\n0::/\n", "/user.slice/b.service"),
        (b"0::/first\n1:name=systemd:/second\n", "/second"),
        (b"", ""),
    ):
        (tmp_path / "7" / "cgroup").write_bytes(content)
        assert ProcTable(tmp_path).cgroup(7) == expected


def test_a_walk_ends_where_the_parent_is_younger_than_the_child() -> None:
    table = Table(process(30, 20, start=5), process(20, 10, start=9), process(10, 1, start=1))
    assert [each.pid for each in walk(table, 30)] == [30]


def test_a_walk_ends_in_a_circle_and_in_a_long_chain() -> None:
    assert len(walk(Table(process(2, 3), process(3, 2)), 2)) == MAX_ANCESTORS
    long = Table(*(process(pid, pid + 1) for pid in range(2, 500)))
    assert len(walk(long, 2)) == MAX_ANCESTORS


def test_a_parent_that_vanishes_is_replaced_by_the_one_the_child_was_given_to() -> None:
    class Vanishing(Table):
        looked = 0

        def look(self, pid: int) -> Process | None:
            if pid == 20:
                self.processes[30] = process(30, 1)  # between two looks the parent died
                return None
            return super().look(pid)

    chain = walk(Vanishing(process(30, 20), process(1, 0)), 30)
    assert [(each.pid, each.parent) for each in chain] == [(30, 1), (1, 0)]


def test_a_parent_hidden_from_this_user_ends_the_walk() -> None:
    assert [each.pid for each in walk(Table(process(30, 20)), 30)] == [30]
