"""`mesh mcp` as a process: restarts of a scripted daemon, no daemon, large lines, signals, the end of input."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from client_kit.programs import HOT, MESH, McpClient
from client_kit.scripted import Scripted, Talker

MIB = 1024 * 1024


def request(number: int, method: str = "tools/call", **params: object) -> dict:
    return {"method": method, "params": params, "jsonrpc": "2.0", "id": number}


def result(number: int, **fields: object) -> dict:
    return {"jsonrpc": "2.0", "id": number, "result": fields}


def echo(talker: Talker, message: dict) -> None:
    """Answers every request with its method."""
    if "id" in message and "method" in message:
        talker.line(result(message["id"], method=message["method"]))


@pytest.mark.parametrize("command", [HOT, MESH], ids=["hot.py", "mesh"])
def test_lines_travel_both_ways(scripted: Scripted, environ: dict, command: tuple) -> None:
    scripted.on_line = echo
    scripted.start()
    with McpClient(environ, command=command) as client:
        assert client.ask(request(0, "initialize")) == result(0, method="initialize")
        client.say({"method": "notifications/initialized", "jsonrpc": "2.0"})
        assert client.ask(request(1)) == result(1, method="tools/call")
    opened = scripted.requests[0]
    assert opened.method == "mcp.open"
    assert opened.params == {"env": {"HOME": environ["HOME"]}, "cwd": "/"}


def test_the_probe_is_answered_though_no_daemon_is_there(environ: dict) -> None:
    with McpClient(environ, "--no-start") as client:
        began = time.monotonic()
        told = client.ask(request(9, "server/discover"))
        assert told["error"]["code"] == -32601
        assert time.monotonic() - began < 2


def test_a_restart_in_the_middle_of_a_call_loses_nothing_and_repeats_nothing(scripted: Scripted, environ: dict) -> None:
    scripted.on_line = lambda talker, message: echo(talker, message) if message.get("id") in (0, 1) else None
    scripted.start()
    with McpClient(environ, "--no-start") as client:  # a real one would come between the two
        client.ask(request(0, "initialize"))
        client.say({"method": "notifications/initialized", "jsonrpc": "2.0"})
        client.ask(request(1, name="done"))
        client.say(request(2, name="half done"))
        scripted.wait_for(lambda: any(line.get("id") == 2 for line in scripted.lines))
        scripted.stop()
        client.say(request(3, name="sent meanwhile"))
        scripted.lines.clear()
        scripted.on_line = echo
        scripted.start()
        answers = [client.hear(), client.hear()]
        assert answers == [result(2, method="tools/call"), result(3, method="tools/call")]
        assert client.ask(request(4)) == result(4, method="tools/call")
    asked = [(line.get("method"), line.get("id")) for line in scripted.lines]
    assert asked == [
        ("initialize", 0),
        ("notifications/initialized", None),
        ("tools/call", 2),
        ("tools/call", 3),
        ("tools/call", 4),
    ]


def test_a_last_word_before_the_daemons_end_is_heard(scripted: Scripted, environ: dict) -> None:
    def answer_and_die(talker: Talker, message: dict) -> None:
        echo(talker, message)
        if message.get("id") == 5:
            talker.sock.close()

    scripted.on_line = answer_and_die
    scripted.start()
    with McpClient(environ) as client:
        client.ask(request(0, "initialize"))
        assert client.ask(request(5)) == result(5, method="tools/call")
        scripted.wait_for(lambda: len(scripted.requests) == 2)
    assert [line["id"] for line in scripted.lines].count(5) == 1


def test_half_an_answer_is_never_passed_on(scripted: Scripted, environ: dict) -> None:
    def die_in_the_middle(talker: Talker, message: dict) -> None:
        frame = talker.peer.notify("mcp.line", {}, json.dumps(result(message["id"], text="first")).encode())
        talker.sock.sendall(frame[: len(frame) - 3])
        talker.sock.close()

    scripted.on_line = die_in_the_middle
    scripted.start()
    with McpClient(environ) as client:
        client.say(request(0, "initialize"))
        scripted.wait_for(lambda: len(scripted.lines) == 1)
        scripted.on_line = echo
        assert client.hear() == result(0, method="initialize")


def test_without_a_daemon_it_answers_itself_after_three_seconds_and_tells_when_one_is_back(
    scripted: Scripted, environ: dict
) -> None:
    with McpClient(environ, "--no-start") as client:
        began = time.monotonic()
        told = client.ask(request(0, "initialize", protocolVersion="2025-06-18"))
        assert 2.5 < time.monotonic() - began < 6
        assert told["result"]["protocolVersion"] == "2025-06-18"
        client.say({"method": "notifications/initialized", "jsonrpc": "2.0"})
        (tool,) = client.ask(request(1, "tools/list"))["result"]["tools"]
        assert tool["name"] == "mesh_help"
        assert "mesh up" in client.ask(request(2, name="mesh_help"))["result"]["content"][0]["text"]
        scripted.on_line = echo
        scripted.start()
        assert client.hear() == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
        assert client.hear() == {"jsonrpc": "2.0", "method": "notifications/prompts/list_changed"}
        assert client.ask(request(3, "tools/list")) == result(3, method="tools/list")
    assert [line.get("method") for line in scripted.lines][:2] == ["initialize", "notifications/initialized"]


def test_a_daemon_that_refuses_is_named_in_the_help(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["mcp.open"] = lambda talker, asked: talker.refuse(asked, "keys_locked", "the keys are locked")
    scripted.start()
    with McpClient(environ, "--no-start") as client:
        told = client.ask(request(0, name="mesh_help"))
    assert "the keys are locked" in told["result"]["content"][0]["text"]


def test_a_daemon_that_never_greets_is_given_up(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["mcp.open"] = lambda talker, asked: None
    scripted.start()
    with McpClient(environ, "--no-start") as client:
        assert "serverInfo" in client.ask(request(0, "initialize"))["result"]


def test_a_line_over_a_mebibyte_gets_an_error_with_its_id_and_others_go_on(scripted: Scripted, environ: dict) -> None:
    scripted.on_line = echo
    scripted.start()
    with McpClient(environ) as client:
        told = client.ask(request(6, text="x" * MIB))
        assert (told["id"], told["error"]["code"]) == (6, -32600)
        assert client.ask(request(7, text="x" * (MIB - 200))) == result(7, method="tools/call")
    assert [line["id"] for line in scripted.lines] == [7]


def test_a_line_without_end_does_not_fill_the_memory(scripted: Scripted, environ: dict) -> None:
    scripted.on_line = echo
    scripted.start()
    with McpClient(environ) as client:
        for _ in range(40):
            client.say(b"x" * MIB)
        peak = max_rss_kib(client.process.pid)
        told = client.ask(b"\n")
        assert (told["id"], told["error"]["code"]) == (None, -32600)
        assert client.ask(request(1)) == result(1, method="tools/call")
    assert peak < 60_000


def max_rss_kib(pid: int) -> int:
    (line,) = [row for row in Path(f"/proc/{pid}/status").read_text().splitlines() if row.startswith("VmHWM")]
    return int(line.split()[1])


def test_it_stays_under_twelve_mebibytes(scripted: Scripted, environ: dict) -> None:
    scripted.on_line = echo
    scripted.start()
    with McpClient(environ) as client:
        for number in range(50):
            client.ask(request(number))
        assert max_rss_kib(client.process.pid) < 12 * 1024


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("busy", [False, True], ids=["serving", "without a daemon"])
def test_a_signal_ends_it_within_a_tenth_of_a_second(
    scripted: Scripted, environ: dict, number: int, busy: bool
) -> None:
    scripted.on_line = echo
    if not busy:
        scripted.start()
    with McpClient(environ, "--no-start") as client:
        client.ask(request(0, "server/discover"))  # it runs, and its handlers are set
        if busy:
            client.say(request(1, "initialize"))
        began = time.monotonic()
        client.process.send_signal(number)
        assert client.process.wait(5) == 0
        assert time.monotonic() - began < 0.1


def test_the_end_of_input_ends_it_after_the_last_answer(scripted: Scripted, environ: dict) -> None:
    scripted.on_line = echo
    scripted.start()
    text = b"".join(json.dumps(request(number)).encode() + b"\n" for number in range(3)).rstrip(b"\n")
    done = subprocess.run([*MESH, "mcp"], env=environ, input=text, capture_output=True, timeout=20, check=True)
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [0, 1, 2]
    assert done.stderr == b""


def test_a_client_that_does_not_read_holds_up_only_itself(scripted: Scripted, environ: dict) -> None:
    def flood(talker: Talker, message: dict) -> None:
        talker.line(result(message["id"], text="y" * 300_000))

    scripted.on_line = flood
    scripted.start()
    with McpClient(environ) as client:
        for number in range(10):
            client.say(request(number))
        assert [client.hear()["id"] for _ in range(10)] == list(range(10))


def test_wrong_arguments_are_one_line_and_status_two(environ: dict) -> None:
    done = subprocess.run([*MESH, "mcp", "--loud"], env=environ, capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1


def test_the_mesh_flag_reaches_the_daemon(scripted: Scripted, environ: dict) -> None:
    scripted.on_line = echo
    scripted.start()
    with McpClient(environ, "--mesh", "team", "--home", environ.pop("MESH_HOME")) as client:
        client.ask(request(0, "initialize"))
    assert scripted.requests[0].params["env"]["MESH"] == "team"


def test_a_vanished_working_folder_is_no_reason_to_fail(scripted: Scripted, environ: dict, tmp_path: Path) -> None:
    scripted.on_line = echo
    scripted.start()
    gone = tmp_path / "gone"
    gone.mkdir()
    script = "import os,sys; os.rmdir(os.getcwd()); os.execv(sys.argv[1], sys.argv[1:])"
    line = json.dumps(request(0, "initialize")).encode() + b"\n"
    done = subprocess.run(
        [sys.executable, "-c", script, *HOT, "mcp"], env=environ, input=line, cwd=gone, capture_output=True, timeout=20
    )
    assert json.loads(done.stdout)["id"] == 0
    assert "cwd" not in scripted.requests[0].params
    assert not os.path.exists(gone)
