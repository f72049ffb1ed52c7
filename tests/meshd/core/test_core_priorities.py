"""When a message is shown: now, next and low; do not disturb; long texts; what the session's silence means."""

import pytest
import trio

from meshd.claude.frame import PREVIEW_BYTES, WHOLE_BYTES
from world.claude import Claude
from world.machine import Machine
from world.talk import Answer
from world.world import World


def shown(text: str, session: Claude) -> bool:
    return any(f"\n{text}\n" in body for body in session.seen)


async def pair(world: World) -> tuple[Machine, Machine, Claude]:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    return ann, bob, web


async def working(session: Claude) -> None:
    """The session begins a turn, and its daemon knows."""
    session.begin_turn()
    await session.hook("UserPromptSubmit")


async def test_next_waits_until_the_session_is_idle(world: World) -> None:
    ann, _, web = await pair(world)
    await working(web)
    sent = await ann.send("bob/web", "when you have time", wait="stored")
    await world.settle(30)
    web.end_tool()
    assert web.seen == []
    web.end_turn()
    await web.hook("Stop")
    row = await ann.until_state(sent, "turn_started")
    assert shown("when you have time", web)
    assert row["evidence"] == "transcript:turn"


async def test_now_reaches_a_busy_session_at_the_end_of_its_tool(world: World) -> None:
    ann, _, web = await pair(world)
    await working(web)
    waiting = await ann.send("bob/web", "when you have time", wait="stored")
    sent = await ann.send("bob/web", "stop that", priority="now", wait="stored")
    await world.settle(3)
    assert (await ann.progress(sent))["state"] == "stored", (
        "it is in the session's queue: nothing proves that it was seen"
    )
    web.end_tool()
    row = await ann.until_state(sent, "turn_started")
    assert shown("stop that", web)
    assert (await ann.progress(sent))["shown_ms"] <= row["turn_started_ms"]
    assert (await ann.progress(waiting))["state"] == "stored"


async def test_low_is_shown_only_to_who_asks(world: World) -> None:
    ann, _, web = await pair(world)
    sent = await ann.send("bob/web", "some day", priority="low", wait="stored")
    await world.settle(60)
    assert web.seen == []
    assert "some day" in await web.tool("check_messages")
    await ann.until_state(sent, "shown")


async def test_do_not_disturb_holds_everything_until_it_ends_by_hand(world: World) -> None:
    ann, _, web = await pair(world)
    await web.tool("set_status", status="dnd")
    urgent = await ann.send("bob/web", "urgent", priority="now", wait="stored")
    await working(web)
    web.end_turn()
    await web.hook("Stop")
    await world.settle(60)
    assert web.seen == []
    assert (await ann.until_knows("bob/web"))["status"] == "dnd"
    await web.tool("set_status", status="idle")
    await ann.until_state(urgent, "turn_started")
    assert shown("urgent", web)


async def test_waiting_mail_comes_in_order_when_the_session_is_free(world: World) -> None:
    ann, _, web = await pair(world)
    await working(web)
    for number in range(5):
        await ann.send("bob/web", f"number {number}", wait="stored")
    web.end_turn()
    await world.until(lambda: len(web.seen) == 5, what="all five were shown")
    assert [next(n for n in range(5) if f"\nnumber {n}\n" in body) for body in web.seen] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("size", "whole"), [(WHOLE_BYTES, True), (WHOLE_BYTES + 1, False), (60_000, False)])
async def test_a_long_text_is_shown_only_when_it_was_fetched(world: World, size: int, whole: bool) -> None:
    ann, _, web = await pair(world)
    text = "x" * (size - 3) + "END"
    sent = await ann.send("bob/web", text, wait="stored")
    await world.until(lambda: web.seen, what="something was pushed")
    await world.settle(5)
    state = (await ann.progress(sent))["state"]
    if whole:
        assert state == "turn_started"
        return
    assert state == "stored"
    assert "x" * PREVIEW_BYTES in web.seen[0]
    assert "END" not in web.seen[0]
    assert f'check_messages: id="{sent["id"]}"' in web.seen[0]
    fetched = await web.tool("check_messages", id=sent["id"])
    if "END" not in fetched:
        assert (await ann.progress(sent))["state"] == "stored", "a part of it is not it"
        fetched = await web.tool("check_messages", id=sent["id"], offset=30_000)
    assert "END" in fetched
    assert (await ann.until_state(sent, "shown"))["evidence"] == "tool_result"
    assert len(web.seen) == 1, "the beginning is not pushed again"


async def test_what_the_session_took_and_nothing_shows_stays_stored_and_can_be_fetched(world: World) -> None:
    ann, bob, web = await pair(world)
    web.attentive = False
    sent = await ann.send("bob/web", "into the void", wait="stored")
    await world.settle(120)
    assert (await ann.progress(sent))["state"] == "stored"
    checks = {check["name"]: check for check in (await bob.call("daemon.doctor"))["checks"]}
    assert checks["session web"]["ok"] == "warn"
    web.attentive = True
    assert "into the void" in await web.tool("check_messages")
    await ann.until_state(sent, "shown")


async def test_a_session_without_an_inbox_is_served_when_it_asks(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web", inbox=False)
    sent = await ann.send("bob", "for who asks", wait="stored")
    await world.settle(60)
    assert (await ann.progress(sent))["state"] == "stored"
    checks = {check["name"]: check for check in (await bob.call("daemon.doctor"))["checks"]}
    assert "check_messages" in checks["session web"]["fix"]
    assert "for who asks" in await web.tool("check_messages")
    await ann.until_state(sent, "shown")


async def test_an_inbox_that_comes_back_is_used_again(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web", inbox=False)
    first = await ann.send("bob", "first", wait="stored")
    await world.settle(60)
    web.inbox = True
    web.register()
    await world.nursery.start(web._listen)
    second = await ann.send("bob", "second")
    await ann.until_state(second, "turn_started")
    assert (await ann.progress(first))["state"] == "stored", "three tries are enough; the rest is for who asks"
    checks = {check["name"]: check for check in (await bob.call("daemon.doctor"))["checks"]}
    assert checks["session web"]["ok"] == "ok"


async def test_a_session_that_ends_in_the_middle_gets_the_rest_when_it_is_resumed(world: World) -> None:
    ann, bob, web = await pair(world)
    await working(web)
    sent: list[Answer] = [await ann.send("bob/web", f"number {n}", wait="stored") for n in range(3)]
    await web.end()
    await world.until(lambda: not bob.app.sessions.live(), what="its end was seen")
    again = await web.resume()
    for each in sent:
        await ann.until_state(each, "turn_started")
    assert len(again.seen) == 3
    assert web.seen == []


async def test_a_session_that_answers_nothing_shows_no_turn(world: World) -> None:
    ann, _, web = await pair(world)
    web.answers = False
    sent = await ann.send("bob/web", "hello", wait="shown")
    await world.settle(30)
    row = await ann.progress(sent)
    assert (row["state"], row["turn_started_ms"], row["evidence"]) == ("shown", 0, "transcript:idle")
    web._write({"type": "assistant"})
    await ann.until_state(sent, "turn_started")


async def test_after_a_restart_of_the_daemon_what_was_not_shown_is_surfaced_again_with_its_id(world: World) -> None:
    """The push was made, the daemon died before it saw the evidence: at least once, under the same message id."""
    ann, bob, web = await pair(world)
    bob.disk.hold()
    sent = await ann.send("bob/web", "hello", wait="accepted")
    await world.settle(2)
    bob.disk.release()
    bob.disk.hold()
    await world.until(lambda: web.seen, what="it was pushed")
    await world.settle(2)
    await bob.restart()
    await world.until(lambda: len(web.seen) == 2, what="it was pushed again")
    assert all(sent["id"] in body for body in web.seen)
    await ann.until_state(sent, "turn_started")


async def test_several_sessions_are_served_side_by_side(world: World) -> None:
    ann, bob, web = await pair(world)
    api = await bob.claude("api")
    await ann.until_knows("bob/api")
    await working(web)
    held = await ann.send("bob/web", "for web", wait="stored")
    before = trio.current_time()
    sent = await ann.send("bob/api", "for api", wait="shown")
    assert sent["reached"]
    assert trio.current_time() - before < 3
    assert shown("for api", api)
    assert (await ann.progress(held))["state"] == "stored"
