"""Waiting for a person is a state of its own that everybody sees, and `mesh why` says what keeps a session."""

from dataclasses import replace

import pytest
import trio

from meshd.claude.formats import ClaudeSession, parse_session
from meshd.sessions import Session
from meshd.stuck import Backlog, why_stuck
from meshd.waiting import Why
from world.claude import Claude
from world.machine import Machine
from world.world import World


async def live(world: World) -> tuple[Machine, Claude, Session]:
    (ann,) = await world.mesh("ann")
    web = await ann.claude("web")
    session = ann.app.sessions.get(web.key)
    assert session is not None
    return ann, web, session


def register(web: Claude, status: str) -> None:
    web.status = status
    web.register()


async def test_waiting_for_a_permission_is_seen_by_peers_and_ends_with_the_answer(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    web.begin_turn()
    register(web, "waiting")
    await web.hook("Notification", notification_type="permission_prompt")

    async def shows(word: str) -> bool:
        rows = (await ann.call("peer.list"))["peers"]
        return any(row["to"] == "bob/web" and row["status"] == word for row in rows)

    await world.until(lambda: shows("waiting"), what="ann sees that web waits")
    assert (await bob.call("session.list"))["sessions"][0]["status"] == "waiting"
    await world.settle(120)
    assert await shows("waiting"), "it does not wear off"
    register(web, "busy")
    await web.hook("PostToolUse")
    await world.until(lambda: shows("working"), what="ann sees that web goes on")


def words_said(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statuses that the session has from now on. Nothing is seen by the poll of the registry."""
    monkeypatch.setattr("meshd.sessions.POLL_S", 24 * 3600)
    words: list[str] = []
    stir = session.stir
    monkeypatch.setattr(Session, "stir", lambda self: (words.append(self.status.word), stir())[1])
    return words


async def test_a_permission_request_is_seen_as_soon_as_the_registry_says_that_a_person_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, web, session = await live(world)
    words = words_said(session, monkeypatch)
    await world.settle(3)
    await web.hook("UserPromptSubmit")
    register(web, "busy")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(web.hook, "PermissionRequest")
        await trio.sleep(0.2)
        assert words == ["working"], "the event comes first"
        register(web, "waiting")
    assert words == ["working", "waiting"]


async def test_a_permission_that_nobody_is_asked_for_is_never_shown_as_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, web, session = await live(world)
    words = words_said(session, monkeypatch)
    await world.settle(3)
    await web.hook("UserPromptSubmit")
    register(web, "busy")
    await web.hook("PermissionRequest")
    await world.settle(10)
    await web.hook("PostToolUse")
    await web.hook("Stop")
    assert words == ["working", "idle"]


def mute(entry: ClaudeSession | None) -> ClaudeSession | None:
    return None if entry is None else replace(entry, status=None)


async def test_where_the_registry_says_no_status_the_permission_request_itself_is_believed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, web, session = await live(world)
    words = words_said(session, monkeypatch)
    await world.settle(3)
    monkeypatch.setattr("meshd.claude.registry.parse_session", lambda data, pid: mute(parse_session(data, pid)))
    await web.hook("UserPromptSubmit")
    await web.hook("PermissionRequest")
    assert words == ["working", "waiting"]


async def test_without_hooks_the_registry_alone_tells_that_a_session_waits(world: World) -> None:
    ann, web, _ = await live(world)
    register(web, "waiting")
    await world.settle(3)
    assert (await ann.call("session.list"))["sessions"][0]["status"] == "waiting"
    register(web, "idle")
    await world.settle(3)
    assert (await ann.call("session.list"))["sessions"][0]["status"] == "idle"


async def test_a_registry_that_is_written_after_the_hooks_does_not_make_an_idle_session_busy_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, web, session = await live(world)
    words = words_said(session, monkeypatch)
    written = ann.app.sessions.node.now()
    monkeypatch.setattr(
        "meshd.claude.registry.parse_session", lambda data, pid: dated(parse_session(data, pid), written)
    )
    await world.settle(3)
    await web.hook("UserPromptSubmit")
    register(web, "busy")
    await web.hook("Stop")
    assert (await ann.call("session.why", session="web"))["code"] == "fine", "which looks at the registry"
    assert words == ["working", "idle"]
    await world.settle(3)
    await ann.call("session.why", session="web")
    assert words == ["working", "idle", "working"], "after a while it is believed"


def dated(entry: ClaudeSession | None, written_ms: int) -> ClaudeSession | None:
    return None if entry is None else replace(entry, status_at_ms=written_ms)


async def test_a_waiting_session_is_not_pushed_what_can_wait(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    web.begin_turn()
    register(web, "waiting")
    await world.settle(3)
    await ann.send("bob/web", "no hurry", wait="stored", timeout=10)
    await world.settle(10)
    assert web.addresses == []
    web.status = ""
    web.end_turn()
    await world.until(lambda: len(web.seen) == 1, what="the push once it is idle")


async def test_a_turn_that_failed_is_the_reason_until_the_next_begins(world: World) -> None:
    ann, web, _ = await live(world)
    await web.hook("StopFailure", error="rate_limit")
    answer = await ann.call("session.why", session="web")
    assert answer["code"] == "rate_limit"
    assert (await ann.call("session.list"))["sessions"][0]["status"] == "idle"
    await web.hook("UserPromptSubmit")
    assert (await ann.call("session.why", session="web"))["code"] != "rate_limit"


async def test_sub_agents_starting_and_ending_leave_the_session_working(world: World) -> None:
    ann, web, _ = await live(world)
    web.begin_turn()
    for event in ("SubagentStart", "SubagentStop"):
        await web.hook(event, agent_id="a1")
        assert (await ann.call("session.list"))["sessions"][0]["status"] == "working"


async def test_a_session_that_ended_is_offline(world: World) -> None:
    ann, web, _ = await live(world)
    await web.end()
    await world.until(lambda: not ann.app.sessions.live(), what="its end")
    assert (await ann.call("session.why", session="web"))["code"] == "offline"


async def test_a_session_of_a_machine_without_its_broker_says_so(world: World) -> None:
    ann, _, _ = await live(world)
    await world.unplug(ann)
    await world.settle(60)
    assert (await ann.call("session.why", session="web"))["code"] == "offline"


@pytest.mark.parametrize(
    ("change", "rung", "waiting", "code"),
    [
        ({}, "inbox", 0, "fine"),
        ({}, "inbox", 2, "fine"),
        ({}, "pull", 2, "pull"),
        ({"mode": "off"}, "pull", 1, "closed"),
        ({"mode": "inbox"}, "pull", 1, "closed"),
        ({"trouble": "held_by_session"}, "inbox", 1, "held_by_session"),
        ({"trouble": "refused_by_session"}, "inbox", 1, "refused_by_session"),
        ({"trouble": "no_inbox"}, "hook", 0, "fine"),
        ({"failure": "overloaded", "mode": "off"}, "pull", 1, "overloaded"),
    ],
)
async def test_the_first_reason_that_explains_it_is_named(
    world: World, change: dict[str, str], rung: str, waiting: int, code: str
) -> None:
    _, _, session = await live(world)
    for name, value in change.items():
        setattr(session, name, value)
    found = why_stuck(session, rung, Backlog(waiting), None, 0)
    assert found.code == code
    assert "\n" not in found.text
    if code == "fine":
        assert why_stuck(session, rung, Backlog(waiting), Why("offline", "no broker"), 0).code == "offline"


@pytest.mark.parametrize(
    ("backlog", "says"),
    [
        (Backlog(held=1), "held: 1 message for it is held until you let them in: mesh held"),
        (Backlog(2, held=2), "held: 2 messages for it are held until you let them in: mesh held"),
        (Backlog(3, summed=3, pause_s=9), "digest: 3 messages came too fast and were named in a digest"),
        (
            Backlog(4, summed=3, pause_s=8.2),
            "rate_limited: it had its share of pushes for this minute; 4 messages wait",
        ),
        (Backlog(pause_s=8.2), "fine: nothing keeps it"),
    ],
)
async def test_too_much_at_once_and_what_is_held_have_reasons_of_their_own(
    world: World, backlog: Backlog, says: str
) -> None:
    _, _, session = await live(world)
    found = why_stuck(session, "inbox", backlog, None, 0)
    assert f"{found.code}: {found.text}".startswith(says)


@pytest.mark.parametrize(
    ("change", "rung", "pause_s", "says"),
    [
        ({"alive": False}, "inbox", 0, "1 message waits for it"),
        ({"mode": "off"}, "pull", 0, "(mode off); 1 message waits"),
        ({}, "pull", 0, "1 message waits until its agent calls check_messages"),
        ({}, "inbox", 9, "share of pushes for this minute; 1 message waits"),
        ({}, "inbox", 0, "1 message is on the way to it"),
    ],
)
async def test_one_message_is_one(
    world: World, change: dict[str, str | bool], rung: str, pause_s: float, says: str
) -> None:
    _, _, session = await live(world)
    for name, value in change.items():
        setattr(session, name, value)
    assert says in why_stuck(session, rung, Backlog(1, pause_s=pause_s), None, 0).text


async def test_why_knows_what_is_held_of_a_session(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.claude("web")
    await ann.until_knows("bob/web")
    await bob.call("trust.set", peer="ann", policy="hold")
    await ann.send("bob/web", "let me in", wait="stored")
    assert (await bob.call("session.why", session="web"))["code"] == "held"
    await bob.call("trust.set", peer="ann", policy="allow")
    assert (await bob.call("session.why", session="web"))["code"] != "held"


async def test_why_knows_of_the_digest_and_of_the_pause(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    web.answers = False
    await ann.until_knows("bob/web")
    for number in range(10):
        await ann.send("bob/web", f"message {number}", wait="stored")
    await world.until(lambda: len(web.seen) >= 6, what="five messages and a digest")
    assert (await bob.call("session.why", session="web"))["code"] in ("digest", "rate_limited")
    await world.settle(30)
    answer = await bob.call("session.why", session="web")
    assert answer["code"] in ("digest", "rate_limited")
    assert "\n" not in answer["why"]
