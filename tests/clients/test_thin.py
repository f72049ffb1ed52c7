"""`mesh statusline` and `mesh hook` as processes, against a scripted daemon and against none."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from client_kit.programs import HOT, MESH, run
from client_kit.scripted import Scripted, says
from mesh_clients import thin

FORMS = pytest.mark.parametrize("command", [HOT, MESH], ids=["hot.py", "mesh"])
LIMIT = 1.0
"""Seconds that a status line may take, whatever happens. The clients stop themselves well before."""


@FORMS
def test_the_status_line_prints_what_the_daemon_says(scripted: Scripted, environ: dict, command: tuple) -> None:
    scripted.on_request["statusline"] = says("mesh: \u25cf bob\n".encode())
    scripted.start()
    done = run((*command, "statusline"), {**environ, "COLUMNS": "120"}, b'{"cwd":"/src"}')
    assert (done.returncode, done.stdout, done.stderr) == (0, "mesh: \u25cf bob\n".encode(), b"")
    (request,) = scripted.requests
    assert request.params["columns"] == 120
    assert request.params["env"] == {"HOME": environ["HOME"]}
    assert request.body == b'{"cwd":"/src"}'


@FORMS
def test_a_hook_prints_the_answer_and_ends_with_its_status(scripted: Scripted, environ: dict, command: tuple) -> None:
    scripted.on_request["hook"] = says(b'{"continue":true}', 2)
    scripted.start()
    done = run((*command, "hook"), environ, b'{"hook_event_name":"Stop"}')
    assert (done.returncode, done.stdout, done.stderr) == (2, b'{"continue":true}', b"")


@FORMS
def test_without_a_daemon_a_hook_is_silent_and_the_status_line_says_so_and_neither_starts_one(
    environ: dict, home: Path, command: tuple
) -> None:
    hook = run((*command, "hook"), environ, b"{}")
    assert (hook.returncode, hook.stdout, hook.stderr) == (0, b"", b"")
    line = run((*command, "statusline"), environ, b"{}")
    assert (line.returncode, line.stdout, line.stderr) == (0, b"mesh: no daemon (mesh up)\n", b"")
    assert os.listdir(home) == []


def test_a_socket_that_nobody_listens_at_any_more_counts_as_none(scripted: Scripted, environ: dict) -> None:
    scripted.start()
    scripted.stop()
    assert run((*HOT, "statusline"), environ).stdout == b"mesh: no daemon (mesh up)\n"
    assert run((*HOT, "hook"), environ).returncode == 0


def timed(verb: str, environ: dict, stdin: int | None = None) -> tuple[float, subprocess.CompletedProcess[bytes]]:
    began = time.monotonic()
    done = subprocess.run([*HOT, verb], env=environ, stdin=stdin or subprocess.DEVNULL, capture_output=True, timeout=20)
    return time.monotonic() - began, done


def test_a_daemon_that_does_not_answer_costs_less_than_a_second(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["statusline"] = lambda talker, request: None
    scripted.on_request["hook"] = lambda talker, request: None
    scripted.start()
    took, done = timed("statusline", environ)
    assert done.stdout == b"mesh: the daemon is slow (mesh doctor)\n"
    assert took < LIMIT
    took, done = timed("hook", environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert took < LIMIT


def test_an_input_that_never_ends_costs_less_than_a_second(scripted: Scripted, environ: dict) -> None:
    scripted.start()
    reader, writer = os.pipe()
    try:
        took, done = timed("hook", environ, reader)
    finally:
        os.close(reader)
        os.close(writer)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert took < LIMIT
    assert scripted.requests == []


def test_a_full_backlog_costs_less_than_a_second(home: Path, environ: dict) -> None:
    (home / "run").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "run" / "sock"))
        listener.listen(0)
        (home / "run" / "where").write_text(f"{home / 'run' / 'sock'}\n")
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(str(home / "run" / "sock"))
        took, done = timed("statusline", environ)
        for sock in waiting:
            sock.close()
    assert done.stdout == b"mesh: the daemon is slow (mesh doctor)\n"
    assert took < LIMIT


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00",
        b"\xff" * 64,
        b"\x00\x00\x00\x04\x00\x00\x00\x00junk",
        b"\x00\x00\x00\x05\x00\x00\x00\x00\x94\x01\x01\xc0\x80",
        b"\x00\x00\x00\x09\x00\x00\x00\x00\x94\x01\x01\xc0\x81\xa4exit",
    ],
    ids=["closed", "cut", "too large", "junk", "no exit", "cut exit"],
)
def test_nonsense_from_the_socket_is_one_short_line_and_no_traceback(
    scripted: Scripted, environ: dict, answer: bytes
) -> None:
    def reply(talker: object, request: object) -> None:
        talker.sock.sendall(answer)
        talker.sock.shutdown(socket.SHUT_RDWR)

    scripted.on_request["statusline"] = reply
    scripted.start()
    done = run((*HOT, "statusline"), environ, b"{}")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"mesh: the daemon ")
    assert done.stdout.count(b"\n") == 1


def test_a_refusal_is_silent_in_a_hook_and_short_in_the_status_line(scripted: Scripted, environ: dict) -> None:
    for verb in ("statusline", "hook"):
        scripted.on_request[verb] = lambda talker, request: talker.refuse(request, "keys_locked", "locked")
    scripted.start()
    assert run((*HOT, "statusline"), environ).stdout == b"mesh: the daemon refused (mesh doctor)\n"
    assert run((*HOT, "hook"), environ).stdout == b""


def test_more_input_than_a_frame_carries_is_left_alone(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["hook"] = says(b"seen")
    scripted.start()
    assert run((*HOT, "hook"), environ, b"x" * thin.MAX_BODY).stdout == b"seen"
    done = run((*HOT, "hook"), environ, b"x" * (thin.MAX_BODY + 1))
    assert (done.returncode, done.stdout) == (0, b"")
    assert len(scripted.requests) == 1


def test_home_may_be_given_and_wins_over_the_environment(scripted: Scripted, environ: dict, tmp_path: Path) -> None:
    scripted.on_request["statusline"] = says(b"here")
    scripted.start()
    elsewhere = {**environ, "MESH_HOME": str(tmp_path / "elsewhere")}
    assert run((*HOT, "statusline", "--home", environ["MESH_HOME"]), elsewhere).stdout == b"here"


def test_without_mesh_home_the_platforms_own_place_is_used(tmp_path: Path, environ: dict) -> None:
    data = tmp_path / ".local" / "share" / "meshd"
    data.mkdir(parents=True, mode=0o700)
    daemon = Scripted(data)
    daemon.on_request["statusline"] = says(b"own place")
    daemon.start()
    try:
        del environ["MESH_HOME"]
        assert run((*HOT, "statusline"), environ).stdout == b"own place"
    finally:
        daemon.stop()


def test_a_path_too_long_for_a_socket_address_is_reached_all_the_same(tmp_path: Path, environ: dict) -> None:
    data = tmp_path / ("d" * 90) / ("e" * 90)
    data.mkdir(parents=True, mode=0o700)
    daemon = Scripted(data)
    daemon.on_request["statusline"] = says(b"far away")
    daemon.start()
    try:
        assert run((*HOT, "statusline"), {**environ, "MESH_HOME": str(data)}).stdout == b"far away"
    finally:
        daemon.stop()


@pytest.mark.parametrize("below", [".", "a/b", "missing/deeper"])
def test_a_home_inside_the_sessions_project_is_not_talked_to(tmp_path: Path, environ: dict, below: str) -> None:
    project = tmp_path / "project"
    (project / "a" / "b").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(project)
    for root in (project, link):
        planted = {**environ, "MESH_HOME": str(root / below), "CLAUDE_PROJECT_DIR": str(project)}
        done = run((*HOT, "statusline"), planted)
        assert done.stdout == b"mesh: MESH_HOME lies inside this session's project: set it elsewhere\n"
        assert run((*HOT, "hook"), planted).stdout == b""


def test_a_home_beside_or_around_the_project_is_fine(scripted: Scripted, environ: dict, home: Path) -> None:
    scripted.on_request["statusline"] = says(b"fine")
    scripted.start()
    inside = home / "project"
    beside = home.parent / "project"
    for project in (inside, beside):
        project.mkdir()
        assert run((*HOT, "statusline"), {**environ, "CLAUDE_PROJECT_DIR": str(project)}).stdout == b"fine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process of another user")
def test_another_users_listener_gets_not_a_byte(home: Path, environ: dict) -> None:
    (home / "run").mkdir()
    path = str(home / "run" / "sock")
    (home / "run" / "where").write_text(f"{path}\n")
    # The kernel tells the credentials that the other side had when it called listen.
    script = (
        "import os,socket,sys\ns=socket.socket(socket.AF_UNIX);s.bind(sys.argv[1]);os.setuid(65534);s.listen()\n"
        "print('ready',flush=True)\nc,_=s.accept();print(len(c.recv(100)),flush=True)"
    )
    other = subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE)
    assert other.stdout is not None
    with other.stdout:
        assert other.stdout.readline() == b"ready\n"
        done = run((*HOT, "statusline"), environ, b"{}")
        assert done.stdout == b"mesh: another user answers at the daemon's address\n"
        assert other.stdout.readline() == b"0\n"
    other.wait(10)


def test_nobody_reading_the_output_is_no_traceback(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["statusline"] = says(b"x" * 500_000)
    scripted.start()
    client = subprocess.Popen([*HOT, "statusline"], env=environ, stdin=-3, stdout=-1, stderr=-1)
    client.stdout.close()
    with client.stderr:
        assert client.stderr.read() == b""
    assert client.wait(10) == 0
