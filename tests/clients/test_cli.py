"""The commands as processes against a scripted daemon: help, errors, exit statuses, lists."""

import json
import os

import pytest

from client_kit.answers import ESCAPES, result
from client_kit.programs import mesh
from client_kit.scripted import Scripted
from mesh_clients.cli import own
from mesh_clients.cli.table import VERBS
from mesh_protocol.wire.errors import CODES, MeshError


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


@pytest.mark.parametrize("arguments", [("--help",), ("help",), ("-h",), ("--json", "--help")])
def test_asked_for_help_the_overview_is_shown(environ: dict, arguments: tuple[str, ...]) -> None:
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


ARGUMENTS = {
    "backup": ("backup.file",),
    "backup check": ("backup.file",),
    "restore": ("backup.file",),
    "device restore": ("ann", "code"),
    "new": ("team",),
    "join": ("mesh://x",),
    "send": ("bob", "hi"),
    "message": ("ab12ab12",),
    "thread": ("ab12ab12",),
    "group join": ("web",),
    "group leave": ("web",),
    "outbox cancel": ("ab12ab12",),
    "outbox requeue": ("ab12ab12",),
    "mode": ("push",),
    "why": ("web",),
    "trust": ("hold", "ann"),
    "held release": ("ab12ab12",),
    "member remove": ("bob",),
    "kick": ("bob",),
    "ban": ("bob",),
    "unban": ("bob",),
    "role": ("bob", "admin"),
    "device revoke": ("ab12ab12",),
    "verify": ("bob",),
    "conversation": ("ab12ab12",),
    "grant": ("bob", "dm"),
    "revoke": ("bob", "dm"),
    "block": ("bob",),
    "unblock": ("bob",),
    "member allow": ("bob", "invite"),
    "member deny": ("bob", "invite"),
    "token create": ("ci",),
    "token revoke": ("ci",),
    "invite approve": ("bob",),
    "invite deny": ("bob",),
    "invite close": ("ab12ab12",),
    "device join": ("mesh://x",),
    "leave": ("--yes",),
    "proxy allow": ("ci",),
    "proxy revoke": ("ci",),
    "proxy account": ("work",),
    "proxy drop": ("work",),
    "budget set": ("5",),
    "budget allow": ("1",),
    "budget remove": ("1",),
}


@pytest.mark.parametrize("name", list(VERBS))
def test_without_a_daemon_and_forbidden_to_start_one_every_verb_ends_with_69(environ: dict, name: str) -> None:
    done = mesh(environ, *name.split(), "--no-start", "--json", *ARGUMENTS.get(name, ()))
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


def test_peers_are_a_table_without_control_characters_and_the_same_as_json(scripted: Scripted, environ: dict) -> None:
    peers = [
        {
            "to": f"bob{ESCAPES}",
            "verified": "verified",
            "status": "idle",
            "mode": "push",
            "online": True,
            "summary": "a\nb",
            "groups": ["web/ui (l\ne)", "x"],
        }
    ]
    scripted.on_request["peer.list"] = result({"peers": peers}, "peers[].summary")
    scripted.start()
    done = mesh(environ, "peers", "--mesh", "team")
    assert done.stdout.decode().splitlines() == [
        "TO       STATUS  MODE  ONLINE  GROUPS           VERIFIED  SUMMARY",
        "bob[31m  idle    push  yes     web/ui (l e), x  verified  a b",
    ]
    assert scripted.requests[-1].params == {"mesh": "team"}
    told = mesh(environ, "peers", "--json").stdout
    assert json.loads(told) == {"peers": peers}
    assert told.isascii()
    assert told.count(b"\n") == 1


def test_an_empty_list_is_said_in_words(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["mesh.list"] = result({"meshes": []})
    scripted.start()
    assert mesh(environ, "list").stdout == b"no meshes\n"


@pytest.mark.parametrize(
    ("words", "method", "rows", "said"),
    [
        (["held"], "trust.held", "held", "nothing is held"),
        (["trust", "list"], "trust.list", "peers", "nobody's messages are held or refused"),
        (["group", "list"], "group.list", "members", "no session is in a group"),
        (["audit"], "audit.list", "rows", "no entries"),
        (["member", "removals"], "member.removals", "removals", "nobody was taken out"),
    ],
)
def test_an_empty_list_of_something_is_not_called_by_its_fields_name(
    scripted: Scripted, environ: dict, words: list[str], method: str, rows: str, said: str
) -> None:
    scripted.on_request[method] = result({rows: []}, f"{rows}[].message" if rows == "held" else "")
    scripted.start()
    done = mesh(environ, *words)
    assert (done.stdout.decode(), done.stderr) == (f"{said}\n", b"")
