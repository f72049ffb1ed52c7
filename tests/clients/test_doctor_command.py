"""`mesh doctor` as a person runs it: each cause is broken here, and its sentence and its mend are looked for."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from client_kit.answers import result
from client_kit.programs import mesh
from client_kit.scripted import Scripted
from mesh_clients.build import BUILD
from mesh_clients.checks import home as home_checks
from mesh_clients.checks.home import check_folder, check_socket
from meshd.doctor import machine


@pytest.fixture
def stopped_after(environ: dict) -> Iterator[None]:
    yield
    mesh(environ, "down")


@pytest.fixture
def daemon(scripted: Scripted) -> Scripted:
    """One that answers and finds nothing."""
    scripted.on_request["daemon.status"] = result({"pid": os.getpid(), "version": BUILD})
    scripted.on_request["daemon.doctor"] = result({"checks": []})
    scripted.start()
    scripted.path.chmod(0o600)
    return scripted


def found(environ: dict, name: str, *arguments: str) -> list[tuple[str, str, str]]:
    """What was found under a name: verdict, text, mend."""
    told = json.loads(mesh(environ, "doctor", "--json", *arguments).stdout)["checks"]
    return [(check["ok"], check["text"], check["fix"]) for check in told if check["name"] == name]


def test_with_the_real_daemon_nothing_is_broken_and_the_exit_status_says_so(environ: dict, stopped_after: None) -> None:
    done = mesh(environ, "doctor")
    assert done.returncode == 0, done.stdout
    said = done.stdout.decode()
    assert [title in said for title in ("This machine\n", "Claude Code\n", "The daemon\n")] == [True] * 3
    assert "ok    socket: " in said
    assert f"ok    daemon: version {BUILD}, pid " in said
    assert "warn  mesh: no mesh yet\n      mend: mesh new NAME, or mesh join URL\n" in said
    assert "\nNothing is broken; " in said
    assert "\x1b" not in said


def test_without_a_daemon_the_rest_is_looked_at_all_the_same(environ: dict, home: Path) -> None:
    done = mesh(environ, "doctor", "--no-start")
    assert done.returncode == 1
    assert b"BAD   daemon: no daemon runs: run mesh up\n      mend: mesh up\n" in done.stdout
    assert b"BAD   socket: there is none" in done.stdout
    assert b"files: %b is private" % os.fsencode(home) in done.stdout
    assert b"MiB free" in done.stdout
    assert os.listdir(home) == []


def test_a_daemon_that_cannot_start_says_why(environ: dict, home: Path) -> None:
    (home / "config.toml").write_text("nonsense = 1\n")
    ((verdict, text, fix),) = found(environ, "daemon")
    assert (verdict, fix) == ("bad", "see to that, then mesh up")
    assert "config.toml:1: unknown key 'nonsense'" in text
    ((verdict, text, _),) = found(environ, "daemon", "--no-start")
    assert "its last start failed: " in text
    assert "unknown key 'nonsense'" in text


def test_a_daemon_of_another_version_is_told(environ: dict, daemon: Scripted) -> None:
    assert found(environ, "version") == []
    daemon.on_request["daemon.status"] = result({"pid": 7, "version": "0.0.1"})
    ((verdict, text, fix),) = found(environ, "version")
    assert (verdict, fix) == ("warn", "mesh down && mesh up")
    assert text.startswith(f"it is version 0.0.1, this command is {BUILD}")


def test_a_daemon_that_refuses_is_told(environ: dict, daemon: Scripted) -> None:
    daemon.on_request["daemon.doctor"] = lambda talker, request: talker.refuse(request, "internal", "it broke")
    ((verdict, text, _),) = found(environ, "daemon")
    assert (verdict, text) == ("bad", "it does not answer as it should: it broke")


def test_a_home_that_others_can_read_is_told_with_the_command_that_closes_it(environ: dict, home: Path) -> None:
    (home / "x").write_text("")
    home.chmod(0o755)
    assert found(environ, "files", "--no-start") == [
        ("bad", f"others can read or write {home}", f"chmod -R go= {home}")
    ]


def test_a_home_that_is_no_folder_or_not_there(environ: dict, home: Path) -> None:
    environ["MESH_HOME"] = str(home / "later")
    assert found(environ, "files", "--no-start")[0][0] == "ok"
    (home / "later").write_text("")
    assert found(environ, "files", "--no-start")[0][1] == f"{home / 'later'} is no folder"


def test_a_home_inside_the_project_is_not_used(environ: dict, home: Path) -> None:
    environ["CLAUDE_PROJECT_DIR"] = str(home)
    ((verdict, text, _),) = found(environ, "files", "--no-start")
    assert (verdict, "inside this session's project" in text) == ("bad", True)
    assert found(environ, "daemon")[0][2] == "unset MESH_HOME, or set it to a folder of yours", (
        "mesh up would not mend it"
    )


def test_a_socket_that_others_may_use_is_told(environ: dict, daemon: Scripted) -> None:
    assert found(environ, "socket")[0][0] == "ok"
    daemon.path.chmod(0o666)
    ((verdict, _, fix),) = found(environ, "socket")
    assert (verdict, fix) == ("bad", f"chmod 600 {daemon.path}")


def test_a_dead_socket_a_file_in_its_place_and_none_are_told_apart(environ: dict, home: Path) -> None:
    (home / "run").mkdir()
    path = home / "run/sock"
    (home / "run/where").write_text(f"{path}\n")
    assert found(environ, "socket", "--no-start")[0][1] == f"{path} is not there: no daemon runs"
    path.write_text("")
    path.chmod(0o600)
    assert found(environ, "socket", "--no-start")[0][1:] == (f"{path} is no socket", f"rm {path}; then mesh up")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
    assert found(environ, "socket", "--no-start")[0][1].startswith(f"nobody listens at {path}")
    (home / "run/where").write_text("relative\n")
    assert "cannot be used" in found(environ, "socket", "--no-start")[0][1]


def test_settings_that_cannot_be_read_are_told_in_one_line(environ: dict, daemon: Scripted, tmp_path: Path) -> None:
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude/settings.json").write_text("{")
    ((verdict, text, _),) = found(environ, "claude settings")
    assert (verdict, "is not JSON (line 1" in text) == ("bad", True)


def test_after_an_install_everything_of_claude_codes_is_in_order(environ: dict, daemon: Scripted) -> None:
    environ["PATH"] = "/nowhere"
    assert found(environ, "claude settings")[0][2] == "mesh install"
    mesh(environ, "install", "--yes")
    assert found(environ, "claude settings") == []
    for name in ("hooks", "MCP server", "status line"):
        ((verdict, _, _),) = found(environ, name)
        assert verdict == "ok", name


def test_a_folder_or_a_socket_of_another_user_is_told(
    daemon: Scripted, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.fsencode(home)
    assert next(iter(check_folder(data))).ok == "ok"
    assert check_socket(data).ok == "ok"
    me = os.geteuid()
    for module in ("os", "posix"):
        monkeypatch.setattr(f"{module}.geteuid", lambda: me + 1)
    first = next(iter(check_folder(data)))
    assert (first.ok, first.fix) == ("bad", f"chown -R {me + 1} {home}")
    found = check_socket(data)
    assert (found.ok, found.text) == ("bad", f"{daemon.path}: another user answers at the daemon's address")


def test_a_disk_that_is_nearly_full_is_told_without_a_daemon_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh_clients.checks.home.FREE_FLOOR", 2**70)
    disk = list(check_folder(os.fsencode(home)))[-1]
    assert (disk.name, disk.ok, disk.fix) == ("disk", "bad", f"free some space on the disk of {home}")


def test_the_floor_of_the_disk_is_the_daemons() -> None:
    assert home_checks.FREE_FLOOR == machine.FREE_FLOOR
