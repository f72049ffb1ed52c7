"""`mesh up` and the service: who gets one unasked, who is asked, and what was said against it is remembered."""

import json
from pathlib import Path

import pytest

from client_kit.programs import mesh
from client_kit.systemctl import Manager, unit_name

OWN = ".local/share/meshd"


@pytest.fixture
def owner(served: dict) -> dict:
    """A person at the platform's own home, which MESH_HOME does not name."""
    del served["MESH_HOME"]
    return served


def added(name: str) -> list[str]:
    return ["--user show-environment", "--user daemon-reload", f"--user enable {name}"]


def test_up_makes_the_daemon_a_service_and_starts_it_as_one(owner: dict, manager: Manager) -> None:
    ran = mesh(owner, "up")
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"started as meshd.service: pid " in ran.stdout
    assert b"It is a service of yours and starts at login. mesh up --no-service takes that back" in ran.stdout
    assert manager.told() == [*added("meshd.service"), "--user start meshd.service"]
    assert (manager.units / "meshd.service").exists()
    again = mesh(owner, "up")
    assert b"service of yours" not in again.stdout
    assert manager.told() == []


def test_a_daemon_that_runs_becomes_a_service_at_its_next_start(owner: dict, manager: Manager) -> None:
    assert mesh(owner, "status").returncode == 0
    assert manager.told() == []
    assert b"the one that runs does so without: mesh down && mesh up" in mesh(owner, "up").stdout
    assert manager.told() == added("meshd.service")


def test_no_service_takes_it_out_and_is_remembered(owner: dict, manager: Manager, tmp_path: Path) -> None:
    mesh(owner, "up")
    manager.told()
    ran = mesh(owner, "up", "--no-service", "--json")
    assert (ran.returncode, json.loads(ran.stdout)["service"]) == (0, "")
    assert manager.told() == ["--user disable --now meshd.service", "--user daemon-reload"]
    assert not (manager.units / "meshd.service").exists()
    mesh(owner, "down")
    assert json.loads(mesh(owner, "up", "--json").stdout)["service"] == ""
    assert manager.told() == []
    assert b"It is a service of yours" in mesh(owner, "up", "--service").stdout
    assert manager.told() == added("meshd.service")
    assert not (tmp_path / OWN / "no-service").exists()


@pytest.mark.parametrize("command", [("install", "--yes", "--no-service"), ("uninstall", "--yes")])
def test_what_install_and_uninstall_were_told_holds_for_up(
    owner: dict, manager: Manager, command: tuple[str, ...]
) -> None:
    if command[0] == "uninstall":
        mesh(owner, "install", "--yes")
    assert mesh(owner, *command).returncode == 0
    manager.told()
    assert json.loads(mesh(owner, "up", "--json").stdout)["service"] == ""
    assert manager.told() == []
    assert mesh(owner, "install", "--yes").returncode == 0
    assert (manager.units / "meshd.service").exists()


def test_an_agent_and_a_second_home_get_none_unasked(served: dict, manager: Manager, tmp_path: Path) -> None:
    assert json.loads(mesh(served, "up", "--json").stdout)["service"] == ""
    own = {**served, "MESH_HOME": "", "CLAUDECODE": "1"}
    assert mesh(own, "up").returncode == 69  # the variable is set, but no agent is above: nothing starts from there
    assert manager.told() == []
    assert not manager.units.exists()
    assert json.loads(mesh(served, "up", "--service", "--json").stdout)["service"] == ""
    assert manager.told() == added(unit_name(served))


@pytest.mark.parametrize("word", ["show-environment", "enable"])
def test_a_manager_that_does_not_answer_or_refuses_is_no_reason_to_have_no_daemon(
    owner: dict, manager: Manager, word: str
) -> None:
    manager.refuse(word)
    ran = mesh(owner, "up")
    assert ran.returncode == 0
    assert b" started: pid " in ran.stdout
    assert (b"It was not made a service (Failed to do it: no bus)" in ran.stdout) == (word == "enable")
    assert not (manager.units / "meshd.service").exists()


def test_both_at_once_is_refused(owner: dict, manager: Manager) -> None:
    ran = mesh(owner, "up", "--service", "--no-service")
    assert (ran.returncode, manager.told()) == (2, [])
    assert b"--service or --no-service, not both" in ran.stderr


def test_where_no_unit_can_be_written_the_daemon_runs_without(owner: dict, manager: Manager, tmp_path: Path) -> None:
    (tmp_path / ".config").write_text("a file where the folder belongs")
    ran = mesh(owner, "up")
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b" started: pid " in ran.stdout
    assert b"It was not made a service (" in ran.stdout
    assert b"meshd.service cannot be written: Not a directory)" in ran.stdout
    ran = mesh(owner, "up", "--service")
    assert (ran.returncode, b"cannot be written" in ran.stderr) == (2, True)


def test_a_person_without_a_home_is_told_so(owner: dict, manager: Manager) -> None:
    del owner["HOME"]
    for flags in ([], ["--service"], ["--no-service"]):
        ran = mesh(owner, "up", *flags)
        assert (ran.returncode, ran.stderr) == (69, b"mesh up: no daemon runs: neither MESH_HOME nor HOME is set\n")
    assert mesh(owner, "down").stderr == b"mesh down: no daemon runs: neither MESH_HOME nor HOME is set\n"
    assert manager.told() == []
