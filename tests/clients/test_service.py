"""The user service: its files, and what the service manager is told, by one that keeps a log and starts what it is told to."""

import json
import plistlib
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from client_kit.programs import mesh
from client_kit.systemctl import Manager, unit_name
from mesh_clients.install import service


def test_install_writes_the_unit_and_enables_it(served: dict, manager: Manager) -> None:
    told = json.loads(mesh(served, "install", "--yes", "--json").stdout)
    name = unit_name(served)
    assert told["service"] == str(manager.units / name)
    assert manager.told() == ["--user show-environment", "--user daemon-reload", f"--user enable {name}"]
    assert mesh(served, "install", "--check").returncode == 0
    assert not json.loads(mesh(served, "install", "--yes", "--json").stdout)["changed"]
    manager.told()
    assert mesh(served, "uninstall", "--yes").returncode == 0
    assert manager.told() == [f"--user disable --now {name}", "--user daemon-reload"]
    assert not (manager.units / name).exists()


def test_up_starts_the_installed_service(served: dict, manager: Manager) -> None:
    mesh(served, "install", "--yes")
    manager.told()
    ran = mesh(served, "up", "--json")
    told = json.loads(ran.stdout)
    assert (told["started"], told["service"], told["home"]) == (True, unit_name(served), served["MESH_HOME"])
    assert manager.told() == [f"--user start {unit_name(served)}"]
    again = json.loads(mesh(served, "up", "--json").stdout)
    assert (again["started"], again["service"], again["pid"]) == (False, "", told["pid"])
    assert manager.told() == []


def test_up_installs_the_service_where_it_is_asked_to_and_starts_through_it(served: dict, manager: Manager) -> None:
    ran = mesh(served, "up", "--service")
    name = unit_name(served)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"It is a service of yours and starts at login. mesh up --no-service takes" in ran.stdout
    assert manager.told() == [
        "--user show-environment",
        "--user daemon-reload",
        f"--user enable {name}",
        f"--user start {name}",
    ]
    assert b"mesh down && mesh up" in mesh(served, "up", "--service").stdout
    assert manager.told() == []
    assert mesh(served, "uninstall", "--yes").returncode == 0
    assert not (manager.units / name).exists()


def test_where_there_can_be_no_service_up_says_so_and_starts_nothing(served: dict, manager: Manager) -> None:
    manager.refuse("show-environment")
    ran = mesh(served, "up", "--service")
    assert ran.returncode == 2
    assert b"there can be no service; leave out --service" in ran.stderr
    assert mesh(served, "status", "--no-start").returncode == 69


def test_any_command_that_needs_a_daemon_starts_the_installed_service(served: dict, manager: Manager) -> None:
    mesh(served, "install", "--yes")
    manager.told()
    assert mesh(served, "status", "--no-start").returncode == 69
    assert manager.told() == []
    assert mesh(served, "status").returncode == 0
    assert manager.told() == [f"--user start {unit_name(served)}"]
    assert mesh(served, "status").returncode == 0
    assert manager.told() == []


def test_an_mcp_server_starts_the_installed_service_of_its_own_home(served: dict, manager: Manager) -> None:
    mesh(served, "install", "--yes")
    manager.told()
    elsewhere = {name: value for name, value in served.items() if name != "MESH_HOME"}
    assert start_at(elsewhere, served["MESH_HOME"]) == unit_name(served)
    assert manager.told() == [f"--user start {unit_name(served)}"]


def start_at(environ: dict, home: str) -> str:
    """The service that a start for `--home HOME` used."""
    script = "import os, sys; from mesh_clients import start; print(start.start_daemon(os.environ, sys.argv[1].encode()).service)"
    command = [sys.executable, "-c", script, home]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def test_a_service_that_ends_at_once_is_said_and_the_daemon_runs_without(served: dict, manager: Manager) -> None:
    mesh(served, "install", "--yes")
    manager.refuse("start")
    assert mesh(served, "status").returncode == 0
    checks = json.loads(mesh(served, "doctor", "--json").stdout)["checks"]
    assert "warn" in [check["ok"] for check in checks if check["name"] == "service"]


def test_a_service_that_does_not_start_is_no_reason_to_have_no_daemon(served: dict, manager: Manager) -> None:
    mesh(served, "install", "--yes")
    manager.refuse("start")
    ran = mesh(served, "up")
    assert ran.returncode == 0
    assert b"Its service did not start it (Failed to do it: no bus); it runs without" in ran.stdout


def test_no_service_is_installed_where_it_is_not_wanted(served: dict, manager: Manager) -> None:
    told = json.loads(mesh(served, "install", "--yes", "--no-service", "--json").stdout)
    assert (told["service"], manager.told(), manager.units.exists()) == ("", [], False)
    assert json.loads(mesh(served, "up", "--json").stdout)["service"] == ""
    assert manager.told() == []


@pytest.mark.parametrize("word", ["show-environment", "enable"])
def test_a_manager_that_refuses_leaves_no_unit_behind(served: dict, manager: Manager, word: str) -> None:
    manager.refuse(word)
    ran = mesh(served, "install", "--yes")
    assert ran.returncode == 0
    assert b"Service: none, " in ran.stdout
    assert b"no bus" in ran.stdout
    assert not (manager.units / unit_name(served)).exists()


def test_an_old_unit_is_written_anew(served: dict, manager: Manager) -> None:
    mesh(served, "install", "--yes")
    unit = manager.units / unit_name(served)
    written = unit.read_bytes()
    unit.write_bytes(written.replace(b"Type=notify", b"Type=simple"))
    assert mesh(served, "install", "--check").returncode == 1
    assert json.loads(mesh(served, "install", "--yes", "--json").stdout)["changed"]
    assert unit.read_bytes() == written


def test_the_unit_hides_neither_sockets_nor_transcripts() -> None:
    text = service.write_unit(("/usr/bin/python3", "-I", "-m", "meshd", "run"), "").decode()
    assert "Type=notify" in text
    assert 'ExecStart="/usr/bin/python3" "-I" "-m" "meshd" "run"\n' in text
    for word in ("PrivateTmp", "ProtectHome", "PrivateNetwork", "Environment"):
        assert word not in text


def test_a_strange_path_cannot_change_the_unit() -> None:
    text = service.write_unit(("/a b/100%/$x/py",), '/h\nExecStart=/bin/false "q').decode()
    assert 'ExecStart="/a b/100%%/$$x/py"\n' in text
    assert 'Environment="MESH_HOME=/h\\nExecStart=/bin/false \\"q"\n' in text
    assert shlex.split(text.partition("ExecStart=")[2].splitlines()[0]) == ["/a b/100%%/$$x/py"]


def test_every_home_has_a_service_of_its_own(environ: dict) -> None:
    names = {service.find_service(environ, home, "linux").name for home in ("", "/a", "/b")}
    assert len(names) == 3
    assert "meshd.service" in names
    assert service.find_service({**environ, "XDG_CONFIG_HOME": "/x"}, "", "linux").path.startswith("/x/systemd/user/")


def test_the_launchd_agent_is_a_property_list(environ: dict) -> None:
    found = service.find_service(environ, "/some/home", "darwin")
    agent = plistlib.loads(found.text)
    assert found.path == f"{environ['HOME']}/Library/LaunchAgents/{agent['Label']}.plist"
    assert agent["ProgramArguments"] == [sys.executable, "-I", "-m", "meshd", "run"]
    assert agent["EnvironmentVariables"] == {"MESH_HOME": "/some/home"}
    assert agent["KeepAlive"] == {"SuccessfulExit": False}


def test_launchd_is_told_of_the_agent(environ: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "bin" / "launchctl"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))
    found = service.find_service(environ, "", "darwin")
    assert service.why_not(found) == ""
    assert service.install_service(found) == ""
    assert found.is_current
    assert service.start_service(found) == ""
    assert service.remove_service(found) == ""
    assert not found.is_there
    told = [line.split()[0] for line in (tmp_path / "told").read_text().splitlines()]
    assert told == ["bootstrap", "kickstart", "bootout"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_reads_the_unit_without_a_complaint(environ: dict, tmp_path: Path) -> None:
    unit = tmp_path / "meshd.service"
    unit.write_bytes(service.find_service(environ, "/a b/100%", "linux").text)
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(unit)],
        env={**environ, "XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
