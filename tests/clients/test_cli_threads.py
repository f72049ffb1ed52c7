"""`mesh thread`, and what `mesh inbox` and `mesh send` say of threads, mentions and groups, against a scripted daemon."""

import json

import pytest

from client_kit.answers import ESCAPES, ID, result, row, sent
from client_kit.programs import mesh
from client_kit.scripted import Scripted

OTHER = "cd34" * 8
AT_MS = 1_790_000_000_000


def thread_row(**changed: object) -> dict:
    fields = {
        "id": ID,
        "direction": "in",
        "sender": f"al{ESCAPES}/web",
        "to": ["bob"],
        "origin": "agent",
        "at_ms": AT_MS,
        "reply_to": "",
        "priority": "next",
        "state": "stored",
        "mentions_you": False,
        "message": f"one\n{ESCAPES}two",
    }
    return fields | changed


@pytest.mark.parametrize("more", [False, True])
def test_a_thread_is_printed_cleanly_and_says_how_far_went_what_went_out(
    scripted: Scripted, environ: dict, more: bool
) -> None:
    rows = [
        thread_row(),
        thread_row(id=OTHER, direction="out", sender="bob", to=[f"@web{ESCAPES}", "al"], message="yes"),
    ]
    answer = {"thread": ID, "mesh": "team", "messages": rows, "more": more}
    scripted.on_request["message.thread"] = result(answer, "messages[].message")
    scripted.start()
    done = mesh(environ, "thread", ID[:8], "--limit", "7")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    if more:
        assert lines[:2] == ["… earlier messages are left out: mesh thread ID --limit 100", ""]
        lines = lines[2:]
    assert lines[0].startswith("al[31m/web (agent) to bob  ")
    assert lines[0].endswith(f"  {ID[:8]}")
    assert lines[1:4] == ["    one", "    [31mtwo", ""]
    assert lines[4].startswith("bob (agent) to @web[31m, al  ")
    assert lines[5:] == ["    yes", "  stored: it is on the recipient's machine, not shown to them yet", ""]
    assert scripted.requests[-1].params == {"id": ID[:8], "limit": 7}
    assert json.loads(mesh(environ, "thread", ID, "--json").stdout) == answer


def test_the_inbox_names_the_thread_of_an_answer_and_says_that_its_reader_is_named(
    scripted: Scripted, environ: dict
) -> None:
    messages = [
        row("first", thread=ID),
        row("second", id=OTHER, thread=ID, mentions_you=True),
        row("of an older daemon"),
    ]
    scripted.on_request["inbox.read"] = result({"messages": messages, "more": False}, "messages[].message")
    scripted.on_request["inbox.ack"] = result({"marked": 3})
    scripted.start()
    heads = [line for line in mesh(environ, "inbox").stdout.decode().splitlines() if line.startswith("al")]
    assert heads[0].endswith(f"  {ID[:8]}")
    assert heads[1].endswith(f"  {OTHER[:8]}  thread {ID[:8]}  mentions you")
    assert heads[2].endswith(f"  {ID[:8]}")


def test_send_says_until_when_the_groups_of_those_who_are_away_are_known(scripted: Scripted, environ: dict) -> None:
    known = [{"member": f"gus{ESCAPES}", "as_of_ms": 0}, {"member": "eve", "as_of_ms": AT_MS}]
    answer = sent("queued") | {"groups_as_of": known, "groups_more": True}
    scripted.on_request["message.send"] = result(answer)
    scripted.start()
    lines = mesh(environ, "send", "@web,*", "hi").stdout.decode().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("         groups as of: gus[31m never heard of, eve 20")
    assert lines[1].endswith(" and others")
    assert scripted.requests[-1].params["to"] == ["@web", "*"]
    scripted.on_request["message.send"] = result(sent("queued") | {"groups_as_of": [], "groups_more": False})
    assert len(mesh(environ, "send", "bob", "hi").stdout.decode().splitlines()) == 1
