"""The commands as processes against a scripted daemon: output, JSON, exit statuses, and what is asked of the daemon."""

import json
import os
import pty
import subprocess
import threading
import time
from collections.abc import Callable

import pytest
from client_kit.programs import MESH, mesh
from client_kit.scripted import Scripted, Talker
from mesh_clients.cli import own
from mesh_clients.cli.table import VERBS
from mesh_protocol.wire.codec import JsonValue
from mesh_protocol.wire.errors import CODES, MeshError
from mesh_protocol.wire.items import take_texts
from mesh_protocol.wire.rpc import RequestReceived

ID = "ab12" * 8
ESCAPES = "\x1b[31m\u202e"


def result(value: JsonValue, texts: str = "") -> Callable[[Talker, RequestReceived], None]:
    def answer(talker: Talker, request: RequestReceived) -> None:
        built = json.loads(json.dumps(value))
        body = take_texts(built, texts) if texts else b""
        talker.answer(request, built, body)

    return answer


def recipient(state: str, **changed: object) -> dict:
    row = {
        "to": f"bob{ESCAPES}/web",
        "device": "3f2a",
        "state": state,
        "path": "mesh",
        "queued_ms": 1,
        "accepted_ms": 0,
        "stored_ms": 0,
        "shown_ms": 0,
        "turn_started_ms": 0,
        "session": "",
        "evidence": "",
        "reason": "",
    }
    return row | changed


def sent(state: str, reached: bool = True, **changed: object) -> dict:
    rows = [recipient(state, **changed)]
    return {"id": ID, "mesh": "team", "state": state, "reached": reached, "recipients": rows}


def row(text: str, **changed: object) -> dict:
    fields = {
        "id": ID,
        "mesh": "team",
        "sender": f"al{ESCAPES}",
        "origin": "human",
        "to": "bob",
        "priority": "next",
        "created_ms": 1_790_000_000_000,
        "stored_ms": 1_790_000_000_000,
        "reply_to": "",
        "message": text,
        "truncated": False,
        "unread": True,
    }
    return fields | changed


# Every verb.


@pytest.mark.parametrize("name", [*VERBS, *(verb for verb in own.VERBS if verb not in ("mcp", "statusline", "hook"))])
def test_help_of_every_verb_needs_no_daemon_and_names_its_flags(environ: dict, home: object, name: str) -> None:
    done = mesh(environ, name, "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(f"usage: mesh {name}".encode())
    assert b"--json" in done.stdout
    assert os.listdir(home) == []


@pytest.mark.parametrize("name", ["mcp", "statusline", "hook"])
def test_help_of_claude_codes_verbs_is_help_too(environ: dict, name: str) -> None:
    done = mesh(environ, name, "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(f"usage: mesh {name}".encode())


@pytest.mark.parametrize("arguments", [(), ("--help",), ("help",), ("-h",)])
def test_without_a_verb_the_overview_is_shown(environ: dict, arguments: tuple[str, ...]) -> None:
    done = mesh(environ, *arguments)
    assert done.returncode == 0
    assert all(f"  {name} ".encode() in done.stdout for name in VERBS)


def test_the_version_is_told_in_three_ways_and_as_json(environ: dict) -> None:
    said = {mesh(environ, *arguments).stdout for arguments in (("version",), ("--version",), ("peers", "--version"))}
    assert len(said) == 1
    (line,) = said
    assert json.loads(mesh(environ, "version", "--json").stdout)["version"] == line.split()[1].decode()


def test_an_unknown_command_is_a_usage_error_that_names_the_nearest(environ: dict) -> None:
    done = mesh(environ, "sned", "bob", "hi")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"mesh sned: there is no command 'sned' (did you mean send?); see mesh help\n"


@pytest.mark.parametrize("name", [*VERBS, "doctor", "up", "down", "version", "help"])
def test_a_usage_error_of_every_verb_is_json_where_asked(environ: dict, name: str) -> None:
    done = mesh(environ, "--json", name, "--frobnicate")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "bad_request"
    assert done.stderr.count(b"\n") == 1


ARGUMENTS = {"new": ("team",), "join": ("mesh://x",), "send": ("bob", "hi"), "message": ("ab12ab12",)}


@pytest.mark.parametrize("name", list(VERBS))
def test_without_a_daemon_and_forbidden_to_start_one_every_verb_ends_with_69(environ: dict, name: str) -> None:
    done = mesh(environ, name, "--no-start", "--json", *ARGUMENTS.get(name, ()))
    assert done.returncode == 69
    assert json.loads(done.stdout)["error"] == {
        "code": "no_daemon",
        "message": "no daemon runs: run mesh up",
        "data": {"why": "run mesh up"},
    }
    assert done.stderr == f"mesh {name}: no daemon runs: run mesh up\n".encode()


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_error_of_the_list_is_one_line_its_exit_status_and_a_document(
    scripted: Scripted, environ: dict, code: str
) -> None:
    error = MeshError(code, what="x", why="y")
    scripted.on_request["peer.list"] = lambda talker, request: talker.refuse(
        request, code, f"{error.message}{ESCAPES}\nsecond", **error.data
    )
    scripted.start()
    done = mesh(environ, "peers", "--json")
    assert done.returncode == error.exit
    assert json.loads(done.stdout)["error"] == {
        "code": code,
        "message": f"{error.message}{ESCAPES}\nsecond",
        "data": {"what": "x", "why": "y"},
    }
    assert done.stderr.count(b"\n") == 1
    assert b"\x1b" not in done.stderr
    assert b"\x1b" not in done.stdout


def test_a_code_of_a_newer_daemon_keeps_its_text(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["peer.list"] = lambda talker, request: talker.refuse(request, "from_the_future", "do that")
    scripted.start()
    done = mesh(environ, "peers")
    assert (done.returncode, done.stderr) == (1, b"mesh peers: do that\n")


def test_a_refused_greeting_is_the_commands_error(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["hello"] = lambda talker, request: talker.refuse(request, "version_mismatch", "old: mesh down")
    scripted.on_request["peer.list"] = result({"peers": []})
    scripted.start()
    done = mesh(environ, "peers")
    assert (done.returncode, done.stderr) == (75, b"mesh peers: old: mesh down\n")


def test_a_daemon_that_dies_during_the_call_is_said(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["peer.list"] = lambda talker, request: talker.sock.close()
    scripted.start()
    done = mesh(environ, "peers")
    assert done.returncode == 69
    assert b"went away during the call" in done.stderr


def test_the_greeting_carries_the_allowed_variables_and_no_others(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["peer.list"] = result({"peers": []})
    scripted.start()
    mesh({**environ, "ANTHROPIC_API_KEY": "secret", "MESH": "team", "CLAUDE_CODE_SESSION_ID": "5f"}, "peers")
    hello = scripted.requests[0]
    assert hello.method == "hello"
    assert hello.params["proto"] == [1, 0]
    assert hello.params["env"] == {"HOME": environ["HOME"], "MESH": "team", "CLAUDE_CODE_SESSION_ID": "5f"}


# Lists.


def test_peers_are_a_table_without_control_characters_and_the_same_as_json(scripted: Scripted, environ: dict) -> None:
    peers = [{"to": f"bob{ESCAPES}", "status": "idle", "online": True, "summary": "a\nb"}]
    scripted.on_request["peer.list"] = result({"peers": peers})
    scripted.start()
    done = mesh(environ, "peers", "--mesh", "team")
    assert done.stdout.decode().splitlines() == ["TO       STATUS  ONLINE  SUMMARY", "bob[31m  idle    yes     a b"]
    assert scripted.requests[-1].params == {"mesh": "team"}
    told = mesh(environ, "peers", "--json").stdout
    assert json.loads(told) == {"peers": peers}
    assert told.isascii()
    assert told.count(b"\n") == 1


def test_an_empty_list_is_said_in_words(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["mesh.list"] = result({"meshes": []})
    scripted.start()
    assert mesh(environ, "list").stdout == b"no meshes\n"


# Send.


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


# Inbox and message.


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


# Meshes.


def test_new_and_join_name_the_person_by_his_login_unless_told(scripted: Scripted, environ: dict) -> None:
    import pwd

    login = pwd.getpwuid(os.getuid()).pw_name
    made = {"id": ID, "mesh": "team", "me": "me", "broker": "local:"}
    scripted.on_request["mesh.new"] = result(made)
    scripted.on_request["mesh.join"] = result({"id": ID, "mesh": "team", "me": "me", "state": "pending"})
    scripted.start()
    assert b"Made the mesh team; you are me in it." in mesh(environ, "new", "team").stdout
    assert scripted.requests[-1].params == {"name": "team", "me": login}
    assert json.loads(mesh(environ, "new", "team", "--name", "al", "--json").stdout) == made
    assert scripted.requests[-1].params == {"name": "team", "me": "al"}
    done = mesh(environ, "join", "mesh://x", "--wait", "1")
    assert done.returncode == 0
    assert b"nobody who may let you in is there yet" in done.stdout
    assert scripted.requests[-1].params == {"url": "mesh://x", "me": login, "wait_s": 1.0}


def test_secrets_are_read_from_standard_input(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["mesh.new"] = result({"id": ID, "mesh": "team", "me": "me", "broker": "wss://b"})
    scripted.on_request["mesh.join"] = result({"id": ID, "mesh": "team", "me": "me", "state": "joined"})
    scripted.start()
    mesh(environ, "join", "-", text=b"  mesh://secret\n")
    assert scripted.requests[-1].params["url"] == "mesh://secret"
    done = mesh(environ, "new", "team", "--broker", "-", text=b"wss://b#TOKEN\n")
    assert scripted.requests[-1].params["broker"] == "wss://b#TOKEN"
    assert b"TOKEN" not in done.stdout
    empty = mesh(environ, "join", "-")
    assert (empty.returncode, b"standard input" in empty.stderr) == (2, True)


def test_on_a_terminal_the_link_is_asked_for_and_not_shown(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["mesh.join"] = result({"id": ID, "mesh": "team", "me": "me", "state": "joined"})
    scripted.start()
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(MESH[0], [*MESH, "join", "-"], environ)
    seen = b""
    deadline = time.monotonic() + 20
    try:
        while b"not shown" not in seen:
            assert time.monotonic() < deadline
            seen += os.read(terminal, 1000)
        os.write(terminal, b"mesh://secret\n")
        while b"Joined team" not in seen:
            assert time.monotonic() < deadline
            seen += os.read(terminal, 1000)
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    assert b"secret" not in seen
    assert scripted.requests[-1].params["url"] == "mesh://secret"


def test_an_invite_is_a_link_alone_on_the_first_line(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["mesh.invite"] = result({"id": ID, "mesh": "team", "url": "mesh://x", "expires_ms": 1})
    scripted.start()
    done = mesh(environ, "invite", "--expires", "60", "--role=admin")
    assert done.stdout.startswith(b"mesh://x\n")
    assert scripted.requests[-1].params == {"expires_s": 60, "role": "admin"}


# This machine.


@pytest.mark.parametrize(("verdicts", "status"), [(["ok", "warn"], 0), (["ok", "bad"], 1), ([], 0)])
def test_doctor_ends_with_1_when_something_is_bad(
    scripted: Scripted, environ: dict, verdicts: list[str], status: int
) -> None:
    checks = [{"name": "keys", "ok": verdict, "text": "said", "fix": "mesh up"} for verdict in verdicts]
    scripted.on_request["daemon.doctor"] = result({"checks": checks})
    scripted.start()
    done = mesh(environ, "doctor")
    assert done.returncode == status
    assert done.stdout.count(b"mend: mesh up") == len([v for v in verdicts if v != "ok"])
    as_json = mesh(environ, "doctor", "--json")
    assert (as_json.returncode, json.loads(as_json.stdout)) == (status, {"checks": checks})


def test_doctor_without_a_daemon_says_that(environ: dict) -> None:
    done = mesh(environ, "doctor", "--no-start")
    assert done.returncode == 1
    assert b"BAD   daemon: no daemon runs" in done.stdout
    assert b"mend: mesh up" in done.stdout


def test_status_says_what_stops_a_mesh(scripted: Scripted, environ: dict) -> None:
    status = {
        "version": "0.1.0",
        "pid": 7,
        "home": "/h",
        "up_s": 7200,
        "state": "locked",
        "keys": "file",
        "device": "3f",
        "unread": 2,
        "sessions": 1,
        "meshes": [
            {
                "mesh": "team",
                "me": "al",
                "state": "pending",
                "link": "offline",
                "members": 1,
                "online": 0,
                "waiting_out": 3,
                "trouble": "the broker does not answer",
                "waiting_for": "bob to let you in",
            }
        ],
    }
    scripted.on_request["daemon.status"] = result(status)
    scripted.start()
    text = mesh(environ, "status").stdout.decode()
    assert "up 2 h" in text
    assert "unread    2 (mesh inbox)" in text
    assert "mesh unlock" in text
    assert "team: the broker does not answer\n" in text
    assert "team: waiting for bob to let you in\n" in text
    assert json.loads(mesh(environ, "status", "--json").stdout) == status


def test_down_without_a_daemon_is_no_error(environ: dict, home: object) -> None:
    done = mesh(environ, "down")
    assert (done.returncode, done.stdout) == (0, b"no daemon runs\n")
    assert json.loads(mesh(environ, "down", "--json").stdout) == {"stopped": False, "pid": None}
    assert os.listdir(home) == []


def test_a_mesh_flag_where_it_means_nothing_is_refused(environ: dict) -> None:
    done = mesh(environ, "--mesh", "team", "status")
    assert (done.returncode, done.stderr) == (2, b"mesh status: status takes no --mesh\n")


def test_claude_codes_verbs_run_also_with_a_flag_before_them(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["statusline"] = lambda talker, request: talker.answer(request, {"exit": 0}, b"line")
    scripted.start()
    assert mesh(environ, "--no-start", "statusline").stdout == b"line"
    probe = b'{"jsonrpc":"2.0","id":1,"method":"server/discover"}\n'
    assert b"-32601" in mesh(environ, "--no-start", "--mesh", "team", "mcp", text=probe).stdout
    assert scripted.requests[-1].params["env"]["MESH"] == "team"


def test_output_that_nobody_reads_is_no_traceback(scripted: Scripted, environ: dict) -> None:
    peers = [{"to": "bob" * 100, "status": "idle", "online": True, "summary": "x" * 500} for _ in range(40)]
    scripted.on_request["peer.list"] = result({"peers": peers})
    scripted.start()
    command = subprocess.Popen([*MESH, "peers"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    command.stdout.close()
    with command.stderr:
        assert command.stderr.read() == b""
    assert command.wait(20) == 1
