"""`mesh install` and `mesh uninstall` where things are against them: odd files, others at the same time, a kill -9."""

import contextlib
import json
import os
import random
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from client_kit.programs import MESH, mesh, run

SETTINGS = b'{\n    "model": "opus",\n    "statusLine": {"type": "command", "command": "echo mine"}\n}\n'
STATE = b'{"numStartups":3}'
INSTALL = ("install", "--yes", "--no-service")
UNINSTALL = ("uninstall", "--yes")
SECONDS = 60


@pytest.fixture
def person(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Somebody who uses Claude Code already; no service manager answers."""
    (tmp_path / ".claude").mkdir()
    settings(environ).write_bytes(SETTINGS)
    state(environ).write_bytes(STATE)
    return {**environ, "PATH": "/nowhere"}


def settings(person: dict[str, str]) -> Path:
    return Path(person["HOME"], ".claude", "settings.json")


def state(person: dict[str, str]) -> Path:
    return Path(person["HOME"], ".claude.json")


@pytest.mark.parametrize("verb", [INSTALL, UNINSTALL, ("install", "--check")])
def test_a_pipe_in_the_place_of_the_settings_is_refused_and_not_waited_for(
    person: dict[str, str], verb: tuple[str, ...]
) -> None:
    settings(person).unlink()
    os.mkfifo(settings(person))
    ran = run((*MESH, *verb), person)
    assert ran.returncode in (1, 78)
    assert b"is no regular file" in ran.stderr + ran.stdout
    assert state(person).read_bytes() == STATE


def test_a_link_that_leads_to_no_file_leads_to_none_again(person: dict[str, str], tmp_path: Path) -> None:
    settings(person).unlink()
    settings(person).symlink_to(tmp_path / "dotfiles" / "settings.json")
    assert mesh(person, *INSTALL).returncode == 0
    assert b"hot.py" in (tmp_path / "dotfiles" / "settings.json").read_bytes()
    assert mesh(person, *UNINSTALL).returncode == 0
    assert settings(person).is_symlink()
    assert os.listdir(tmp_path / "dotfiles") == []


@pytest.mark.parametrize("place", [settings, state])
def test_a_file_that_its_owner_made_read_only_is_left_and_so_is_the_other(person: dict[str, str], place) -> None:
    place(person).chmod(0o444)
    ran = mesh(person, *INSTALL)
    assert ran.returncode == 2
    assert f"{place(person)} is read-only: chmod u+w".encode() in ran.stderr
    assert (settings(person).read_bytes(), state(person).read_bytes()) == (SETTINGS, STATE)
    place(person).chmod(0o644)
    assert mesh(person, *INSTALL).returncode == 0
    place(person).chmod(0o444)
    installed = settings(person).read_bytes(), state(person).read_bytes()
    assert b"is read-only" in mesh(person, *UNINSTALL).stderr
    assert (settings(person).read_bytes(), state(person).read_bytes()) == installed
    assert stat.S_IMODE(place(person).stat().st_mode) == 0o444


def test_roots_run_leaves_the_file_to_its_owner(person: dict[str, str]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can write for somebody else: the owner of the files is not tried")
    os.chown(settings(person), 12345, 54321)
    assert mesh(person, *INSTALL).returncode == 0
    about = settings(person).stat()
    assert (about.st_uid, about.st_gid) == (12345, 54321)


def test_a_state_file_of_many_projects_is_installed_into_and_comes_back(person: dict[str, str]) -> None:
    past = [{"display": "x" * 80, "pastedContents": {}}] * 50
    state(person).write_text(json.dumps({"projects": {f"/p/{n}": {"history": past} for n in range(200)}}, indent=2))
    before = state(person).read_bytes()
    assert len(before) > 1_000_000
    shown = mesh(person, "install", "--no-service")
    assert len(shown.stdout) < 20_000, "only what changes is shown"
    assert mesh(person, *INSTALL).returncode == 0
    assert mesh(person, *UNINSTALL).returncode == 0
    assert state(person).read_bytes() == before


def test_installs_and_uninstalls_at_once_end_in_one_of_the_two(person: dict[str, str]) -> None:
    for verbs in ((INSTALL, INSTALL, INSTALL), (INSTALL, UNINSTALL, INSTALL, UNINSTALL)):
        running = [
            subprocess.Popen([*MESH, *verb], env=person, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            for verb in verbs
        ]
        for each in running:
            _, complaint = each.communicate(timeout=SECONDS)
            assert (each.returncode, complaint) == (0, b"")
    assert mesh(person, *INSTALL).returncode == 0
    assert mesh(person, "install", "--check").returncode == 0
    assert mesh(person, *UNINSTALL).returncode == 0
    assert (settings(person).read_bytes(), state(person).read_bytes()) == (SETTINGS, STATE)


@pytest.mark.parametrize("seed", range(4))
def test_after_a_kill_at_any_moment_the_files_are_whole_and_come_back(person: dict[str, str], seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(3):
        verb = chance.choice([INSTALL, UNINSTALL])
        doomed = subprocess.Popen([*MESH, *verb], env=person, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            doomed.wait(chance.random() * 0.6)
        doomed.send_signal(signal.SIGKILL)
        doomed.wait(SECONDS)
        for path in (settings(person), state(person)):
            assert isinstance(json.loads(path.read_bytes()), dict)
    assert mesh(person, *INSTALL).returncode == 0
    assert mesh(person, "install", "--check").returncode == 0
    assert mesh(person, *UNINSTALL).returncode == 0
    assert (settings(person).read_bytes(), state(person).read_bytes()) == (SETTINGS, STATE)
