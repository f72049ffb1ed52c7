"""Processes and the registry: whose ancestor is which session."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from meshd.claude.formats import MAX_REGISTRY_BYTES, ClaudeSession
from meshd.claude.registry import Missing, NoSession, Registry, config_dir
from meshd.processes import Process, ProcTable

CLAUDE = Path("/usr/bin/claude")
SESSION_A = "aaaaaaaa-0000-4000-8000-000000000000"
SESSION_B = "bbbbbbbb-0000-4000-8000-000000000000"


class Processes:
    """A process table from (pid, parent, start, program) rows."""

    supported = True

    def __init__(self, *rows: tuple[int, int, int, Path]) -> None:
        self._rows = {row[0]: row for row in rows}

    def look(self, pid: int) -> Process | None:
        row = self._rows.get(pid)
        return Process(row[0], row[1], row[2], row[0], row[3].name, str(row[3]), row[3].name) if row else None

    def environ(self, pid: int, names: frozenset[str]) -> Mapping[str, str]:
        return {}

    def cgroup(self, pid: int) -> str:
        return ""


SHELL = Path("/bin/sh")
# init - terminal - claude A - shell - claude B - shim
TREE = Processes(
    (1, 0, 1, Path("/sbin/init")),
    (10, 1, 100, SHELL),
    (20, 10, 200, CLAUDE),
    (30, 20, 300, SHELL),
    (40, 30, 400, CLAUDE),
    (50, 40, 500, Path("/usr/bin/python3")),
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
    found = Registry(tmp_path, ProcTable(tmp_path / "proc"), 0)
    assert found.session_above(1) == NoSession(Missing.NOT_SUPPORTED, 1)
    assert found.session_of(1, "1") == NoSession(Missing.NOT_SUPPORTED, 1)
    assert found.live_sessions() == ()


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
