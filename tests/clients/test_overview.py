"""`mesh` alone: the welcome where there is nothing yet, else what is going on, on one screen."""

import json
from pathlib import Path

import pytest
from terminal_kit.screen import Terminal, check_picture

from client_kit.answers import ESCAPES, ID, result
from client_kit.programs import MESH, mesh
from client_kit.scripted import Scripted, Talker
from mesh_clients.cli import overview
from mesh_clients.render import cells
from mesh_clients.terminal import Style
from mesh_protocol.wire.rpc import RequestReceived

MESH_ROW = {
    "mesh": "team",
    "id": ID,
    "name": "team",
    "me": "ann",
    "state": "joined",
    "broker": "wss://broker.example.org",
    "link": "online",
    "link_since_ms": 1,
    "trouble": "",
    "members": 4,
    "online": 3,
    "waiting_out": 1,
    "waiting_for": "",
}
LAB = MESH_ROW | {"mesh": "lab", "link": "offline", "trouble": "the broker does not answer", "online": 0}
STATUS = {"version": "1", "pid": 7, "home": "/h", "up_s": 7, "state": "ready", "keys": "file", "device": "3f"}


def peer(to: str, **changed: object) -> dict:
    row = {"to": to, "kind": "ai" if "/" in to else "human", "mesh": "team", "me": to.startswith("ann"), "online": True}
    return row | {"status": "idle", "summary": "", "role": ""} | changed


PEERS = [
    peer("ann", status="online"),
    peer("ann/web", status="waiting", summary="mending the heron's wing before Monday, with bob's build"),
    peer("ann/api", status="idle"),
    peer("bob", status="online"),
    peer("bob/build", status="working", summary="the nightly build is red, bisecting"),
    peer("carol", online=False, status="away"),
    peer("dave", online=False, status="away"),
]
OUTBOX = {
    "id": ID,
    "to": "carol",
    "device": "3f",
    "mesh": "team",
    "state": "accepted",
    "since_ms": 1,
    "expires_ms": 2,
    "priority": "next",
    "code": "away",
    "why": "carol's machine was last heard of 2 hours ago",
    "message": "hello",
}


def serve(
    daemon: Scripted,
    *,
    meshes: list | None = None,
    peers: list | None = None,
    sessions: list | None = None,
    held: list | None = None,
    outbox: list | None = None,
    unread: int = 0,
    state: str = "ready",
) -> None:
    meshes = [MESH_ROW] if meshes is None else meshes
    daemon.on_request["daemon.status"] = result(
        STATUS | {"state": state, "unread": unread, "sessions": len(sessions or []), "meshes": meshes}
    )
    daemon.on_request["peer.list"] = result({"peers": peers or [], "more": False}, "peers[].summary")
    daemon.on_request["session.list"] = result({"sessions": sessions or [], "more": False})
    daemon.on_request["trust.held"] = result({"held": held or [], "more": False}, "held[].message")
    daemon.on_request["outbox.list"] = result({"waiting": outbox or [], "more": False}, "waiting[].message")
    (daemon.home / "mesh.db").touch()
    daemon.start()


BUSY = {
    "peers": PEERS,
    "sessions": [{"session": "web", "status": "waiting"}, {"session": "api", "status": "idle"}],
    "held": [{"id": ID, "sender": "eve", "to": "web", "mesh": "team", "since_ms": 1, "message": "hi"}],
    "outbox": [OUTBOX],
    "unread": 3,
}


@pytest.mark.parametrize("columns", [80, 40])
def test_pictures_of_what_is_going_on(scripted: Scripted, environ: dict, columns: int) -> None:
    serve(scripted, meshes=[MESH_ROW, LAB], **BUSY)
    with Terminal(MESH, environ, columns=columns) as terminal:
        assert terminal.ends() == 0
        check_picture(f"overview-{columns}", terminal.lines)


def test_a_picture_of_a_mesh_in_which_nothing_is_going_on(scripted: Scripted, environ: dict) -> None:
    serve(scripted, peers=[peer("ann", status="online")])
    with Terminal(MESH, environ) as terminal:
        assert terminal.ends() == 0
        check_picture("overview-quiet", terminal.lines)


@pytest.mark.parametrize("columns", [80, 40])
def test_pictures_of_the_welcome(environ: dict, tmp_path: Path, columns: int) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "claude").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "claude").chmod(0o755)
    (tmp_path / "src" / "web").mkdir(parents=True)
    with Terminal(
        MESH, environ | {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}, columns=columns, cwd=tmp_path / "src" / "web"
    ) as terminal:
        assert terminal.ends() == 0
        check_picture(f"welcome-{columns}", terminal.lines)
        assert len(terminal.lines) < 24
    assert [each.name for each in Path(environ["MESH_HOME"]).iterdir()] == [], "no daemon was started for it"


def test_the_welcome_without_claude_says_so(environ: dict) -> None:
    done = mesh(environ | {"PATH": "/nowhere"})
    assert done.returncode == 0
    told = json.loads(mesh(environ | {"PATH": "/nowhere"}, "--json").stdout)
    if not told["claude"]:  # where this machine has none in an installer's place
        assert b"not found" in done.stdout
    assert told == {"state": "new", "daemon": False, "claude": told["claude"], "set_up": False, "meshes": []}


def test_a_daemon_without_a_mesh_welcomes_too(scripted: Scripted, environ: dict) -> None:
    serve(scripted, meshes=[])
    told = json.loads(mesh(environ, "--json").stdout)
    assert (told["state"], told["daemon"]) == ("new", True)
    assert b"mesh new team" in mesh(environ).stdout


def test_locked_keys_are_said(scripted: Scripted, environ: dict) -> None:
    serve(scripted, state="locked", meshes=[])
    done = mesh(environ)
    assert (done.returncode, done.stdout) == (0, b"The keys are locked: nothing is sent or shown until mesh unlock.\n")
    assert json.loads(mesh(environ, "--json").stdout) == {"state": "locked"}


def test_the_document_holds_what_is_shown_and_a_few_calls_suffice(scripted: Scripted, environ: dict) -> None:
    serve(scripted, **BUSY)
    told = json.loads(mesh(environ, "--json").stdout)
    assert (told["state"], told["unread"]) == ("ready", 3)
    assert [row["to"] for row in told["peers"]] == [row["to"] for row in PEERS]
    assert [row["sender"] for row in told["held"]] == ["eve"]
    assert [row["to"] for row in told["outbox"]] == ["carol"]
    assert len(scripted.requests) <= 6


def test_of_several_meshes_one_can_be_looked_at(scripted: Scripted, environ: dict) -> None:
    serve(scripted, meshes=[MESH_ROW, LAB], **BUSY)
    told = json.loads(mesh(environ, "--mesh", "lab", "--json").stdout)
    assert [row["mesh"] for row in told["meshes"]] == ["lab"]
    asked = {each.method: each.params.get("mesh") for each in scripted.requests if "list" in each.method}
    assert asked == {"peer.list": "lab", "outbox.list": "lab", "session.list": "lab"}


def test_an_agent_sees_what_it_may(scripted: Scripted, environ: dict) -> None:
    serve(scripted, **BUSY)

    def refuse(talker: Talker, request: RequestReceived) -> None:
        talker.refuse(request, "guarded", "an agent may not do this")

    scripted.on_request["trust.held"] = refuse
    done = mesh(environ)
    assert done.returncode == 0
    assert b"bob/build" in done.stdout
    assert b"held" not in done.stdout


def test_a_daemon_that_does_not_run_is_not_started_where_that_was_forbidden(environ: dict, home: Path) -> None:
    (home / "mesh.db").touch()
    done = mesh(environ, "--no-start")
    assert (done.returncode, done.stdout) == (69, b"")


@pytest.mark.parametrize("count", [0, 1, 30])
@pytest.mark.parametrize("columns", [20, 40, 80, 200])
@pytest.mark.parametrize("several", [False, True])
def test_however_much_is_going_on_it_fits_one_screen(count: int, columns: int, several: bool) -> None:
    long = f"{'x' * 30}/{'鷺' * 30}"
    meshes = [MESH_ROW | {"mesh": f"m{n}" * 20, "trouble": "t" * 300, "link": "offline"} for n in range(count or 1)]
    now = {
        "meshes": meshes,
        "unread": count,
        "peers": [peer(f"{long}{n}", mesh=f"m{n % 2 if several else 0}", summary="s" * 500) for n in range(count)]
        + [peer(f"away{n}", online=False) for n in range(count)],
        "sessions": [{"session": f"{long}{n}", "status": "waiting"} for n in range(count)],
        "held": [{"sender": f"{long}{n}"} for n in range(count)],
        "outbox": [OUTBOX | {"to": long, "why": "w" * 200} for _ in range(count)],
        "outbox_more": True,
    }
    style = Style({"NO_COLOR": "1", "TERM": "xterm"}, encoding="utf-8", terminal=True)
    lines = overview.lines(now, columns, style)
    assert len(lines) <= overview.LINES
    assert max(cells(line) for line in lines) <= columns


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, "online, 3 machines"),
        ({"online": 1}, "online"),
        ({"state": "pending", "waiting_for": "a member who may let this machine in"}, "not let in yet"),
        ({"state": "failed", "trouble": "invite_used"}, "not joined: invite_used"),
        ({"link": "offline", "trouble": "refused"}, "offline (mesh doctor): refused"),
        ({"link": "connecting"}, "connecting, its broker has not answered yet"),
        ({"link": "greeting"}, "connecting, its broker has not answered yet"),
        ({"trouble": "the broker serves an older history"}, "see mesh doctor: the broker serves an older history"),
    ],
)
def test_a_mesh_says_how_it_is(changed: dict, says: str) -> None:
    assert says in overview.mesh_state(MESH_ROW | changed)[1]


def test_nothing_that_a_peer_says_of_itself_moves_the_cursor(scripted: Scripted, environ: dict) -> None:
    serve(scripted, peers=[peer(f"bob{ESCAPES}/x", summary=f"a\n{ESCAPES}b")])
    done = mesh(environ)
    assert b"bob" in done.stdout
    assert b"\x1b" not in done.stdout
    assert "\u202e".encode() not in done.stdout
