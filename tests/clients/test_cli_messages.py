"""`mesh send`, `inbox` and `message` against a scripted daemon: what is said, and what is asked."""

import json
import socket
import subprocess
import threading

import pytest

from client_kit.answers import ESCAPES, ID, recipient, result, row, sent
from client_kit.programs import MESH, mesh
from client_kit.scripted import Scripted, Talker
from mesh_protocol.wire.rpc import RequestReceived


def test_send_says_what_is_known_and_ends_with_0_when_it_is_queued(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["message.send"] = result(sent("queued"))
    scripted.start()
    done = mesh(environ, "send", "bob,eve", "hello there")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == (
        "ab12ab12 to bob[31m/web: queued: kept on this machine, goes out as soon as the broker takes it\n"
    )
    request = scripted.requests[-1]
    assert request.body == b"hello there"
    assert request.params["to"] == ["bob", "eve"]
    assert "message" not in request.params
    assert len(request.params["idempotency_key"]) == 32


def test_waiting_says_each_step_once_and_repeats_the_same_request(scripted: Scripted, environ: dict) -> None:
    steps = {"queued": "queued", "accepted": "accepted", "stored": "stored"}
    scripted.on_request["message.send"] = lambda talker, request: talker.answer(
        request, sent(steps[request.params["wait"]])
    )
    scripted.start()
    done = mesh(environ, "send", "bob", "hi", "--wait", "stored", "--idempotency-key", "mine")
    assert done.returncode == 0
    assert [line.split(": ")[-2].split()[-1] for line in done.stdout.decode().splitlines()] == [
        "queued",
        "accepted",
        "stored",
    ]
    asked = [request for request in scripted.requests if request.method == "message.send"]
    assert [request.params["wait"] for request in asked] == ["queued", "accepted", "stored"]
    assert {request.params["idempotency_key"] for request in asked} == {"mine"}
    assert {request.body for request in asked} == {b"hi"}


def test_a_wait_that_was_not_met_ends_with_75_and_says_that_it_goes_on(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["message.send"] = lambda talker, request: talker.answer(
        request, sent("queued", request.params["wait"] == "queued")
    )
    scripted.start()
    done = mesh(environ, "send", "bob", "hi", "--wait", "shown", "--timeout", "0.1")
    assert done.returncode == 75
    assert done.stdout.startswith(b"ab12ab12 to bob")
    assert done.stderr == b"mesh send: shown did not happen within 0.1 s; it goes on in the background\n"
    as_json = mesh(environ, "send", "bob", "hi", "--wait", "shown", "--timeout", "0.1", "--json")
    error = json.loads(as_json.stdout)["error"]
    assert (as_json.returncode, error["code"]) == (75, "timeout")
    assert (error["data"]["id"], error["data"]["state"]) == (ID, "queued")


def test_with_json_send_waits_in_one_call_and_prints_one_document(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["message.send"] = result(sent("stored"))
    scripted.start()
    done = mesh(environ, "send", "bob", "hi", "--wait", "stored", "--json")
    assert json.loads(done.stdout) == sent("stored")
    assert [request.params["wait"] for request in scripted.requests[1:]] == ["stored"]


def test_a_refused_message_ends_with_1_and_the_reason(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["message.send"] = result(sent("refused", False, reason="their policy"))
    scripted.start()
    done = mesh(environ, "send", "bob", "hi", "--wait", "stored")
    assert done.returncode == 1
    assert b"refused by their side (their policy)" in done.stdout


def test_a_daemon_that_goes_away_is_asked_again_with_the_same_key(scripted: Scripted, environ: dict) -> None:
    asked: list[RequestReceived] = []

    def die_once(talker: Talker, request: RequestReceived) -> None:
        asked.append(request)
        if len(asked) == 1:
            talker.sock.shutdown(socket.SHUT_RDWR)
        else:
            talker.answer(request, sent("queued"))

    scripted.on_request["message.send"] = die_once
    scripted.start()
    assert mesh(environ, "send", "bob", "hi").returncode == 0
    assert len(asked) == 2
    assert len({request.params["idempotency_key"] for request in asked}) == 1
    assert {request.body for request in asked} == {b"hi"}


def test_a_dash_reads_the_message_from_standard_input(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["message.send"] = result(sent("queued"))
    scripted.start()
    assert mesh(environ, "send", "bob", "-", text="gr\u00fcn\n\nend\n".encode()).returncode == 0
    assert scripted.requests[-1].body == "gr\u00fcn\n\nend".encode()
    binary = mesh(environ, "send", "bob", "-", text=b"\xff\xfe")
    assert (binary.returncode, len(scripted.requests)) == (2, 2)


@pytest.mark.parametrize("how", ["argument", "standard input"])
def test_a_message_over_64_kib_is_refused_before_anything_is_sent(scripted: Scripted, environ: dict, how: str) -> None:
    scripted.on_request["message.send"] = result(sent("queued"))
    scripted.start()
    text = "x" * 65_537
    done = (
        mesh(environ, "send", "bob", text)
        if how == "argument"
        else mesh(environ, "send", "bob", "-", text=text.encode())
    )
    assert done.returncode == 65
    assert b"the limit is 65536" in done.stderr
    assert scripted.requests == []
    assert mesh(environ, "send", "bob", "-", text=b"x" * 65_536 + b"\n").returncode == 0


def test_the_inbox_is_printed_cleanly_and_acknowledged_afterwards(scripted: Scripted, environ: dict) -> None:
    messages = [row(f"one\n{ESCAPES}two"), row("seen", id="cd34" * 8, unread=False, truncated=True)]
    scripted.on_request["inbox.read"] = result({"messages": messages, "more": True}, "messages[].message")
    scripted.on_request["inbox.ack"] = result({"marked": 1})
    scripted.start()
    done = mesh(environ, "inbox", "--from", "al", "--all")
    assert done.returncode == 0
    text = done.stdout.decode()
    assert "al[31m (human, team)" in text
    assert "    one\n    [31mtwo\n" in text
    assert "mesh message cd34cd34" in text
    assert text.endswith("More wait: mesh inbox again.\n")
    assert scripted.requests[1].params == {"sender": "al", "all": True}
    assert scripted.requests[2].params == {"ids": [ID]}


def test_no_messages_are_said_in_words_and_nothing_is_acknowledged(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["inbox.read"] = result({"messages": [], "more": False}, "messages[].message")
    scripted.start()
    assert mesh(environ, "inbox").stdout == b"no unread messages\n"
    assert mesh(environ, "inbox", "--all").stdout == b"no messages\n"
    assert json.loads(mesh(environ, "inbox", "--json").stdout) == {"messages": [], "more": False}
    assert "inbox.ack" not in {request.method for request in scripted.requests}


def test_messages_that_nobody_could_read_are_not_acknowledged(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["inbox.read"] = result({"messages": [row("x" * 300_000)], "more": False}, "messages[].message")
    scripted.on_request["inbox.ack"] = result({"marked": 1})
    scripted.start()
    command = subprocess.Popen(
        [*MESH, "inbox"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    command.stdout.close()
    with command.stderr:
        assert command.stderr.read() == b""
    assert command.wait(10) == 1
    assert "inbox.ack" not in {request.method for request in scripted.requests}


def test_follow_prints_one_document_a_line_acknowledges_each_and_ends_at_ctrl_c(
    scripted: Scripted, environ: dict
) -> None:
    batches = [[row("first")], [row("second", id="cd34" * 8), row("third", id="ef56" * 8)]]
    idle = threading.Event()

    def read(talker: Talker, request: RequestReceived) -> None:
        if batches:
            result({"messages": batches.pop(0), "more": False}, "messages[].message")(talker, request)
        else:
            idle.set()

    scripted.on_request["inbox.read"] = read
    scripted.on_request["inbox.ack"] = result({"marked": 1})
    scripted.start()
    command = subprocess.Popen([*MESH, "inbox", "--follow", "--json", "--all"], env=environ, stdout=subprocess.PIPE)
    assert idle.wait(20)
    command.send_signal(2)
    out, _ = command.communicate(timeout=20)
    assert command.returncode == 130
    assert [json.loads(line)["message"] for line in out.splitlines()] == ["first", "second", "third"]
    acks = [request.params["ids"] for request in scripted.requests if request.method == "inbox.ack"]
    assert acks == [[ID], ["cd34" * 8, "ef56" * 8]]
    reads = [request.params for request in scripted.requests if request.method == "inbox.read"]
    assert [params.get("all", False) for params in reads] == [True, False, False]


def test_follow_goes_on_when_the_daemon_is_back_and_starts_none_itself(scripted: Scripted, environ: dict) -> None:
    batches = [[row("before")], [row("after", id="cd34" * 8)]]
    idle = threading.Semaphore(0)

    def read(talker: Talker, request: RequestReceived) -> None:
        if batches:
            result({"messages": batches.pop(0), "more": False}, "messages[].message")(talker, request)
            if batches:
                scripted.on_request["inbox.read"] = lambda talker, request: idle.release()
        else:
            idle.release()

    scripted.on_request["inbox.read"] = read
    scripted.on_request["inbox.ack"] = result({"marked": 1})
    scripted.start()
    command = subprocess.Popen(
        [*MESH, "inbox", "--follow"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert idle.acquire(timeout=20)
    scripted.stop()
    assert command.stderr is not None
    assert "waiting for it" in command.stderr.readline()
    scripted.on_request["inbox.read"] = read
    scripted.start()
    assert idle.acquire(timeout=20)
    command.send_signal(2)
    out, errors = command.communicate(timeout=20)
    assert (command.returncode, errors) == (130, "")
    assert [line.strip() for line in out.splitlines() if line.startswith("    ")] == ["before", "after"]
    assert not (scripted.home / "start.lock").exists()


def test_a_message_shows_every_state_with_its_time(scripted: Scripted, environ: dict) -> None:
    answer = {
        "id": ID,
        "mesh": "team",
        "direction": "out",
        "sender": "me",
        "created_ms": 1_790_000_000_000,
        "expires_ms": 1_792_000_000_000,
        "priority": "next",
        "reply_to": "",
        "message": "line one\nline two",
        "state": "shown",
        "recipients": [
            recipient(
                "shown",
                accepted_ms=1_790_000_001_000,
                stored_ms=1_790_000_002_000,
                shown_ms=1_790_000_003_000,
                evidence="transcript",
            ),
            recipient("expired", path="local", reason="thirty days"),
        ],
    }
    scripted.on_request["message.status"] = result(answer, "message")
    scripted.start()
    text = mesh({**environ, "TZ": "UTC"}, "message", ID[:8]).stdout.decode()
    assert "    | line one\n    | line two\n" in text
    assert "    stored        2026-09-21 14:13:22\n" in text
    assert "    shown         2026-09-21 14:13:23  (known by: transcript)\n" in text
    assert "turn started" not in text
    assert "on this machine: expired before it was stored" in text
    assert "    reason        thirty days\n" in text
    assert json.loads(mesh(environ, "message", ID[:8], "--json").stdout) == answer
