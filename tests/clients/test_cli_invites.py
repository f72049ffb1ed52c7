"""`mesh invite`, `mesh invites` and what is decided there, as a person reads it."""

import json
from typing import Any

from client_kit.answers import result
from client_kit.programs import mesh
from client_kit.scripted import Scripted

ID = "ab" * 32
MADE: dict[str, Any] = {
    "id": ID,
    "mesh": "team",
    "url": "mesh://join/1?x",
    "role": "member",
    "uses": 1,
    "approve": False,
    "expires_ms": 1,
    "qr": "",
}
WAITING = {
    "name": "bob\x1b[2J",
    "device": "cd" * 32,
    "mesh": "team",
    "invite": ID,
    "role": "member",
    "why": "expired",
    "since_ms": 1,
}
ROW = {
    "id": ID,
    "mesh": "team",
    "role": "admin",
    "state": "open",
    "uses": 3,
    "uses_left": 2,
    "expires_ms": 1,
    "approve": True,
    "opener": "ann 12345678",
    "joined": ["cid"],
    "waiting": ["bob"],
}


def test_an_invite_says_how_many_it_lets_in_and_that_a_yes_is_needed(scripted: Scripted, environ: dict) -> None:
    answers = iter([MADE, {**MADE, "uses": 3, "approve": True, "qr": "█▀\n▄ "}])
    scripted.on_request["mesh.invite"] = lambda talker, request: result(next(answers))(talker, request)
    scripted.start()
    once = mesh(environ, "invite").stdout.decode()
    assert once.startswith("mesh://join/1?x\n")
    assert "Lets one machine join team, once, until" in once
    many = mesh(environ, "invite", "--uses", "3", "--approve", "--qr").stdout.decode()
    assert "\n█▀\n▄ \n" in many
    assert "Lets 3 machines join team, until" in many
    assert "mesh invite approve NAME" in many
    assert scripted.requests[-1].params == {"uses": 3, "approve": True, "qr": True}


def test_invites_are_a_table_and_below_it_stands_who_waits(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["invite.list"] = result({"invites": [ROW], "waiting": [WAITING], "more": False})
    scripted.start()
    out = mesh(environ, "invites").stdout.decode()
    head, row, blank, waits, how = out.splitlines()
    assert head.split()[:3] == ["INVITE", "ROLE", "STATE"]
    assert row.split()[:4] == [ID[:12], "admin", "open", "2"]
    assert blank == ""
    assert waits.startswith("bob[2J (cdcdcdcd) asks to join team as member: it asked after the invite had expired")
    assert "mesh invite approve bob" in how
    assert "\x1b" not in out
    document = json.loads(mesh(environ, "invites", "--all", "--json").stdout)
    assert document["invites"] == [ROW]
    assert scripted.requests[-1].params == {"all": True}


def test_without_an_open_invite_it_says_what_makes_one(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["invite.list"] = result({"invites": [], "waiting": [], "more": False})
    scripted.start()
    assert b"No invite is open: mesh invite makes one" in mesh(environ, "invites").stdout


def test_what_was_decided_is_said(scripted: Scripted, environ: dict) -> None:
    who = {"name": "bob", "device": "cd" * 32, "mesh": "team"}
    scripted.on_request["invite.approve"] = result({**who, "state": "joined"})
    scripted.on_request["invite.deny"] = result({**who, "state": "denied"})
    scripted.on_request["invite.close"] = result({"id": ID, "mesh": "team", "state": "closed", "turned_away": 2})
    scripted.start()
    assert mesh(environ, "invite", "approve", "bob").stdout == b"bob (cdcdcdcd) is in team now.\n"
    assert b"was turned away from team" in mesh(environ, "invite", "deny", "bob").stdout
    closed = mesh(environ, "invite", "close", ID[:8]).stdout
    assert b"lets nobody in any more; 2 that waited under it" in closed
    assert scripted.requests[-1].params == {"invite": ID[:8]}
