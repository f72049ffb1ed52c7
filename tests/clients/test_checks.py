"""What `mesh doctor` finds of the service and of Claude Code without any daemon: each cause, its sentence, its mend."""

import json
from pathlib import Path

import pytest

from mesh_clients.checks import policy, program, settings
from mesh_clients.checks.finding import Finding
from mesh_clients.checks.service import check_service, judge
from mesh_clients.install import claude, programs
from mesh_clients.install.service import Service, find_service
from meshd.claude.formats import KNOWN_VERSIONS

SERVICE = Service(False, "meshd.service", "/u/meshd.service", b"")
GOOD = {"ActiveState": "active", "UnitFileState": "enabled", "MainPID": "7", "NeedDaemonReload": "no"}


def stand_in(folder: Path, name: str, script: str) -> str:
    """A program in a folder of its own. Returns the PATH that finds it."""
    folder.mkdir(exist_ok=True)
    tool = folder / name
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    return str(folder)


def only(findings: list[Finding], name: str) -> Finding:
    (found,) = [each for each in findings if each.name == name]
    return found


# The service.


@pytest.mark.parametrize(
    ("changed", "pid", "verdict", "text", "fix"),
    [
        ({}, 7, "ok", "meshd.service: active", ""),
        ({}, 0, "ok", "meshd.service: active", ""),
        ({"UnitFileState": "disabled"}, 7, "warn", "is not started at login", "systemctl --user enable meshd.service"),
        ({"NeedDaemonReload": "yes"}, 7, "warn", "has changed since", "systemctl --user daemon-reload"),
        ({"MainPID": "8"}, 7, "bad", "two daemons: meshd.service runs as pid 8, and pid 7 answers", "mesh down;"),
        ({"MainPID": "0", "ActiveState": "inactive"}, 7, "warn", "does not run: pid 7 was started", "mesh down"),
        ({"MainPID": "0", "ActiveState": "failed", "Result": "exit-code"}, 0, "bad", "exit-code", "journalctl"),
        ({"MainPID": "0", "ActiveState": "failed"}, 7, "warn", "no reason given", "journalctl"),
    ],
)
def test_a_service_is_judged_beside_the_daemon_that_answers(
    changed: dict, pid: int, verdict: str, text: str, fix: str
) -> None:
    found = next(iter(judge(SERVICE, GOOD | changed, pid)))
    assert (found.name, found.ok) == ("service", verdict)
    assert text in found.text
    assert found.fix.startswith(fix)


def test_without_a_service_there_is_nothing_to_mend(environ: dict) -> None:
    (found,) = check_service(environ, "", 0)
    assert (found.ok, found.fix) == ("ok", "")


def test_the_manager_is_asked_and_its_complaint_is_passed_on(
    environ: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = find_service(environ, "", "linux")
    Path(unit.path).parent.mkdir(parents=True)
    Path(unit.path).write_bytes(unit.text)
    says = "\n".join(f"echo {name}={value}" for name, value in GOOD.items())
    monkeypatch.setenv("PATH", stand_in(tmp_path / "bin", "systemctl", says) + ":/bin:/usr/bin")
    assert [each.ok for each in check_service(environ, "", 7)] == ["ok"]
    stand_in(tmp_path / "bin", "systemctl", "echo 'Failed to connect to bus' >&2; exit 1")
    (found,) = check_service(environ, "", 7)
    assert (found.ok, "Failed to connect to bus" in found.text) == ("warn", True)
    Path(unit.path).write_bytes(b"old")
    assert next(iter(check_service(environ, "", 7))).fix == "mesh install"


# Claude Code itself.


def test_the_versions_that_were_tried_are_the_daemons() -> None:
    assert set(program.KNOWN_VERSIONS) == KNOWN_VERSIONS


@pytest.mark.parametrize(
    ("script", "verdict", "text"),
    [
        (f"echo '{program.KNOWN_VERSIONS[0]} (Claude Code)'", "ok", f"version {program.KNOWN_VERSIONS[0]}"),
        ("echo '9.9.9 (Claude Code)'", "warn", "version 9.9.9; tried is"),
        ("echo nonsense", "warn", "does not say its version"),
        ("exit 1", "warn", "does not say its version"),
    ],
)
def test_the_program_is_found_and_its_version_known(
    environ: dict, tmp_path: Path, script: str, verdict: str, text: str
) -> None:
    environ["PATH"] = stand_in(tmp_path / "bin", "claude", script)
    (found,) = program.check_program(environ, "/")
    assert (found.ok, text in found.text) == (verdict, True)


def test_a_program_that_no_shell_finds_is_told(environ: dict, tmp_path: Path) -> None:
    environ["PATH"] = "/nowhere"
    (tmp_path / ".local").mkdir()
    folder = stand_in(tmp_path / ".local/bin", "claude", "echo 2.1.329")
    first, _ = program.check_program(environ, "/")
    assert (first.ok, first.fix) == ("warn", f"add {folder} to PATH")


def test_no_program_at_all_is_told(environ: dict) -> None:
    environ["PATH"] = "/nowhere"
    (found,) = program.check_program(environ, "/")
    assert found.ok == "warn"


# Its files.


@pytest.fixture
def files(environ: dict, tmp_path: Path) -> tuple[Path, Path]:
    """settings.json and .claude.json after an install for the usual home."""
    (tmp_path / ".claude").mkdir()
    paths = tmp_path / ".claude/settings.json", tmp_path / ".claude.json"
    paths[0].write_text(json.dumps(claude.add_settings({}, "")))
    paths[1].write_text(json.dumps(claude.add_server({}, "")))
    environ["PATH"] = "/nowhere"
    return paths


def change(path: Path, **changed: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def registered(environ: dict, home: str = "") -> list[Finding]:
    return list(settings.check_registration(environ, home))


def test_an_install_is_in_order(environ: dict, files: tuple[Path, Path]) -> None:
    assert {each.name: each.ok for each in registered(environ)} == {
        "hooks": "ok",
        "MCP server": "ok",
        "status line": "ok",
    }


def test_parts_that_are_missing_are_named(environ: dict, files: tuple[Path, Path]) -> None:
    files[1].write_text("{}")
    assert only(registered(environ), "MCP server") == Finding(
        "MCP server", "bad", "the settings name none: agents have no tools", "mesh install"
    )
    told = json.loads(files[0].read_text())
    del told["hooks"]["Stop"], told["statusLine"]
    files[0].write_text(json.dumps(told))
    hooks = only(registered(environ), "hooks")
    assert (hooks.ok, hooks.text) == ("warn", "no hook for Stop: what sessions do is not known")
    assert only(registered(environ), "status line").text == "Claude Code shows none of ours"
    change(files[0], hooks={}, statusLine={"type": "command", "command": "mine"})
    (found,) = registered(environ)
    assert (found.name, found.fix) == ("claude settings", "mesh install")


def test_a_path_that_is_gone_and_one_of_another_version_are_told_apart(
    environ: dict, files: tuple[Path, Path], tmp_path: Path
) -> None:
    written = files[0].read_text()
    script = next(word for word in programs.hot_command("hook", "") if word.endswith(programs.SCRIPT))
    files[0].write_text(written.replace(script, "/gone/mesh_clients/hot.py"))
    assert only(registered(environ), "hooks").text == "it runs /gone/mesh_clients/hot.py, which is gone"
    other = tmp_path / "old/mesh_clients/hot.py"
    other.parent.mkdir(parents=True)
    other.write_text("")
    files[0].write_text(written.replace(script, str(other)))
    found = only(registered(environ), "hooks")
    assert (found.ok, found.text) == ("warn", f"it is another version's: {other}")


def test_commands_that_talk_to_another_daemon_are_told(environ: dict, files: tuple[Path, Path]) -> None:
    found = only(registered(environ, "/other home"), "hooks")
    assert (found.ok, found.fix) == ("bad", "mesh install")
    assert found.text == "it talks to the daemon of the usual home, and not to that of /other home"


def test_what_is_told_twice_is_said(environ: dict, files: tuple[Path, Path]) -> None:
    told = json.loads(files[0].read_text())
    told["hooks"]["Stop"] *= 2
    files[0].write_text(json.dumps(told))
    assert only(registered(environ), "hooks").text == "Stop told twice"
    change(files[0], enabledPlugins={"mesh@meshd": True})
    assert only(registered(environ), "plugin").fix == "claude plugin uninstall mesh, or mesh uninstall"


def test_the_plugin_alone_needs_mesh_on_the_path(environ: dict, files: tuple[Path, Path], tmp_path: Path) -> None:
    files[0].write_text('{"enabledPlugins": {"mesh@meshd": true, "other@x": true}}')
    files[1].write_text("{}")
    assert only(registered(environ), "plugin").ok == "bad"
    environ["PATH"] = stand_in(tmp_path / "bin", "mesh", "true")
    assert only(registered(environ), "plugin").ok == "ok"
    files[0].write_text('{"enabledPlugins": {"mesh@meshd": false}}')
    assert only(registered(environ), "claude settings").ok == "warn"


def test_a_server_by_name_needs_mesh_on_the_path(environ: dict, files: tuple[Path, Path], tmp_path: Path) -> None:
    files[1].write_text(json.dumps({"mcpServers": {"mesh": {"command": "mesh", "args": ["mcp"]}}}))
    assert only(registered(environ), "MCP server").text == "it runs mesh, which no folder of PATH has"
    environ["PATH"] = stand_in(tmp_path / "bin", "mesh", "true")
    assert only(registered(environ), "MCP server").ok == "ok"


def test_a_status_line_that_is_never_shown_is_told(environ: dict, files: tuple[Path, Path]) -> None:
    line = claude.status_line({"type": "command", "command": "mine", "refreshInterval": 5}, "")
    change(files[0], statusLine={**line, "refreshInterval": 1})
    found = only(registered(environ), "status line")
    assert found.ok == "warn"
    assert found.text.startswith("your own command may take 3000 ms, and Claude Code ends it after 1 s")
    change(files[0], statusLine={"type": "command", "command": "other -x"})
    assert only(registered(environ), "status line").text == "Claude Code shows another: other"


# Its policy.


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project/.claude").mkdir(parents=True)
    (tmp_path / ".claude").mkdir(exist_ok=True)
    return tmp_path / "project"


def judged(environ: dict, project: Path) -> list[Finding]:
    return list(policy.check_policy(environ, str(project), str(project.parent / "managed.json")))


def test_without_settings_nothing_holds_messages(environ: dict, project: Path) -> None:
    assert judged(environ, project) == []


@pytest.mark.parametrize("word", ["hold", "refuse"])
@pytest.mark.parametrize(
    "file",
    ["managed.json", "project/.claude/settings.local.json", "project/.claude/settings.json", ".claude/settings.json"],
)
def test_a_setting_that_holds_messages_is_named_with_its_file(
    environ: dict, project: Path, file: str, word: str
) -> None:
    path = project.parent / file
    path.write_text(json.dumps({"crossSessionInbound": word}))
    (found,) = judged(environ, project)
    assert (found.name, found.ok) == ("policy", "warn")
    assert found.text.startswith(f"{path} makes sessions {word}")
    assert '"crossSessionInbound": "accept"' in found.fix


def test_of_several_settings_the_strongest_counts(environ: dict, project: Path) -> None:
    (project.parent / ".claude/settings.json").write_text('{"crossSessionInbound": "hold"}')
    (project / ".claude/settings.json").write_text('{"crossSessionInbound": "accept"}')
    assert judged(environ, project) == []


def test_hooks_that_are_switched_off_are_broken(environ: dict, project: Path) -> None:
    (project / ".claude/settings.json").write_text('{"disableAllHooks": true, "allowManagedHooksOnly": true}')
    (found,) = judged(environ, project)
    assert (found.ok, "disableAllHooks" in found.text) == ("bad", True)
    (project.parent / "managed.json").write_text('{"allowManagedHooksOnly": true}')
    assert ["allowManagedHooksOnly" in each.text for each in judged(environ, project)] == [True, False]


def test_a_project_that_points_its_sessions_at_another_daemon_is_told(environ: dict, project: Path) -> None:
    (project / ".claude/settings.json").write_text('{"env": {"MESH_HOME": "/planted"}}')
    (found,) = judged(environ, project)
    assert (found.ok, "/planted" in found.text) == ("warn", True)
    environ["MESH_HOME"] = "/planted"
    assert judged(environ, project) == []


def test_a_project_file_that_cannot_be_read_is_told(environ: dict, project: Path) -> None:
    (project / ".claude/settings.json").write_text("{")
    (found,) = judged(environ, project)
    assert (found.ok, "is not JSON" in found.text) == ("warn", True)
