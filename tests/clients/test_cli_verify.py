"""`mesh verify`: what a person compares, what he is told of changed keys, and that he confirms what he was shown."""

import json
from typing import Any

from client_kit.answers import result
from client_kit.programs import mesh
from client_kit.scripted import Scripted
from mesh_protocol.wire.errors import MeshError

DIGITS = " ".join(f"{number:05d}" for number in range(11111, 11111 * 13, 11111))[:71]
SHOWN: dict[str, Any] = {
    "peer": "bob",
    "mesh": "team",
    "state": "",
    "digits": DIGITS,
    "code": "mesh://verify/1#" + "A" * 80,
    "qr": "█▀▄ \n ▄▀█",
    "verified_ms": 0,
    "changes": [],
}


def test_the_digits_and_the_code_are_shown_with_what_to_do_next(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["verify.show"] = result(SHOWN)
    scripted.start()
    out = mesh(environ, "verify", "bob").stdout.decode()
    groups = DIGITS.split()
    assert out.startswith("  ".join(groups[:4]) + "\n" + "  ".join(groups[4:8]) + "\n")
    assert "\n█▀▄ \n ▄▀█\n" in out
    assert "\x1b" not in out, "no colours where nobody looks"
    assert "mesh verify bob --confirm" in out
    assert scripted.requests[-1].params == {"peer": "bob"}
    assert "mesh verify bob --mesh team --confirm" in mesh(environ, "verify", "bob", "--mesh", "team").stdout.decode()
    assert json.loads(mesh(environ, "verify", "bob", "--json").stdout) == SHOWN


def test_confirming_sends_what_was_shown(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["verify.show"] = result(SHOWN)
    scripted.on_request["verify.confirm"] = result({"peer": "bob", "mesh": "team", "state": "verified"})
    scripted.start()
    done = mesh(environ, "verify", "bob", "--confirm", "--mesh", "team")
    assert b"bob in team is verified" in done.stdout
    assert DIGITS.encode() in done.stdout
    assert scripted.requests[-1].method == "verify.confirm"
    assert scripted.requests[-1].params == {"peer": "bob", "mesh": "team", "number": DIGITS}


def test_a_number_of_ones_own_is_confirmed_without_being_asked_for(scripted: Scripted, environ: dict) -> None:
    said = MeshError("number_differs", peer="bob").message
    scripted.on_request["verify.confirm"] = lambda talker, request: talker.refuse(request, "number_differs", said)
    scripted.start()
    done = mesh(environ, "verify", "bob", "--number", SHOWN["code"])
    assert (done.returncode, b"do not trust" in done.stderr) == (1, True)
    assert [each.method for each in scripted.requests if each.method != "hello"] == ["verify.confirm"]
    assert scripted.requests[-1].params == {"peer": "bob", "number": SHOWN["code"]}


def test_who_changed_the_keys_is_said_first(scripted: Scripted, environ: dict) -> None:
    rows = [
        {"device": "ab" * 8, "came": True, "signed_by": "bob 01020304"},
        {"device": "cd" * 8, "came": False, "signed_by": "eve\x1b[2J 05060708"},
    ]
    scripted.on_request["verify.show"] = result({**SHOWN, "state": "changed", "verified_ms": 1, "changes": rows})
    scripted.start()
    first, came, went, *_ = mesh(environ, "verify", "bob").stdout.decode().splitlines()
    assert "keys of bob changed" in first
    assert came == f"  device {'ab' * 8} came, signed by bob 01020304"
    assert went.startswith(f"  device {'cd' * 8} went, signed by eve")
    assert "\x1b" not in went


def test_a_verified_peer_is_said_to_be(scripted: Scripted, environ: dict) -> None:
    scripted.on_request["verify.show"] = result({**SHOWN, "state": "verified", "verified_ms": 1_800_000_000_000})
    scripted.start()
    out = mesh(environ, "verify", "bob").stdout.decode()
    assert "bob was verified with these keys on 2027-01-15" in out
    assert "--confirm" not in out
