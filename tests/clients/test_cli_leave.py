"""`mesh leave`: what it says before, that it is not done without a yes, and what became of it."""

import json
from typing import Any

import pytest
from terminal_kit.screen import Terminal

from client_kit.answers import result
from client_kit.programs import MESH, mesh
from client_kit.scripted import Scripted
from mesh_clients.cli.leave import explain
from mesh_protocol.wire.errors import NOT_ALLOWED, USAGE, MeshError

TERMS: dict[str, Any] = {
    "mesh": "team",
    "how": "asked",
    "askable": ["ann", "eve\x1b[2J"],
    "messages": 12,
    "unread": 3,
    "queued": 1,
    "stays": 0,
    "returns": True,
    "recovery_key": "",
}
LEFT = {"mesh": "team", "id": "00", "state": "left", "told": 1, "forgotten": False}


def methods(scripted: Scripted) -> list[str]:
    return [each.method for each in scripted.requests if each.method != "hello"]


def test_without_a_terminal_it_needs_to_be_told_yes(scripted: Scripted, environ: dict) -> None:
    scripted.start()
    for arguments in (("leave",), ("leave", "--forget"), ("leave", "team", "--json")):
        done = mesh(environ, *arguments)
        assert done.returncode == USAGE
        assert b"say --yes" in done.stderr
    assert methods(scripted) == []


def test_with_a_yes_it_is_done_and_says_what_became_of_it(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["mesh.leave"] = result(LEFT)
    scripted.start()
    assert mesh(environ, "leave", "--yes").stdout == b"team is gone from this machine.\n"
    assert scripted.requests[-1].params == {}
    assert json.loads(mesh(environ, "leave", "team", "--yes", "--wait", "3", "--json").stdout) == LEFT
    assert scripted.requests[-1].params == {"mesh": "team", "wait_s": 3.0}
    scripted.on_request["mesh.leave"] = result({**LEFT, "state": "leaving"})
    assert b"it goes on by itself" in mesh(environ, "leave", "--yes").stdout
    scripted.on_request["mesh.leave"] = result({**LEFT, "forgotten": True, "told": 0})
    assert b"Nobody was told" in mesh(environ, "leave", "--yes", "--forget").stdout
    assert scripted.requests[-1].params == {"forget": True}


def test_who_cannot_leave_is_told_what_to_do(scripted: Scripted, environ: dict) -> None:
    why = "make somebody else an owner first"
    said = MeshError("not_allowed", why=why).message
    scripted.on_request["mesh.leave"] = lambda talker, request: talker.refuse(request, "not_allowed", said)
    scripted.start()
    done = mesh(environ, "leave", "--yes")
    assert (done.returncode, why.encode() in done.stderr) == (NOT_ALLOWED, True)


@pytest.mark.parametrize(
    ("changed", "forget", "said"),
    [
        ({}, False, "messages: 12 received (3 unread), 1 not sent yet"),
        ({}, False, "Signed by the first that is online of: ann, eve"),
        ({}, False, "Another invite may let this machine in again"),
        ({"returns": False, "stays": 2}, False, "can never come back"),
        ({"stays": 2}, False, "Your other machines stay in team: 2."),
        ({"how": "alone"}, False, "Nobody else is in it"),
        ({"how": "leaving"}, False, "waits for somebody to sign it"),
        ({"recovery_key": "not backed up"}, False, "mesh backup first"),
        ({}, True, "Nobody is told"),
    ],
)
def test_the_consequences_are_said_before(changed: dict[str, Any], forget: bool, said: str) -> None:
    lines = explain({**TERMS, **changed}, forget=forget)
    assert any(said in line for line in lines), lines
    assert not any("\x1b" in line for line in lines)
    assert ("Signed by" in " ".join(lines)) == (not forget and changed.get("how", "asked") == "asked")


@pytest.mark.parametrize(("typed", "asked"), [("y", ["leave.terms", "mesh.leave"]), ("n", ["leave.terms"]), ("", None)])
def test_at_a_terminal_a_person_is_asked(
    scripted: Scripted, environ: dict, typed: str, asked: list[str] | None
) -> None:
    scripted.on_request["leave.terms"] = result(TERMS)
    scripted.on_request["mesh.leave"] = result(LEFT)
    scripted.start()
    with Terminal([*MESH, "leave", "team"], environ) as terminal:
        terminal.shows("Leave team? [y/N]")
        terminal.keys(f"{typed}\r")
        status = terminal.ends()
    assert methods(scripted) == (asked or ["leave.terms"])
    assert status == (0 if typed == "y" else USAGE)


def test_the_last_owner_is_asked_too_when_he_only_forgets(scripted: Scripted, environ: dict) -> None:
    said = MeshError("not_allowed", why="you are the last owner").message
    scripted.on_request["leave.terms"] = lambda talker, request: talker.refuse(request, "not_allowed", said)
    scripted.on_request["mesh.leave"] = result({**LEFT, "forgotten": True})
    scripted.start()
    with Terminal([*MESH, "leave", "--forget"], environ) as terminal:
        terminal.shows("Forget the mesh? [y/N]")
        assert "you are the last owner" in terminal.text
        terminal.keys("y\r")
        assert terminal.ends() == 0
