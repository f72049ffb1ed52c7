"""Processes and the registry: whose ancestor is which session."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from meshd.claude.formats import MAX_REGISTRY_BYTES, ClaudeSession
from meshd.claude.process import (
    MAX_ANCESTORS,
    LinuxProcesses,
    Process,
    ProcessError,
    UnsupportedProcesses,
    ancestors,
    parse_stat,
    system_processes,
)
from meshd.claude.registry import Missing, NoSession, Registry, config_dir

CLAUDE = Path("/usr/bin/claude")
SESSION_A = "aaaaaaaa-0000-4000-8000-000000000000"
SESSION_B = "bbbbbbbb-0000-4000-8000-000000000000"
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Processes:
    """A process table from (pid, parent, start, program) rows."""

    def __init__(self, *rows: tuple[int, int, str, Path]) -> None:
        self._rows = {row[0]: row for row in rows}

    def process(self, pid: int) -> Process | ProcessError:
        row = self._rows.get(pid)
        return Process(row[0], row[1], row[2]) if row else ProcessError.GONE

    def exe(self, pid: int) -> Path | ProcessError:
        row = self._rows.get(pid)
        return row[3] if row else ProcessError.GONE

    def cwd(self, pid: int) -> Path | ProcessError:
        return ProcessError.DENIED

    def env(self, pid: int, names: Iterable[str]) -> Mapping[str, str] | ProcessError:
        return ProcessError.DENIED


SHELL = Path("/bin/sh")
# init - terminal - claude A - shell - claude B - shim
TREE = Processes(
    (1, 0, "1", Path("/sbin/init")),
    (10, 1, "100", SHELL),
    (20, 10, "200", CLAUDE),
    (30, 20, "300", SHELL),
    (40, 30, "400", CLAUDE),
    (50, 40, "500", Path("/usr/bin/python3")),
)


def register(folder: Path, pid: int, start: str, session_id: str) -> Path:
    (folder / "sessions").mkdir(exist_ok=True)
    path = folder / "sessions" / f"{pid}.json"
    path.write_text(json.dumps({"pid": pid, "sessionId": session_id, "procStart": start, "version": "2.1.329"}))
    return path


def registry(folder: Path, processes: Processes = TREE) -> Registry:
    return Registry(folder, processes, os.getuid())


def id_of(found: ClaudeSession | NoSession) -> str:
    assert isinstance(found, ClaudeSession)
    return found.session_id


def test_a_caller_belongs_to_the_nearest_registered_ancestor(tmp_path: Path) -> None:
    register(tmp_path, 20, "200", SESSION_A)
    register(tmp_path, 40, "400", SESSION_B)
    assert id_of(registry(tmp_path).session_above(50)) == SESSION_B
    assert id_of(registry(tmp_path).session_above(40)) == SESSION_B
    assert id_of(registry(tmp_path).session_above(30)) == SESSION_A
    assert registry(tmp_path).session_above(10) == NoSession(Missing.NOT_REGISTERED, 10)


def test_the_file_of_a_dead_session_with_a_reused_pid_is_passed_over(tmp_path: Path) -> None:
    register(tmp_path, 20, "200", SESSION_A)
    register(tmp_path, 40, "399", SESSION_B)
    assert id_of(registry(tmp_path).session_above(50)) == SESSION_A


def test_an_entry_written_for_a_process_that_is_not_claude_is_passed_over(tmp_path: Path) -> None:
    register(tmp_path, 20, "200", SESSION_A)
    register(tmp_path, 30, "300", SESSION_B)
    assert id_of(registry(tmp_path).session_above(30)) == SESSION_A


def test_an_entry_that_cannot_be_read_stops_the_search(tmp_path: Path) -> None:
    register(tmp_path, 20, "200", SESSION_A)
    path = register(tmp_path, 40, "400", SESSION_B)
    for data in (b"{", b" " * (MAX_REGISTRY_BYTES + 1)):
        path.write_bytes(data)
        assert registry(tmp_path).session_above(50) == NoSession(Missing.UNREADABLE, 40)


def test_a_link_or_a_pipe_in_the_registry_is_not_followed(tmp_path: Path) -> None:
    path = register(tmp_path, 40, "400", SESSION_B)
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    assert registry(tmp_path).session_above(50) == NoSession(Missing.UNREADABLE, 40)
    path.unlink()
    os.mkfifo(path)
    assert registry(tmp_path).session_above(50) == NoSession(Missing.UNREADABLE, 40)


def test_another_users_entry_is_not_believed(tmp_path: Path) -> None:
    register(tmp_path, 40, "400", SESSION_B)
    found = Registry(tmp_path, TREE, os.getuid() + 1).session_above(50)
    assert found == NoSession(Missing.UNREADABLE, 40)


def test_a_process_that_is_gone_has_no_session(tmp_path: Path) -> None:
    assert registry(tmp_path).session_above(99) == NoSession(Missing.NO_PROCESS, 99)


def test_the_session_of_a_known_process_is_read_anew(tmp_path: Path) -> None:
    register(tmp_path, 20, "200", SESSION_A)
    known = registry(tmp_path)
    assert id_of(known.session_of(20, "200")) == SESSION_A
    path = register(tmp_path, 20, "200", SESSION_B)
    assert id_of(known.session_of(20, "200")) == SESSION_B
    assert known.session_of(20, "199") == NoSession(Missing.NO_PROCESS, 20)
    path.unlink()
    assert known.session_of(20, "200") == NoSession(Missing.NOT_REGISTERED, 20)


def test_live_sessions_are_listed_without_the_dead_and_the_broken(tmp_path: Path) -> None:
    assert registry(tmp_path).live_sessions() == ()
    register(tmp_path, 40, "400", SESSION_B)
    register(tmp_path, 20, "200", SESSION_A)
    register(tmp_path, 77, "1", SESSION_A)
    register(tmp_path, 10, "100", SESSION_A)  # a shell
    register(tmp_path, 50, "500", SESSION_A).write_bytes(b"{")
    (tmp_path / "sessions" / "x.json").write_text("{}")
    (tmp_path / "sessions" / "20.key").write_text("{}")
    assert [(session.pid, session.session_id) for session in registry(tmp_path).live_sessions()] == [
        (20, SESSION_A),
        (40, SESSION_B),
    ]


def test_a_system_that_is_not_supported_says_so(tmp_path: Path) -> None:
    found = Registry(tmp_path, UnsupportedProcesses(), 0)
    assert found.session_above(1) == NoSession(Missing.NOT_SUPPORTED, 1)
    assert found.session_of(1, "1") == NoSession(Missing.NOT_SUPPORTED, 1)
    assert found.live_sessions() == ()
    assert UnsupportedProcesses().env(1, ["HOME"]) is ProcessError.NOT_SUPPORTED
    assert UnsupportedProcesses().cwd(1) is ProcessError.NOT_SUPPORTED


def test_a_parent_younger_than_its_child_is_not_its_parent() -> None:
    table = Processes((5, 4, "100", SHELL), (4, 3, "200", SHELL), (3, 0, "1", SHELL))
    assert ancestors(table, 5) == (Process(5, 4, "100"),)


def test_a_loop_of_parents_ends() -> None:
    table = Processes((5, 4, "1", SHELL), (4, 5, "1", SHELL))
    found = ancestors(table, 5)
    assert isinstance(found, tuple)
    assert len(found) == MAX_ANCESTORS


def test_a_process_name_may_hold_anything() -> None:
    stat = b"42 (a) R 1 (x)) S 7 " + b" ".join(b"%d" % number for number in range(5, 53))
    assert parse_stat(stat, 42) == Process(42, 7, "22")
    assert parse_stat(stat, 43) is None
    assert parse_stat(b"42 (x) S", 42) is None
    assert parse_stat(b"", 42) is None


@linux
def test_proc_tells_parent_start_program_folder_and_variables(tmp_path: Path) -> None:
    with sleeping(tmp_path, {"HOME": "/home/ann", "SECRET": "x"}) as child:
        table = system_processes()
        found = ancestors(table, child)
        assert isinstance(found, tuple)
        assert [process.pid for process in found[:2]] == [child, os.getpid()]
        assert table.exe(child) == Path(sys.executable).resolve()
        assert table.cwd(child) == tmp_path
        assert table.env(child, ["HOME", "MESH"]) == {"HOME": "/home/ann"}


def test_only_listed_variables_may_be_read() -> None:
    for table in (LinuxProcesses(), UnsupportedProcesses()):
        with pytest.raises(ValueError, match="ANTHROPIC_API_KEY"):
            table.env(os.getpid(), ["HOME", "ANTHROPIC_API_KEY"])


@linux
def test_a_process_that_ended_is_gone(tmp_path: Path) -> None:
    with sleeping(tmp_path, {}) as child:
        pass
    table = LinuxProcesses()
    assert table.process(child) is ProcessError.GONE
    assert table.exe(child) is ProcessError.GONE
    assert table.env(child, ["HOME"]) is ProcessError.GONE


@contextmanager
def sleeping(folder: Path, env: dict[str, str]) -> Iterator[int]:
    """A child that waits for its input to close."""
    argv = [sys.executable, "-I", "-S", "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder, env=env) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child.pid
        child.communicate(timeout=10)


@pytest.mark.parametrize(
    ("config", "home", "found"),
    [
        ("/c", "/home/ann", Path("/c")),
        (None, "/home/ann", Path("/home/ann/.claude")),
        ("", "/home/ann", Path("/home/ann/.claude")),
        ("relative", "/home/ann", Path("/home/ann/.claude")),
        (None, "relative", None),
        (None, None, None),
    ],
)
def test_the_config_dir_is_the_clients(config: str | None, home: str | None, found: Path | None) -> None:
    assert config_dir(config, home) == found
