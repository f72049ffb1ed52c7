"""Makes the kit of this folder importable, and gives every test a home of its own."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from client_kit.programs import mesh
from client_kit.scripted import Scripted
from client_kit.systemctl import Manager


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A private data directory."""
    data = tmp_path / "home"
    data.mkdir(mode=0o700)
    return data


@pytest.fixture
def environ(tmp_path: Path, home: Path) -> dict[str, str]:
    """A person's environment: nothing of an agent's, nothing of this test run's."""
    return {"HOME": str(tmp_path), "MESH_HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


@pytest.fixture
def scripted(home: Path) -> Iterator[Scripted]:
    """A daemon's side of the socket that answers as the test says."""
    daemon = Scripted(home)
    yield daemon
    daemon.stop()


@pytest.fixture
def served(environ: dict, tmp_path: Path) -> Iterator[dict]:
    """A person whose programs are those of `manager` alone; the daemon is stopped in the end."""
    found = {**environ, "PATH": str(tmp_path / "bin")}
    yield found
    mesh(found, "down")


@pytest.fixture
def manager(served: dict, tmp_path: Path) -> Manager:
    return Manager(tmp_path / "bin", tmp_path / ".config/systemd/user")
