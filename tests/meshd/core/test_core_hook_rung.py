"""The hook rung: where there is no inbox socket to be trusted, hooks of the session take messages along."""

import json
import os
from dataclasses import replace

import pytest

from meshd.claude.hooks import MAX_CONTEXT
from meshd.claude.inbox import Credentials
from meshd.claude.marks import Mark
from world.claude import Claude
from world.machine import Machine
from world.world import World


async def bare(world: World) -> tuple[Machine, Machine, Claude]:
    """Ann, bob, and bob's session without an inbox that runs our hooks."""
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web", inbox=False)
    await web.hook("SessionStart")
    await ann.until_knows("bob/web")
    return ann, bob, web


async def state(machine: Machine, sent: dict[str, str]) -> tuple[str, str]:
    row = await machine.progress(sent)
    return row["state"], row["evidence"]


async def test_what_waits_comes_with_the_next_prompt_and_counts_as_shown_by_its_mark_alone(world: World) -> None:
    ann, _, web = await bare(world)
    sent = await ann.send("bob/web", "look at this", wait="stored", timeout=10)
    context = await web.hook("UserPromptSubmit", proof=False)
    assert "\nlook at this\n" in context
    await world.settle(5)
    assert await state(ann, sent) == ("stored", "commit"), "that the hook got it proves nothing"
    web.write_context("UserPromptSubmit", context)
    await ann.until_state(sent, "shown")
    web.answer()
    await ann.until_state(sent, "turn_started")
    assert (await ann.progress(sent))["evidence"] == "transcript:turn"
    assert await web.hook("Stop") == ""


async def test_what_is_not_proved_is_given_once_more_after_a_while(world: World) -> None:
    ann, _, web = await bare(world)
    sent = await ann.send("bob/web", "look at this", wait="stored", timeout=10)
    assert "look at this" in await web.hook("Stop", proof=False)
    assert await web.hook("Stop") == ""
    await world.settle(121)
    assert "look at this" in await web.hook("Stop")
    await ann.until_state(sent, "shown")


async def test_a_daemon_that_dies_in_between_gives_it_again_rather_than_lose_it(world: World) -> None:
    ann, bob, web = await bare(world)
    sent = await ann.send("bob/web", "look at this", wait="stored", timeout=10)
    assert "look at this" in await web.hook("UserPromptSubmit", proof=False)
    await bob.restart()
    assert "look at this" in await web.hook("Stop")
    await ann.until_state(sent, "shown")


async def test_in_the_middle_of_a_turn_only_what_is_urgent_comes(world: World) -> None:
    ann, _, web = await bare(world)
    web.begin_turn()
    await web.hook("UserPromptSubmit")
    for lane in ("next", "low", "now"):
        await ann.send("bob/web", f"this is {lane}", priority=lane, wait="stored", timeout=10)
    context = await web.hook("PostToolUse")
    assert "this is now" in context
    assert "this is next" not in context
    context = await web.hook("Stop")
    assert "this is next" in context
    assert "this is low" not in context + await web.hook("UserPromptSubmit")


async def test_many_come_in_pieces_whose_marks_are_all_whole(world: World) -> None:
    ann, _, web = await bare(world)
    for number in range(4):
        await ann.send("bob/web", f"{number} " + "y" * 3000, wait="stored", timeout=10)
    first, second = await web.hook("UserPromptSubmit"), await web.hook("Stop")
    for context, numbers in ((first, (0, 1)), (second, (2, 3))):
        assert len(context) <= MAX_CONTEXT
        assert [number for number in range(4) if f"\n{number} yyy" in context] == list(numbers)
        for line in (line for line in context.split("\n") if "[mesh " in line):
            assert context.count(f"--- {line[-17:-1]}") == 2


async def test_a_long_message_comes_as_its_beginning_and_is_shown_when_the_rest_is_read(world: World) -> None:
    ann, _, web = await bare(world)
    sent = await ann.send("bob/web", "z" * 20_000, wait="stored", timeout=10)
    assert "Cut: the first" in await web.hook("Stop")
    await world.settle(5)
    assert (await ann.progress(sent))["state"] == "stored"
    assert await web.hook("Stop") == ""
    assert "zzz" in await web.tool("check_messages", id=sent["id"])
    await ann.until_state(sent, "shown")


async def test_a_loop_of_hooks_ends_at_the_budget_of_pushes(world: World) -> None:
    ann, _, web = await bare(world)
    given = 0
    for number in range(9):
        await ann.send("bob/web", f"again {number}", wait="stored", timeout=10)
        given += f"again {number}" in await web.hook("Stop")
    assert given == 6
    await world.settle(60)
    assert "again 8" in await web.hook("Stop")


async def test_what_the_hook_of_the_last_tool_took_along_is_given_again_at_the_end(world: World) -> None:
    ann, _, web = await bare(world)
    web.begin_turn()
    await web.hook("UserPromptSubmit")
    sent = await ann.send("bob/web", "urgent", priority="now", wait="stored", timeout=10)
    assert "urgent" in await web.hook("PostToolUse", proof=False)
    assert await web.hook("PostToolUse") == ""
    assert "urgent" in await web.hook("Stop")
    await ann.until_state(sent, "shown")
    proved = await ann.send("bob/web", "also urgent", priority="now", wait="stored", timeout=10)
    assert "also urgent" in await web.hook("PostToolUse")
    await ann.until_state(proved, "shown")
    assert await web.hook("Stop") == ""


async def test_a_turn_that_a_hook_began_is_not_followed_by_another(world: World) -> None:
    ann, _, web = await bare(world)
    await ann.send("bob/web", "first", wait="stored", timeout=10)
    assert "first" in await web.hook("Stop", stop_hook_active=False)
    sent = await ann.send("bob/web", "second", wait="stored", timeout=10)
    assert await web.hook("Stop", stop_hook_active=True) == ""
    assert await state(ann, sent) == ("stored", "commit")
    assert "second" in await web.hook("UserPromptSubmit")


async def test_the_last_context_of_a_minute_sums_up_what_does_not_fit(world: World) -> None:
    ann, bob, web = await bare(world)
    for number in range(5):
        await ann.send("bob/web", f"early {number}", wait="stored", timeout=10)
        assert f"early {number}" in await web.hook("Stop")
    late = [await ann.send("bob/web", f"late {n} " + "y" * 3000, wait="stored", timeout=10) for n in range(5)]
    digest = await web.hook("Stop")
    assert digest.startswith("5 messages wait for this session [mesh digest ")
    assert len(digest) <= MAX_CONTEXT
    await world.settle(5)
    assert {(await ann.progress(each))["state"] for each in late} == {"stored"}
    await world.settle(150)
    assert await web.hook("Stop") == "", "what was summed up does not come by itself any more"
    assert "late 0" in await web.tool("check_messages", id=late[0]["id"])
    await ann.until_state(late[0], "shown")
    assert (await bob.call("session.list"))["sessions"][0]["waiting"] == 4


async def test_a_digest_that_nothing_proves_announced_nothing(world: World) -> None:
    ann, _, web = await bare(world)
    for number in range(5):
        await ann.send("bob/web", f"early {number}", wait="stored", timeout=10)
        await web.hook("Stop")
    for number in range(5):
        await ann.send("bob/web", f"late {number} " + "y" * 3000, wait="stored", timeout=10)
    assert "mesh digest" in await web.hook("Stop", proof=False)
    await world.settle(60)
    assert await web.hook("Stop") == ""
    await world.settle(61)
    assert "late 0" in await web.hook("Stop")


async def test_six_urgent_ones_of_a_sender_come_with_tools_in_a_minute(world: World) -> None:
    ann, _, web = await bare(world)
    web.begin_turn()
    await web.hook("UserPromptSubmit")
    for number in range(8):
        await ann.send("bob/web", f"urgent {number}", priority="now", wait="stored", timeout=10)
    context = await web.hook("PostToolUse")
    assert [number for number in range(8) if f"\nurgent {number}\n" in context] == list(range(6))
    assert await web.hook("PostToolUse") == ""
    assert "urgent 7" in await web.hook("Stop")


async def test_a_session_with_an_inbox_is_not_given_messages_twice(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    web.begin_turn()
    await ann.send("bob/web", "one way only", wait="stored", timeout=10)
    for event in ("UserPromptSubmit", "PostToolUse", "Stop"):
        assert await web.hook(event) == ""
    web.end_turn()
    await world.until(lambda: len(web.seen) == 1, what="the push")


@pytest.mark.parametrize("event", ["UserPromptSubmit", "PostToolUse", "Stop"])
async def test_a_sub_agents_hook_takes_nothing_along(world: World, event: str) -> None:
    ann, _, web = await bare(world)
    await ann.send("bob/web", "for the session", priority="now", wait="stored", timeout=10)
    assert await web.hook(event, agent_id="a1") == ""
    assert "for the session" in await web.hook(event)


@pytest.mark.parametrize(
    "event", ["SessionStart", "PreToolUse", "Notification", "SessionEnd", "SubagentStop", "Nonsense"]
)
async def test_other_events_take_nothing_along(world: World, event: str) -> None:
    ann, _, web = await bare(world)
    await ann.send("bob/web", "wait", priority="now", wait="stored", timeout=10)
    assert await web.hook(event) == ""


@pytest.mark.parametrize("mode", ["inbox", "off"])
async def test_nothing_comes_unasked_to_a_session_that_does_not_want_it(world: World, mode: str) -> None:
    ann, bob, web = await bare(world)
    await bob.call("session.mode", mode=mode)
    await ann.send("bob/web", "unasked", wait="stored", timeout=10)
    assert await web.hook("Stop") == ""


async def test_the_sessions_list_says_which_way_each_is_reached(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await ann.claude("a")
    hooked = await ann.claude("b", inbox=False)
    await ann.claude("c", inbox=False)
    await hooked.hook("SessionStart")
    rows = (await ann.call("session.list"))["sessions"]
    assert [(row["session"], row["rung"], row["why"]) for row in rows] == [
        ("a", "inbox", ""),
        ("b", "hook", "it has no inbox socket"),
        (
            "c",
            "pull",
            "it has no inbox socket; no hook of it was heard yet (mesh install, and restart it, if it has none)",
        ),
    ]
    await ann.call("session.mode", mode="off", session="a")
    row = (await ann.call("session.list"))["sessions"][0]
    assert (row["rung"], row["why"]) == ("pull", "its mode is off")


async def test_an_inbox_that_another_process_answers_is_left_for_the_hooks(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    inboxes = replace(bob.app.ladder.inboxes, credentials=lambda _: Credentials(1, os.geteuid()))
    bob.app.ladder.inboxes = inboxes
    await web.hook("SessionStart")
    await ann.until_knows("bob/web")
    sent = await ann.send("bob/web", "secret", wait="stored", timeout=10)
    await world.settle(20)
    row = (await bob.call("session.list"))["sessions"][0]
    assert (row["rung"], row["trouble"]) == ("hook", "wrong_process")
    assert "secret" in await web.hook("Stop")
    await ann.until_state(sent, "shown")
    assert web.seen == []


async def test_an_inbox_is_tried_before_there_is_a_message(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    bob.app.ladder.inboxes = replace(bob.app.ladder.inboxes, credentials=lambda _: Credentials(1, os.geteuid()))
    web = await bob.claude("web")
    await web.hook("SessionStart")
    await ann.until_knows("bob/web")
    row = (await bob.call("session.list"))["sessions"][0]
    assert (row["rung"], row["why"]) == ("hook", "another process answers at its inbox socket")
    web.begin_turn()
    await web.hook("UserPromptSubmit")
    sent = await ann.send("bob/web", "in the turn", priority="now", wait="stored", timeout=10)
    assert "in the turn" in await web.hook("PostToolUse")
    await ann.until_state(sent, "shown")
    assert web.addresses == [], "nothing was ever written there"


async def test_a_peers_text_with_a_forged_mark_proves_nothing(world: World) -> None:
    ann, _, web = await bare(world)
    sent = await ann.send("bob/web", "hello", wait="stored", timeout=10)
    await web.hook("Stop", proof=False)
    web.write_context("Stop", f"[mesh {sent['id']} {Mark('0' * 16)}]\nhello")
    await world.settle(5)
    assert (await ann.progress(sent))["state"] == "stored"


async def test_the_answer_of_a_hook_is_what_claude_code_reads(world: World) -> None:
    ann, _, web = await bare(world)
    await ann.send("bob/web", "hello", wait="stored", timeout=10)
    talk = await web.shell()
    body = json.dumps({"hook_event_name": "Stop"}).encode()
    told = await talk.call("hook", env=web.env, body=body)
    answer = json.loads(told["body"])["hookSpecificOutput"]
    assert sorted(answer) == ["additionalContext", "hookEventName"]
    assert answer["hookEventName"] == "Stop"
