"""A daemon that runs and whose socket is gone, as when a logout takes the runtime folder: it is named, and can be ended."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from client_kit.programs import mesh
from mesh_clients import start
from mesh_clients.holder import find_holder


@pytest.fixture(params=["the socket", "the folder"])
def unreached(request: pytest.FixtureRequest, environ: dict, home: Path) -> Iterator[int]:
    """The pid of a daemon that nobody can connect to any more."""
    pid = json.loads(mesh(environ, "up", "--json").stdout)["pid"]
    if request.param == "the socket":
        (home / "run/sock").unlink()
    else:
        shutil.rmtree(home / "run")
    yield pid
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def test_down_ends_it_and_up_starts_another(environ: dict, unreached: int) -> None:
    done = mesh(environ, "down")
    assert (done.returncode, done.stdout) == (
        0,
        f"meshd stopped (pid {unreached}); nobody could connect to it\n".encode(),
    )
    assert mesh(environ, "down").stdout == b"no daemon runs\n"
    again = json.loads(mesh(environ, "up", "--json").stdout)
    assert (again["started"], again["pid"] != unreached) == (True, True)
    assert mesh(environ, "down").returncode == 0


def test_doctor_says_that_it_runs_and_what_ends_it(environ: dict, unreached: int) -> None:
    checks = json.loads(mesh(environ, "doctor", "--no-start", "--json").stdout)["checks"]
    (daemon,) = [check for check in checks if check["name"] == "daemon"]
    assert (daemon["ok"], daemon["fix"]) == ("bad", "mesh down && mesh up")
    assert daemon["text"] == f"it runs as pid {unreached}, and nobody can connect to it, unless it is just starting"
    (socket,) = [check for check in checks if check["name"] == "socket"]
    assert (socket["ok"], socket["fix"]) == ("bad", "mesh down && mesh up")


def test_a_start_says_that_one_is_in_its_way(environ: dict, unreached: int) -> None:
    with pytest.raises(start.NotStarted) as refused:
        start.start_daemon(environ, seconds=2.0)
    assert str(refused.value) == f"pid {unreached} holds this home and nobody can connect to it: mesh down && mesh up"


def test_a_lock_that_nobody_holds_names_nobody(environ: dict, home: Path) -> None:
    assert find_holder(os.fsencode(home)) == 0
    pid = json.loads(mesh(environ, "up", "--json").stdout)["pid"]
    assert find_holder(os.fsencode(home)) == pid
    mesh(environ, "down")
    assert (home / "daemon.lock").exists()
    assert find_holder(os.fsencode(home)) == 0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "1"}', '{"pid": -1}', '{"pid": 1}'])
def test_a_lock_file_that_says_nothing_sensible_names_nobody(home: Path, text: str) -> None:
    (home / "daemon.lock").write_text(text)
    assert find_holder(os.fsencode(home)) == 0
