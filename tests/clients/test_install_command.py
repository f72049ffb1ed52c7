"""`mesh install` and `mesh uninstall` as a person runs them, on files of a home of their own."""

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from client_kit.programs import HOT, MESH, mesh
from client_kit.scripted import Scripted, says
from mesh_clients.install import changes, claude
from mesh_clients.install.record import Record
from mesh_protocol.wire.errors import MeshError

SETTINGS = b'{\n    "model": "opus",\n    "statusLine": {"type": "command", "command": "echo mine"}\n}\n'
STATE = b'{"numStartups": 3, "oauthAccount": {"x": "\xc3\xa4"}, "cost": 0.25}'


@pytest.fixture
def person(environ: dict, tmp_path: Path) -> dict:
    """Somebody who uses Claude Code already; no service manager answers."""
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude/settings.json").write_bytes(SETTINGS)
    (tmp_path / ".claude.json").write_bytes(STATE)
    return {**environ, "PATH": "/nowhere"}


def settings_of(person: dict) -> Path:
    return Path(person["HOME"], ".claude/settings.json")


def state_of(person: dict) -> Path:
    return Path(person["HOME"], ".claude.json")


def done(person: dict, *arguments: str) -> dict:
    ran = mesh(person, *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_install_and_uninstall_leave_the_files_byte_for_byte(person: dict, home: Path) -> None:
    assert mesh(person, "install", "--check").returncode == 1
    told = done(person, "install", "--yes")
    assert told["changed"]
    assert [each["changed"] for each in told["files"]] == [True, True]
    assert mesh(person, "install", "--check").returncode == 0
    assert Path(told["backup"], "settings.json").read_bytes() == SETTINGS
    assert {stat.S_IMODE(path.stat().st_mode) for path in (Path(told["backup"]), Path(told["backup"]).parent)} == {
        0o700
    }
    assert {stat.S_IMODE(each.stat().st_mode) for each in Path(told["backup"]).iterdir()} == {0o600}
    assert done(person, "uninstall", "--yes")["changed"]
    assert (settings_of(person).read_bytes(), state_of(person).read_bytes()) == (SETTINGS, STATE)
    assert os.listdir(home) == []
    assert not done(person, "uninstall", "--yes")["changed"]


def test_files_that_were_not_there_are_gone_again(environ: dict, tmp_path: Path) -> None:
    person = {**environ, "PATH": "/nowhere"}
    done(person, "install", "--yes")
    assert stat.S_IMODE(os.stat(settings_of(person)).st_mode) == 0o600
    done(person, "uninstall", "--yes")
    assert not settings_of(person).exists()
    assert not state_of(person).exists()


def test_a_second_install_changes_nothing(person: dict) -> None:
    done(person, "install", "--yes")
    before = settings_of(person).read_bytes(), state_of(person).read_bytes(), os.stat(settings_of(person)).st_ino
    ran = mesh(person, "install")
    assert (ran.returncode, ran.stdout.splitlines()[0]) == (0, b"It is installed already.")
    assert before == (
        settings_of(person).read_bytes(),
        state_of(person).read_bytes(),
        os.stat(settings_of(person)).st_ino,
    )
    done(person, "uninstall", "--yes")
    assert settings_of(person).read_bytes() == SETTINGS


def test_what_others_wrote_meanwhile_stays(person: dict) -> None:
    done(person, "install", "--yes")
    for path in (settings_of(person), state_of(person)):
        path.write_text(json.dumps({**json.loads(path.read_text()), "new": [1]}, indent=2))
    assert mesh(person, "install", "--check").returncode == 0
    done(person, "uninstall", "--yes")
    assert json.loads(settings_of(person).read_text()) == {**json.loads(SETTINGS), "new": [1]}
    assert json.loads(state_of(person).read_text()) == {**json.loads(STATE), "new": [1]}


def test_a_file_that_was_only_laid_out_anew_comes_back_as_it_was(person: dict) -> None:
    done(person, "install", "--yes")
    settings_of(person).write_text(json.dumps(json.loads(settings_of(person).read_text())))
    done(person, "uninstall", "--yes")
    assert settings_of(person).read_bytes() == SETTINGS


def test_without_its_memory_an_uninstall_takes_out_just_our_parts(person: dict) -> None:
    backup = Path(done(person, "install", "--yes")["backup"])
    (backup / "record.json").write_text("[]")
    done(person, "uninstall", "--yes")
    left = json.loads(settings_of(person).read_text())
    assert left == json.loads(SETTINGS) | {
        "statusLine": {"type": "command", "command": "echo mine", "refreshInterval": 5}
    }
    assert json.loads(state_of(person).read_text()) == json.loads(STATE)


def test_another_versions_parts_are_replaced_and_not_doubled(person: dict) -> None:
    done(person, "install", "--yes")
    for path in (settings_of(person), state_of(person)):
        path.write_text(path.read_text().replace(sys.executable, "/gone/bin/python"))
    ran = mesh(person, "install", "--check")
    assert (ran.returncode, ran.stdout.count(b"another version's")) == (1, 2)
    done(person, "install", "--yes")
    text = settings_of(person).read_text()
    assert "/gone" not in text + state_of(person).read_text()
    assert [len(groups) for groups in json.loads(text)["hooks"].values()] == [1] * len(claude.EVENTS)
    done(person, "uninstall", "--yes")
    assert json.loads(settings_of(person).read_text()) == json.loads(SETTINGS)


@pytest.mark.parametrize("name", [".claude/settings.json", ".claude.json"])
def test_a_broken_file_is_refused_in_one_line_and_nothing_is_changed(person: dict, name: str) -> None:
    broken = Path(person["HOME"], name)
    broken.write_bytes(b'{"a": 1,}')
    for verb in ("install", "uninstall"):
        ran = mesh(person, verb, "--yes")
        assert (ran.returncode, ran.stdout, ran.stderr.count(b"\n")) == (78, b"", 1)
        assert str(broken).encode() in ran.stderr
    assert broken.read_bytes() == b'{"a": 1,}'
    other = state_of(person) if broken == settings_of(person) else settings_of(person)
    assert other.read_bytes() in (SETTINGS, STATE)
    assert mesh(person, "install", "--check").returncode == 1


def test_links_and_modes_stay(person: dict, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    settings_of(person).rename(real)
    real.chmod(0o640)
    settings_of(person).symlink_to(real)
    done(person, "install", "--yes")
    assert settings_of(person).is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert b"hot.py" in real.read_bytes()
    done(person, "uninstall", "--yes")
    assert (settings_of(person).is_symlink(), real.read_bytes()) == (True, SETTINGS)


def test_without_a_terminal_it_shows_and_refuses(person: dict) -> None:
    ran = mesh(person, "install")
    assert ran.returncode == 2
    assert b"give --yes; nothing was changed" in ran.stderr
    assert b"numStartups" not in ran.stdout, "only what changes is shown"
    assert b'+      "command": "' in ran.stdout
    assert mesh(person, "install", "--json").stdout.startswith(b'{"error"')
    assert (settings_of(person).read_bytes(), state_of(person).read_bytes()) == (SETTINGS, STATE)


@pytest.mark.parametrize(("typed", "changed"), [(b"n\n", False), (b"\n", False), (b"y\n", True), (b"\x04", False)])
def test_on_a_terminal_it_asks(person: dict, typed: bytes, changed: bool) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*MESH, "install"], env=person, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as asked:
        os.close(theirs)
        os.write(ours, typed)
        said, complaint = asked.communicate(timeout=20)
    os.close(ours)
    assert b"Make these changes? [y/N]" in said
    assert (asked.returncode == 0) is changed, complaint
    assert (settings_of(person).read_bytes() != SETTINGS) is changed


def test_another_configuration_of_claude_code_is_one_of_its_own(person: dict, tmp_path: Path) -> None:
    other = {**person, "CLAUDE_CONFIG_DIR": str(tmp_path / "work")}
    done(other, "install", "--yes")
    assert settings_of(person).read_bytes() == SETTINGS
    assert b"hot.py" in (tmp_path / "work/.claude.json").read_bytes()
    done(person, "install", "--yes")
    done(other, "uninstall", "--yes")
    assert os.listdir(tmp_path / "work") == []
    assert mesh(person, "install", "--check").returncode == 0


def test_what_keeps_it_from_working_is_said(person: dict) -> None:
    settings_of(person).write_text('{"disableAllHooks": true, "enabledPlugins": {"mesh@meshd": true}}')
    notes = done(person, "install", "--yes")["notes"]
    assert [note.split()[0] for note in notes] == ["disableAllHooks", "the"]


def test_the_commands_that_it_writes_run(person: dict, scripted: Scripted) -> None:
    scripted.on_request["statusline"] = says(b"ours\n")
    scripted.on_request["hook"] = says(b"")
    scripted.start()
    done(person, "install", "--yes")
    written = json.loads(settings_of(person).read_text())
    bare = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    line = subprocess.run(["sh", "-c", written["statusLine"]["command"]], input=b"{}", env=bare, capture_output=True)
    assert line.stdout == b"mine\nours\n"
    handler = written["hooks"]["Stop"][0]["hooks"][0]
    assert (handler["args"][0], handler["args"][3]) == HOT[1:]
    assert subprocess.run([handler["command"], *handler["args"]], input=b"{}", env=bare).returncode == 0
    assert [request.method for request in scripted.requests] == ["statusline", "hook"]


def test_a_layout_written_into_the_settings_is_no_other_versions(person: dict) -> None:
    done(person, "install", "--yes")
    text = settings_of(person).read_text().replace(" statusline ", " statusline --layout short ")
    settings_of(person).write_text(text)
    assert mesh(person, "install", "--check").returncode == 0
    assert not done(person, "install", "--yes")["changed"]
    assert settings_of(person).read_text() == text
    done(person, "uninstall", "--yes")
    assert json.loads(settings_of(person).read_text()) == json.loads(SETTINGS)


# Writes of others at the same time.


def target_of(person: dict, shared: bool) -> changes.Target:
    paths = claude.find_paths(person)
    return next(each for each in changes.find_targets(paths) if each.shared is shared)


def test_settings_that_changed_after_they_were_shown_are_left(person: dict, home: Path) -> None:
    target = target_of(person, shared=False)
    planned = changes.plan_install(target, "", None)
    settings_of(person).write_bytes(b"{}")
    with pytest.raises(MeshError, match="changed meanwhile"):
        changes.install(target, "", Record(str(home), target.path), planned)
    assert settings_of(person).read_bytes() == b"{}"


@pytest.mark.parametrize("lost", [1, 5, 6])
def test_an_entry_that_claude_code_overwrites_is_written_once_more(person: dict, lost: int) -> None:
    target = target_of(person, shared=True)
    pauses: list[float] = []

    def overwrite(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) <= lost:
            state_of(person).write_bytes(b'{"numStartups": 4}')

    def run() -> None:
        planned = changes.plan_install(target, "", None)
        changes.carry_out(
            target, planned, lambda: changes.plan_install(target, "", None), lambda change: None, pause=overwrite
        )

    if lost < changes.ATTEMPTS:
        run()
        kept = json.loads(state_of(person).read_text())
        assert (kept["numStartups"], "mesh" in kept["mcpServers"]) == (4, True)
    else:
        with pytest.raises(MeshError, match="keeps writing"):
            run()
