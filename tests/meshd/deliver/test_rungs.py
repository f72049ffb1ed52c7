"""Which way a session is reached by, and what is said of the better ones."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from meshd.claude.formats import ClaudeSession
from meshd.claude.inbox import NotPushed
from meshd.deliver.rungs import rung_of, way_of
from meshd.sessions import Session
from meshd.status import Source, Status

UID = 1000
CLAUDE = ClaudeSession(
    pid=7,
    session_id="11111111-1111-4111-9111-111111111111",
    proc_start="5",
    socket_path="/tmp/cc-socks/7.sock",
    cwd="/home/ann/web",
    name=None,
    kind="interactive",
    status="idle",
    status_at_ms=None,
    version="2.1.329",
    entrypoint="cli",
    peer_protocol=1,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peer credentials of Linux")


def session(claude: ClaudeSession = CLAUDE, **changes: object) -> Session:
    found = Session("k", "web", claude, Path("/home/ann/.claude"), Status("idle", Source.HOOK, 0, 0), 0)
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def test_an_inbox_that_works_is_the_best_and_needs_no_reason() -> None:
    for changes in ({}, {"hooked": True}, {"channel": "open"}, {"trouble": "taken_but_not_shown"}):
        assert way_of(session(**changes), UID) == ("inbox", "")


@pytest.mark.parametrize("mode", ["inbox", "off"])
def test_who_wants_nothing_pushed_is_not_reached_by_any_way(mode: str) -> None:
    assert way_of(session(mode=mode, hooked=True, channel="open"), UID) == ("pull", f"its mode is {mode}")


@pytest.mark.parametrize(
    ("claude", "why"),
    [
        (replace(CLAUDE, socket_path=None), "it has no inbox socket"),
        (replace(CLAUDE, version="9.0.0", peer_protocol=2), "the inbox of Claude Code 9.0.0 is not known"),
        (replace(CLAUDE, version="", peer_protocol=None), "the inbox of Claude Code of unknown version is not known"),
        (
            replace(CLAUDE, socket_path="/tmp/else/7.sock"),
            "its registry entry names a socket that Claude Code would not make",
        ),
    ],
)
def test_without_an_inbox_the_next_best_way_is_taken_and_the_reason_said(claude: ClaudeSession, why: str) -> None:
    assert way_of(session(claude, channel="open", hooked=True), UID) == ("channel", why)
    assert way_of(session(claude, hooked=True), UID) == ("hook", why)
    silent = way_of(session(claude, hooked=True, channel="silent"), UID)
    assert silent == ("hook", f"{why}; nothing proved that it reads its channel")
    pull = way_of(session(claude), UID)
    assert pull.rung == "pull"
    assert pull.why.startswith(f"{why}; no hook of it was heard yet")


@pytest.mark.parametrize("trouble", list(NotPushed))
def test_a_push_that_failed_closes_the_inbox_only_where_it_would_fail_again(trouble: NotPushed) -> None:
    passing = {NotPushed.UNCONFIRMED, NotPushed.SESSION_GONE, NotPushed.NO_CHANNEL}
    found = way_of(session(trouble=trouble.value, hooked=True), UID)
    assert found.rung == ("inbox" if trouble in passing else "hook")
    assert bool(found.why) is (trouble not in passing)
    assert rung_of(session(trouble=trouble.value), UID) == ("inbox" if trouble in passing else "pull")


@pytest.mark.parametrize("trouble", ["refused_by_session", "held_by_session"])
def test_what_a_sessions_own_setting_refuses_takes_no_other_way(trouble: str) -> None:
    assert rung_of(session(trouble=trouble, hooked=True, channel="open"), UID) == "inbox"
