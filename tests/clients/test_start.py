"""Starting a daemon from a client: the real one, ones that fail, two starters at once."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from client_kit.programs import MESH, McpClient, mesh
from mesh_clients import start, thin

STARTER = (
    "import json, os, sys; from mesh_clients import start\n"
    "command = tuple(json.loads(sys.argv[1]))\n"
    "try: start.start_daemon(os.environ, seconds=float(sys.argv[2]), command=command)\n"
    "except start.NotStarted as error: print(error); sys.exit(1)"
)


@pytest.fixture
def stopped_after(environ: dict) -> Iterator[None]:
    """Whatever daemon the test started is stopped."""
    yield
    mesh(environ, "down")


def start_with(environ: dict, command: list[str], seconds: float = 8) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", STARTER, json.dumps(command), str(seconds)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_missing_daemon_is_started_and_answers(environ: dict, home: Path, stopped_after: None) -> None:
    done = mesh(environ, "status", "--json")
    status = json.loads(done.stdout)
    assert (done.returncode, status["home"]) == (0, str(home))
    assert os.getsid(status["pid"]) != os.getsid(0)
    assert mesh(environ, "up").stdout.startswith(b"meshd %b runs already: pid" % status["version"].encode())


def test_the_daemon_is_detached_from_its_starter(environ: dict, home: Path) -> None:
    told = home / "told.json"
    look = (
        "import os, json; json.dump({'cwd': os.getcwd(), 'leads': os.getsid(0) == os.getpid(), 'umask': os.umask(0),"
        "'fds': {fd: os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd') if int(fd) < 3},"
        f"'more': [fd for fd in os.listdir('/proc/self/fd') if fd == os.environ['MESH_FD']]}}, open({str(told)!r}, 'w'))"
    )
    reader, writer = os.pipe()
    subprocess.run(
        [sys.executable, "-c", STARTER, json.dumps([sys.executable, "-c", look]), "5"],
        env={**environ, "MESH_FD": str(writer)},
        timeout=20,
        pass_fds=[writer],
        stdout=subprocess.DEVNULL,
    )
    os.close(reader)
    os.close(writer)
    log = str(home / "logs" / "daemon.log")
    assert json.loads(told.read_text()) == {
        "cwd": "/",
        "leads": False,
        "umask": 0o077,
        "fds": {"0": "/dev/null", "1": log, "2": log},
        "more": [],
    }


def test_no_start_forbids_it(environ: dict, home: Path) -> None:
    done = mesh(environ, "--no-start", "status")
    assert (done.returncode, done.stdout) == (69, b"")
    assert done.stderr == b"mesh status: no daemon runs: run mesh up\n"
    assert os.listdir(home) == []


def test_the_relay_starts_one_when_it_is_asked_something(environ: dict, home: Path, stopped_after: None) -> None:
    with McpClient(environ) as client:
        asked = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}}
        told = client.ask(asked)["result"]
        assert "mesh_help" not in told["instructions"]
        tools = client.ask({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})["result"]["tools"]
    assert "send_message" in {tool["name"] for tool in tools}


def test_a_relay_that_is_asked_nothing_starts_nothing(environ: dict, home: Path) -> None:
    with McpClient(environ) as client:
        client.ask({"jsonrpc": "2.0", "id": "p", "method": "server/discover"})
    assert os.listdir(home) == []


def test_ten_commands_at_once_start_one_daemon(environ: dict, home: Path, stopped_after: None) -> None:
    commands = [subprocess.Popen([*MESH, "status", "--json"], env=environ, stdout=subprocess.PIPE) for _ in range(10)]
    pids = set()
    for command in commands:
        out, _ = command.communicate(timeout=30)
        assert command.returncode == 0
        pids.add(json.loads(out)["pid"])
    assert len(pids) == 1


def test_nothing_of_the_starters_environment_goes_along_but_what_is_listed(environ: dict, home: Path) -> None:
    told = home / "told.json"
    command = [sys.executable, "-c", f"import os, json; json.dump(dict(os.environ), open({str(told)!r}, 'w'))"]
    start_with(
        {
            **environ,
            "ANTHROPIC_API_KEY": "secret",
            "LD_PRELOAD": "",
            "PYTHONPATH": "",
            "TZ": "UTC",
            "SSL_CERT_FILE": "/c",
            "XDG_RUNTIME_DIR": "/r",
            "MESH_X": "1",
            "MESH_SESSION_FILE": "/token",
        },
        command,
    )
    seen = json.loads(told.read_text())
    seen.pop("LC_CTYPE", None)  # the interpreter's own
    assert seen == {
        "HOME": environ["HOME"],
        "PATH": environ["PATH"],
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "SSL_CERT_FILE": "/c",
        "XDG_RUNTIME_DIR": "/r",
        "MESH_X": "1",
        "MESH_HOME": str(home),
    }


def test_a_relative_home_is_made_absolute_for_the_daemon(environ: dict, tmp_path: Path) -> None:
    told = start.reduce_environment({"MESH_HOME": "home"}, thin.absolute(b"home"), b"")
    assert told["MESH_HOME"] == os.path.join(os.getcwd(), "home")


def test_a_daemon_that_refuses_to_start_says_why_in_its_own_words(environ: dict, home: Path) -> None:
    os.chmod(home, 0o755)
    (home / "something").write_text("")
    done = mesh(environ, "status")
    assert done.returncode == 69
    assert b"chmod 700" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_failed_start_is_not_repeated_for_ten_seconds(environ: dict, home: Path) -> None:
    count = home / "count"
    command = ["/bin/sh", "-c", f"echo x >> {count}; echo 'the disk is upside down'; exit 78"]
    for _ in range(3):
        done = start_with(environ, command)
        assert (done.returncode, done.stdout) == (1, "the disk is upside down\n")
    assert count.read_text() == "x\n"
    lock = home / "start.lock"
    at, _, why = lock.read_text().partition(" ")
    lock.write_text(f"{int(at) - start.HOLD_MS} {why}")
    start_with(environ, command)
    assert count.read_text() == "x\nx\n"


def test_a_person_who_has_mended_it_need_not_wait(environ: dict, home: Path, stopped_after: None) -> None:
    config = home / "config.toml"
    config.write_text("nonsense = 1\n")
    assert mesh(environ, "status").returncode == 69
    config.unlink()
    assert b"unknown key" in mesh(environ, "status").stderr, "others are held back"
    assert mesh(environ, "up").returncode == 0
    assert mesh(environ, "status").returncode == 0


def test_a_failure_recorded_by_a_clock_that_was_wrong_does_not_hold_for_ever(environ: dict, home: Path) -> None:
    (home / "start.lock").write_text(f"{time.time_ns() // 1_000_000 + 3_600_000} from the future")
    assert start_with(environ, ["/bin/sh", "-c", "echo now; exit 1"]).stdout == "now\n"


def test_a_daemon_that_never_answers_is_given_up_in_time_and_left_running(environ: dict, home: Path) -> None:
    pidfile = home / "pid"
    began = time.monotonic()
    done = start_with(environ, ["/bin/sh", "-c", f"echo $$ > {pidfile}; exec sleep 60"], 0.5)
    assert time.monotonic() - began < 5
    assert done.stdout == f"it does not answer; its log is {home / 'logs' / 'daemon.log'}\n"
    os.kill(int(pidfile.read_text()), signal.SIGKILL)


def test_a_daemon_that_meets_one_just_stopping_is_run_again(environ: dict, home: Path, stopped_after: None) -> None:
    first = json.loads(mesh(environ, "up", "--json").stdout)["pid"]
    os.kill(first, signal.SIGSTOP)  # it holds the lock, and its socket is about to go
    (home / "run" / "sock").unlink()
    command = subprocess.Popen([*MESH, "status", "--json"], env=environ, stdout=subprocess.PIPE)
    wait_until(lambda: b"already runs" in (home / "logs" / "daemon.log").read_bytes())
    os.kill(first, signal.SIGKILL)
    out, _ = command.communicate(timeout=30)
    assert command.returncode == 0
    assert json.loads(out)["pid"] != first


def test_a_starter_that_is_killed_leaves_no_watcher_behind(environ: dict, home: Path) -> None:
    pidfile = home / "pid"
    command = ["/bin/sh", "-c", f"echo $$ > {pidfile}.new; mv {pidfile}.new {pidfile}; exec sleep 60"]
    starter = subprocess.Popen([sys.executable, "-c", STARTER, json.dumps(command), "30"], env=environ)
    wait_until(pidfile.exists)
    daemon = int(pidfile.read_text())
    starter.kill()
    starter.wait()
    try:
        wait_until(lambda: Path(f"/proc/{daemon}/stat").read_text().rpartition(")")[2].split()[1] == "1")
    finally:
        os.kill(daemon, signal.SIGKILL)


def wait_until(condition: object) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_data_directory_is_made_private(tmp_path: Path) -> None:
    fresh = tmp_path / "a" / "b"
    start.make_private(os.fsencode(fresh))
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o700
    empty = tmp_path / "empty"
    empty.mkdir()
    os.chmod(empty, 0o755)
    start.make_private(os.fsencode(empty))
    assert stat.S_IMODE(empty.stat().st_mode) == 0o700


def test_a_directory_that_others_may_write_or_that_is_in_use_is_left_for_the_daemon_to_refuse(tmp_path: Path) -> None:
    for name, mode, inside in (("shared", 0o777, False), ("used", 0o755, True)):
        folder = tmp_path / name
        folder.mkdir()
        if inside:
            (folder / "x").write_text("")
        os.chmod(folder, mode)
        start.make_private(os.fsencode(folder))
        assert stat.S_IMODE(folder.stat().st_mode) == mode


def test_a_home_that_cannot_be_made_is_one_sentence(environ: dict) -> None:
    done = mesh({**environ, "MESH_HOME": "/proc/nowhere"}, "status")
    assert done.returncode == 69
    assert done.stderr.startswith(b"mesh status: no daemon runs: cannot create /proc/nowhere")


def test_a_log_that_grew_too_large_is_put_aside(home: Path) -> None:
    logs = home / "logs"
    logs.mkdir()
    with (logs / "daemon.log").open("wb") as file:
        file.truncate(start.LOG_BYTES + 1)
    log, size = start.open_log(os.fsencode(home))
    os.close(log)
    assert size == 0
    assert (logs / "daemon.log.1").stat().st_size == start.LOG_BYTES + 1


def test_a_link_in_the_place_of_the_log_is_not_followed(home: Path, tmp_path: Path) -> None:
    (home / "logs").mkdir()
    target = tmp_path / "precious"
    target.write_text("mine")
    (home / "logs" / "daemon.log").symlink_to(target)
    log, _ = start.open_log(os.fsencode(home))
    try:
        assert os.readlink(f"/proc/self/fd/{log}") == "/dev/null"
    finally:
        os.close(log)


def test_inside_an_agents_sandbox_the_command_says_where_to_start_it(environ: dict, home: Path) -> None:
    done = mesh({**environ, "CLAUDE_CODE_SESSION_ID": "5f2c"}, "status")
    assert done.returncode == 69
    assert b"start it outside: mesh up" in done.stderr
    assert os.listdir(home) == []


def test_a_daemon_that_ends_without_a_word_leaves_a_hint_where_to_look(environ: dict, home: Path) -> None:
    done = start_with(environ, [sys.executable, "-c", "import sys; sys.exit(3)"])
    assert done.stdout == f"it ended at once with status 3; its log is {home}/logs/daemon.log\n"
