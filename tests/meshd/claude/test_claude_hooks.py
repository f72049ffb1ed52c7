"""What hooks tell, and what may be answered."""

import json

import pytest

from meshd.claude.formats import HookContextSeen, parse_line
from meshd.claude.hooks import HookEvent, parse_hook, write_context
from meshd.claude.marks import Mark


def event(name: str, **more: object) -> HookEvent:
    return parse_hook(json.dumps({"hook_event_name": name, **more}).encode())


@pytest.mark.parametrize(
    ("name", "more", "word"),
    [
        ("UserPromptSubmit", {}, "working"),
        ("PreToolUse", {}, "working"),
        ("PostToolUse", {}, "working"),
        ("SubagentStart", {"agent_id": "a1"}, "working"),
        ("SubagentStop", {"agent_id": "a1"}, None),
        ("PermissionRequest", {}, None),
        ("Notification", {"notification_type": "permission_prompt"}, "waiting"),
        ("Notification", {"notification_type": "elicitation_dialog"}, "waiting"),
        ("Notification", {"notification_type": "idle_prompt"}, "idle"),
        ("Notification", {"notification_type": "auth_success"}, None),
        ("Notification", {}, None),
        ("Stop", {}, "idle"),
        ("Stop", {"agent_id": "a1"}, None),
        ("StopFailure", {"error": "rate_limit"}, "idle"),
        ("SessionStart", {}, None),
        ("SessionEnd", {"reason": "clear"}, None),
        ("SomethingNew", {}, None),
    ],
)
def test_an_event_tells_what_its_session_does(name: str, more: dict[str, object], word: str | None) -> None:
    assert event(name, **more).word == word


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b'{"hook_event_name": 5}', b"[" * 100_000, b"\xff"])
def test_what_is_no_event_tells_nothing(body: bytes) -> None:
    found = parse_hook(body)
    assert (found.name, found.word, found.takes_context) == ("", None, False)


def test_why_a_turn_failed_is_taken_only_in_the_form_of_a_code() -> None:
    assert event("StopFailure", error="rate_limit").error == "rate_limit"
    assert event("StopFailure", error="your key sk-1 is bad").error == ""
    assert event("StopFailure", error=7).error == ""


@pytest.mark.parametrize("name", ["UserPromptSubmit", "PostToolUse", "Stop"])
def test_context_is_taken_by_three_events_of_the_session_itself(name: str) -> None:
    assert event(name).takes_context
    assert not event(name, agent_id="a1").takes_context


def test_a_stop_of_a_turn_that_a_stop_hook_began_takes_none() -> None:
    assert event("Stop", stop_hook_active=False).takes_context
    assert not event("Stop", stop_hook_active=True).takes_context
    assert event("Stop", stop_hook_active="true").takes_context, "only Claude's own true counts"
    assert event("Stop", stop_hook_active=True).word == "idle"


def test_context_is_written_as_the_event_wants_it() -> None:
    assert json.loads(write_context(HookEvent("Stop"), 'a "b"\n')) == {
        "hookSpecificOutput": {"hookEventName": "Stop", "additionalContext": 'a "b"\n'}
    }


def test_a_transcript_proves_the_context_of_hooks_that_were_waited_for_and_of_those_that_were_not() -> None:
    text = "hello [mesh 7f 0123456789abcdef]\nmore"
    waited = {"type": "hook_additional_context", "content": [text]}
    response = {"hookSpecificOutput": {"hookEventName": "PostToolUse", "additionalContext": text}}
    later = {"type": "async_hook_response", "response": response, "stdout": "[mesh 7f ffffffffffffffff]"}
    for attachment in (waited, later):
        line = json.dumps({"type": "attachment", "attachment": attachment}).encode()
        assert parse_line(line) == (HookContextSeen((Mark("0123456789abcdef"),)),)
    for nothing in (None, {}, {"hookSpecificOutput": 3}, {"hookSpecificOutput": {"additionalContext": 3}}):
        entry = {"type": "attachment", "attachment": {"type": "async_hook_response", "response": nothing}}
        assert parse_line(json.dumps(entry).encode()) == ()
