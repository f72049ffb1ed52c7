"""The guard on a command line: a terminal or a token's file answers it, and nothing secret stands anywhere else."""

import os
import pty
import select
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from client_kit.answers import result
from client_kit.programs import MESH, SECONDS, mesh
from client_kit.scripted import Scripted, Talker
from mesh_protocol.wire.errors import NOT_ALLOWED, USAGE, MeshError
from mesh_protocol.wire.rpc import RequestReceived

SECRET = "a long passphrase"
TOKEN = "mesh_" + "A" * 43
ON = {"on": True, "since_ms": 0, "tokens": 0}
MADE = {"id": "0a1b2c3d", "name": "nightly", "token": TOKEN, "expires_ms": 1_900_000_000_000}


def guarded(scripted: Scripted) -> None:
    """It asks until a connection has opened it with what is right."""
    opened: set[Talker] = set()

    def hold(talker: Talker, request: RequestReceived) -> None:
        if talker in opened:
            talker.answer(request, {"peers": [], "more": False})
        else:
            data = {"takes_token": request.method == "grant.list", "script": "MESH_TOKEN_FILE"}
            talker.refuse(request, "guard_asks", MeshError("guard_asks", command="mesh grants", **data).message, **data)

    def try_it(talker: Talker, request: RequestReceived) -> None:
        if request.params in ({"passphrase": SECRET}, {"token": TOKEN}):
            opened.add(talker)
            talker.answer(request, {"token": ""})
        else:
            talker.refuse(request, "wrong_passphrase", MeshError("wrong_passphrase").message)

    scripted.on_request["grant.list"] = scripted.on_request["guard.off"] = hold
    scripted.on_request["guard.open"] = try_it
    scripted.start()


def at_a_terminal(environ: dict[str, str], arguments: list[str], typed: list[str]) -> tuple[int, str]:
    """Run with a terminal of its own, typing a line at each question; exit status and what the terminal showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(MESH[0], [*MESH, *arguments], environ)
    shown, asked, deadline = b"", 0, time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
        if shown.count(b"(not shown)") + shown.count(b"once more") > asked and asked < len(typed):
            os.write(terminal, typed[asked].encode() + b"\n")
            asked += 1
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), shown.decode()


def methods(scripted: Scripted) -> list[str]:
    return [each.method for each in scripted.requests if each.method != "hello"]


def test_a_person_types_it_and_the_command_goes_on(scripted: Scripted, environ: dict) -> None:
    guarded(scripted)
    status, shown = at_a_terminal(environ, ["grants"], [SECRET])
    assert (status, "no peers" in shown) == (0, True)
    assert methods(scripted) == ["grant.list", "guard.open", "grant.list"]
    assert SECRET not in shown


def test_a_wrong_one_ends_the_command(scripted: Scripted, environ: dict) -> None:
    guarded(scripted)
    status, shown = at_a_terminal(environ, ["grants"], ["a wrong one"])
    assert (status, "not the passphrase" in shown) == (NOT_ALLOWED, True)
    assert methods(scripted) == ["grant.list", "guard.open"]


def test_without_a_terminal_it_says_what_a_script_does(scripted: Scripted, environ: dict) -> None:
    guarded(scripted)
    done = without_a_terminal(environ, "grants")
    assert (done.returncode, b"MESH_TOKEN_FILE" in done.stderr) == (NOT_ALLOWED, True)
    assert methods(scripted) == ["grant.list"]


def without_a_terminal(environ: dict[str, str], *arguments: str) -> Any:
    """In a session of its own, which has no controlling terminal."""
    import subprocess

    return subprocess.run(
        [*MESH, *arguments],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,
        start_new_session=True,
    )


def test_a_script_brings_a_token(scripted: Scripted, environ: dict, tmp_path: Path) -> None:
    guarded(scripted)
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    done = without_a_terminal({**environ, "MESH_TOKEN_FILE": str(path)}, "grants")
    assert (done.returncode, done.stdout) == (0, b"no peers\n")
    assert methods(scripted) == ["grant.list", "guard.open", "grant.list"]


def test_where_a_token_does_not_do_its_file_is_not_even_read(scripted: Scripted, environ: dict) -> None:
    guarded(scripted)
    status, _ = at_a_terminal({**environ, "MESH_TOKEN_FILE": "/nowhere"}, ["guard", "off"], [SECRET])
    assert status == 0
    assert methods(scripted) == ["guard.off", "guard.open", "guard.off"]


def open_to_others(path: Path) -> None:
    path.write_text(TOKEN)
    path.chmod(0o640)


def a_link(path: Path) -> None:
    other = path.with_name("other")
    other.write_text(TOKEN)
    other.chmod(0o600)
    path.symlink_to(other)


def a_pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


def empty(path: Path) -> None:
    path.touch(0o600)


def too_long(path: Path) -> None:
    path.write_text("x" * 200)
    path.chmod(0o600)


def not_there(path: Path) -> None:
    assert not path.exists()


@pytest.mark.parametrize("prepare", [open_to_others, a_link, a_pipe, empty, too_long, not_there])
def test_a_token_is_read_from_a_file_that_is_mine_alone(
    scripted: Scripted, environ: dict, tmp_path: Path, prepare: Any
) -> None:
    guarded(scripted)
    path = tmp_path / "token"
    prepare(path)
    done = without_a_terminal({**environ, "MESH_TOKEN_FILE": str(path)}, "grants")
    assert (done.returncode, str(path).encode() in done.stderr) == (USAGE, True)
    assert "guard.open" not in methods(scripted)


def test_switching_it_on_types_the_passphrase_twice(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["guard.status"] = result({**ON, "on": False})
    scripted.on_request["guard.on"] = result(ON)
    scripted.start()
    status, shown = at_a_terminal(environ, ["guard", "on"], [SECRET, SECRET])
    assert (status, SECRET in shown) == (0, False)
    assert scripted.requests[-1].params == {"passphrase": SECRET}
    status, shown = at_a_terminal(environ, ["guard", "on"], [SECRET, "another"])
    assert (status, "differ" in shown) == (USAGE, True)
    assert methods(scripted).count("guard.on") == 1


def test_the_passphrase_may_come_from_standard_input(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["guard.status"] = result({**ON, "on": False})
    scripted.on_request["guard.on"] = result(ON)
    scripted.start()
    assert mesh(environ, "guard", "on", text=f"{SECRET}\n".encode()).returncode == 0
    assert scripted.requests[-1].params == {"passphrase": SECRET}


def test_a_token_is_written_where_only_i_can_read_it_and_not_said(
    scripted: Scripted, environ: dict, tmp_path: Path
) -> None:
    scripted.on_request["token.create"] = result(MADE)
    scripted.start()
    path = tmp_path / "token"
    for more in ((), ("--json",)):
        done = mesh(environ, "token", "create", "nightly", "--file", str(path), *more)
        assert done.returncode == 0, done.stderr
        assert TOKEN.encode() not in done.stdout + done.stderr
        assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (f"{TOKEN}\n", 0o600)
        again = mesh(environ, "token", "create", "nightly", "--file", str(path))
        assert (again.returncode, b"exists" in again.stderr) == (USAGE, True)
        path.unlink()
    assert mesh(environ, "token", "create", "nightly").stdout == f"{TOKEN}\n".encode()


def test_no_file_is_left_of_a_token_that_was_refused(scripted: Scripted, environ: dict, tmp_path: Path) -> None:
    said = MeshError("service_off", service="guard").message
    scripted.on_request["token.create"] = lambda talker, request: talker.refuse(request, "service_off", said)
    scripted.start()
    path = tmp_path / "token"
    done = mesh(environ, "token", "create", "nightly", "--file", str(path))
    assert (done.returncode, b"mesh guard on" in done.stderr, path.exists()) == (1, True, False)


def test_a_glance_asks_for_no_passphrase(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["daemon.status"] = result({"meshes": [{"mesh": "team", "me": "al", "link": "online"}]})
    scripted.on_request["peer.list"] = result({"peers": [], "more": False}, "peers[].summary")
    scripted.on_request["outbox.list"] = result({"waiting": [], "more": False}, "waiting[].message")
    scripted.on_request["session.list"] = result({"sessions": [], "more": False})
    said = MeshError("guard_asks", command="mesh held").message
    scripted.on_request["trust.held"] = lambda talker, request: talker.refuse(request, "guard_asks", said)
    (scripted.home / "mesh.db").touch()
    scripted.start()
    status, shown = at_a_terminal(environ, [], [])
    assert (status, "not shown" in shown, "team" in shown) == (0, False, True)
    assert "trust.held" in methods(scripted)
    assert "guard.open" not in methods(scripted)
