"""What the process gives up at start, seen from outside it."""

import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile

import pytest

from meshd.hardening import harden
from meshd.instance import bind_socket, hold
from meshd.paths import prepare, resolve

# The child of the last test may not be able to read this interpreter's files: all is imported beforehand.
assert ctypes

# A child does it: the settings cannot be taken back, and the tests' own process has to stay as it is.
CHILD = """
import ctypes, json, os, resource, sys
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
from meshd.hardening import harden
told = harden(os.environ, sys.argv[1])
prctl = ctypes.CDLL(None).prctl
mask = os.umask(0)
print(json.dumps({
    "told": {name: getattr(told, name) for name in told.__slots__},
    "dumpable": prctl(3, 0, 0, 0, 0), "no_new_privs": prctl(39, 0, 0, 0, 0),
    "core": resource.getrlimit(resource.RLIMIT_CORE), "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
    "umask": mask, "hard_before": hard}))
"""


def harden_in_a_child(platform: str = "linux", **environ: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, platform],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        check=True,
        timeout=30,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_the_process_cannot_be_traced_dumped_or_raised() -> None:
    found = harden_in_a_child()
    assert found["dumpable"] == 0
    assert found["no_new_privs"] == 1
    assert found["core"] == [0, 0]
    assert found["umask"] == 0o077
    hard = found["hard_before"]
    assert isinstance(hard, int)
    expected = min(65_536, hard) if hard > 0 else 65_536
    assert found["nofile"] == [expected, hard]
    assert found["told"] == {
        "dumpable": False,
        "no_new_privileges": True,
        "core_limit": 0,
        "umask": 0o077,
        "open_files": expected,
        "notes": [],
    }


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_the_switch_keeps_it_traceable_and_is_told() -> None:
    found = harden_in_a_child(MESHD_DUMPABLE="1")
    assert found["dumpable"] == 1
    assert found["no_new_privs"] == 1
    told = found["told"]
    assert isinstance(told, dict)
    assert told["dumpable"] is True
    assert any("MESHD_DUMPABLE=1" in note for note in told["notes"])


def test_a_platform_without_prctl_is_told() -> None:
    told = harden_in_a_child("darwin")["told"]
    assert isinstance(told, dict)
    assert told["dumpable"] is True
    assert told["no_new_privileges"] is False
    assert told["core_limit"] == 0
    assert "darwin" in told["notes"][0]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_hardened_process_still_reaches_a_long_socket_path_as_an_ordinary_user() -> None:
    """Without dumpable, /proc/self belongs to root: the way through /proc/self/fd must work all the same."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else: the undumpable ordinary user is not tried")
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            _serve_deep_below_tmp(tell)
        except BaseException as error:
            os.write(tell, repr(error).encode())
        finally:
            os._exit(0)
    os.close(tell)
    _, status = os.waitpid(child, 0)
    answer = os.read(told, 4096)
    os.close(told)
    assert answer == b"connected 0600"
    assert status == 0


def _serve_deep_below_tmp(tell: int) -> None:
    base = tempfile.mkdtemp(dir="/tmp")
    try:
        assert not harden({}, "linux").dumpable
        paths = resolve({"MESH_HOME": f"{base}/{'x' * 150}"}, "linux", 65534)
        place = prepare(paths)
        held = hold(paths, "0.1")
        listener = bind_socket(held, place, os.urandom)
        directory = os.open(paths.run, os.O_RDONLY | os.O_DIRECTORY)
        client = socket.socket(socket.AF_UNIX)
        client.connect(f"/proc/self/fd/{directory}/sock")
        listener.accept()
        mode = (paths.run / "sock").stat().st_mode & 0o777
        held.release()
        os.write(tell, f"connected {mode:04o}".encode())
    finally:
        shutil.rmtree(base)
