"""A status line below the user's own: his command is kept, bounded in time and size, and costs ours nothing."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from client_kit.programs import HOT, run
from client_kit.scripted import Scripted, says
from mesh_clients import chained

NO_DAEMON = b"mesh: no daemon (mesh up)\n"
SECONDS = 60.0


def line(environ: dict, command: str, *, within: int = 5000, document: bytes = b"{}") -> bytes:
    done = run((*HOT, "statusline", "--chain", command, "--within", str(within)), environ, document)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def test_what_the_users_command_prints_stands_above_ours(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["statusline"] = says(b"ours")
    scripted.start()
    assert line(environ, "cat; echo; echo second", document=b'{"cwd":"/src"}') == b'{"cwd":"/src"}\nsecond\nours'
    assert scripted.requests[0].body == b'{"cwd":"/src"}'


def test_it_gets_a_document_of_any_size_whole(environ: dict) -> None:
    document = b'{"x":"' + b"y" * 500_000 + b'"}'
    assert line(environ, "wc -c", document=document).split() == [str(len(document)).encode(), *NO_DAEMON.split()]


def test_it_has_the_environment_that_claude_code_gave(environ: dict) -> None:
    said = line({**environ, "COLUMNS": "77", "CLAUDE_PID": "9"}, 'echo "$COLUMNS $CLAUDE_PID"')
    assert said == b"77 9\n" + NO_DAEMON


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + SECONDS
    while Path(f"/proc/{pid}").exists() and b"Z" not in Path(f"/proc/{pid}/stat").read_bytes().split()[2:3]:
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.01)


def test_one_that_hangs_is_ended_and_what_it_printed_is_kept(environ: dict, tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    said = line(environ, f"echo first; sleep 1000 & echo $! > {pidfile}; wait", within=300)
    assert said == b"first\n" + NO_DAEMON
    wait_until_gone(int(pidfile.read_text()))


def test_one_that_never_ends_to_print_is_cut(environ: dict) -> None:
    said = line(environ, "while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaa; done")
    assert said == b"aaaaaaaaaaaaaaaaaaaaaaaaaaaa\n" * chained.LINES + NO_DAEMON


def test_when_claude_code_ends_a_run_its_command_ends_too(environ: dict, tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    command = f"echo $$ > {pidfile}.new; mv {pidfile}.new {pidfile}; exec sleep 1000"
    ours = subprocess.Popen(
        [*HOT, "statusline", "--chain", command, "--within", "9999"], env=environ, stdin=subprocess.DEVNULL, stdout=-1
    )
    deadline = time.monotonic() + SECONDS
    while not pidfile.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    ours.send_signal(signal.SIGTERM)
    assert ours.communicate(timeout=SECONDS)[0] == b""
    wait_until_gone(int(pidfile.read_text()))


@pytest.mark.parametrize(
    ("output", "kept"),
    [
        (b"", b""),
        (b"\n\n  \n", b""),
        (b"one", b"one\n"),
        (b"1\n2\n3\n4\n5\n6\n", b"1\n2\n3\n4\n"),
        (b"\x1b[31mred", b"\x1b[31mred\x1b[0m\n"),
        (b"a" * 100 + b"\n" + b"b" * chained.BYTES, b"a" * 100 + b"\n"),
        (b"c" * (chained.BYTES + 1), b""),
    ],
)
def test_four_lines_are_kept_and_no_style_stays_open(output: bytes, kept: bytes) -> None:
    assert chained.shown(output) == kept


def test_without_a_shell_ours_is_there_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError

    monkeypatch.setattr("posix.posix_spawn", refuse)
    before = len(os.listdir("/proc/self/fd"))
    assert chained.start(b"true", b"{}", {}, 100) is None
    assert len(os.listdir("/proc/self/fd")) - before <= 1


def test_the_layout_and_no_color_are_told_to_the_daemon(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["statusline"] = says(b"ours")
    scripted.start()
    run((*HOT, "statusline", "--home", environ["MESH_HOME"], "--layout", "short"), {**environ, "NO_COLOR": "1"}, b"{}")
    run((*HOT, "statusline"), environ, b"{}")
    told = [{key: value for key, value in request.params.items() if key != "env"} for request in scripted.requests]
    assert told == [{"columns": 0, "layout": "short", "plain": True}, {"columns": 0}]


def test_a_document_too_large_for_a_frame_does_not_blank_the_line(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["statusline"] = says(b"ours")
    scripted.start()
    assert run((*HOT, "statusline"), environ, json.dumps("x" * 2_000_000).encode()).stdout == b"ours"


@pytest.mark.parametrize("columns", ["1001", "99999", "-3", "x", ""])
def test_a_strange_width_is_none_or_the_widest(scripted: Scripted, environ: dict, columns: str) -> None:
    scripted.on_request["statusline"] = says(b"ours")
    scripted.start()
    assert run((*HOT, "statusline"), {**environ, "COLUMNS": columns}, b"{}").stdout == b"ours"
    assert scripted.requests[0].params["columns"] in (0, 1000)
