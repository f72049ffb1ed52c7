"""Commands of two words: found, explained, and told apart from a word too many; and what the outbox's commands print."""

import json

import pytest

from client_kit.answers import ESCAPES, ID, result
from client_kit.programs import mesh
from client_kit.scripted import Scripted
from mesh_clients.cli.grammar import read_line, split_verb
from mesh_clients.cli.main import find_verb
from mesh_clients.cli.table import VERBS
from mesh_protocol.wire.errors import MeshError


@pytest.mark.parametrize(
    ("arguments", "verb", "rest"),
    [
        (["outbox", "cancel", "ab12"], "outbox cancel", ["ab12"]),
        (["--json", "outbox", "cancel", "ab12"], "outbox cancel", ["--json", "ab12"]),
        (["--mesh", "team", "outbox", "cancel", "ab12"], "outbox cancel", ["--mesh", "team", "ab12"]),
        (["outbox"], "outbox", []),
        (["outbox", "--failed"], "outbox", ["--failed"]),
        (["outbox", "--limit", "cancel"], "outbox", ["--limit", "cancel"]),
        (["outbox", "--", "cancel"], "outbox", ["--", "cancel"]),
        (["send", "outbox", "cancel"], "send", ["outbox", "cancel"]),
        (["outbox cancel", "ab12"], "outbox cancel", ["ab12"]),
    ],
)
def test_the_second_word_stands_right_behind_the_first(arguments: list[str], verb: str, rest: list[str]) -> None:
    assert split_verb(arguments, VERBS) == (verb, rest)


def test_a_first_word_alone_is_told_how_it_goes_on() -> None:
    with pytest.raises(MeshError) as caught:
        find_verb("group")
    assert caught.value.exit == 2
    assert "mesh group join" in caught.value.message


def test_a_wrong_second_word_is_refused() -> None:
    name, rest = split_verb(["outbox", "cancle", "ab12"], VERBS)
    with pytest.raises(MeshError) as caught:
        read_line(find_verb(name), rest)
    assert "one argument too many, 'cancle'; see mesh outbox --help" in caught.value.message


WAITING = {
    "id": ID,
    "to": f"bob{ESCAPES}/web",
    "device": "3f2a",
    "mesh": "team",
    "state": "queued",
    "since_ms": 1_790_000_000_000,
    "expires_ms": 1_790_000_000_000,
    "priority": "next",
    "code": "offline",
    "why": "the broker cannot be reached: refused",
    "message": f"first{ESCAPES}\nsecond",
}


def test_the_outbox_is_printed_with_the_reason_and_nothing_that_moves_the_cursor(
    scripted: Scripted, environ: dict
) -> None:
    scripted.on_request["outbox.list"] = result({"waiting": [WAITING], "more": True}, "waiting[].message")
    scripted.start()
    done = mesh(environ, "outbox", "--limit", "1")
    first, _, third, *rest = done.stdout.decode().splitlines()
    assert first == "ab12ab12 to bob[31m/web on device 3f2a: queued (the broker cannot be reached: refused)"
    assert third == "    | first[31m second"
    assert rest == ["There is more: --limit N shows it.", "mesh outbox cancel ID takes one back."]
    assert json.loads(mesh(environ, "outbox", "--json").stdout)["waiting"] == [WAITING]


@pytest.mark.parametrize(("cancelled", "status"), [(True, 0), (False, 1)])
def test_a_cancel_that_was_too_late_everywhere_ends_with_1(
    scripted: Scripted, environ: dict, cancelled: bool, status: int
) -> None:
    row = {"to": "bob", "device": "3f2a", "state": "turn_started", "cancelled": cancelled, "text": "said why"}
    answer = {"id": ID, "mesh": "team", "cancelled": int(cancelled), "recipients": [row]}
    scripted.on_request["outbox.cancel"] = result(answer)
    scripted.start()
    done = mesh(environ, "outbox", "cancel", ID)
    assert done.returncode == status
    word = "cancelled" if cancelled else "turn started"
    assert done.stdout.decode() == f"bob on device 3f2a: {word} (said why)\n"
    assert scripted.requests[-1].params == {"id": ID}
