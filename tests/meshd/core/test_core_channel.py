"""The channel rung: where there is no inbox, a session that takes channels is reached over its MCP connection."""

import json
from typing import Any

from world.claude import Claude
from world.machine import Machine
from world.world import World

FLAGGED = ("claude", "--channels", "server:mesh")


def let_in(machine: Machine) -> None:
    """Every session of the machine was started with the flag."""
    machine.app.ladder.channels.arguments = lambda pid: FLAGGED


async def flagged(world: World, *, hooked: bool = False) -> tuple[Machine, Machine, Claude]:
    """Ann, bob, and bob's session without an inbox that takes a channel."""
    ann, bob = await world.mesh("ann", "bob")
    let_in(bob)
    web = await bob.claude("web", inbox=False)
    if hooked:
        await web.hook("SessionStart")
    await ann.until_knows("bob/web")
    await until_rung(world, bob, "channel")
    return ann, bob, web


async def row_of(machine: Machine) -> dict[str, Any]:
    row: dict[str, Any] = (await machine.call("session.list"))["sessions"][0]
    return row


async def until_rung(world: World, machine: Machine, rung: str) -> None:
    async def look() -> bool:
        return bool((await row_of(machine))["rung"] == rung)

    await world.until(look, what=f"the rung {rung}")


async def test_an_idle_session_is_told_by_its_channel_and_what_it_saw_counts_as_shown(world: World) -> None:
    ann, bob, web = await flagged(world)
    assert (await row_of(bob))["why"] == "it has no inbox socket"
    sent = await ann.send("bob/web", "hello there", wait="stored", timeout=10)
    told = await web.hear()
    assert told["method"] == "notifications/claude/channel"
    assert "\nhello there\n" in told["params"]["content"]
    assert told["params"]["meta"]["sender"] == "ann"
    await world.settle(5)
    assert (await ann.progress(sent))["state"] == "stored", "that it was sent proves nothing"
    web.write_channel(told["params"])
    await ann.until_state(sent, "shown")
    assert (await ann.progress(sent))["evidence"] == "transcript:channel"
    web.answer()
    await ann.until_state(sent, "turn_started")


async def test_one_that_works_is_told_when_it_is_idle(world: World) -> None:
    ann, _, web = await flagged(world)
    web.begin_turn()
    await web.hook("UserPromptSubmit")
    for lane in ("next", "now"):
        await ann.send("bob/web", f"this is {lane}", priority=lane, wait="stored", timeout=10)
    await world.settle(20)
    assert not web.unheard()
    web.end_turn()
    assert "this is now" in (await web.hear())["params"]["content"]


async def test_a_tool_of_a_turn_brings_what_is_urgent_where_there_are_hooks(world: World) -> None:
    ann, _, web = await flagged(world, hooked=True)
    web.begin_turn()
    await web.hook("UserPromptSubmit")
    sent = await ann.send("bob/web", "at once", priority="now", wait="stored", timeout=10)
    assert "at once" in await web.hook("PostToolUse")
    await ann.until_state(sent, "shown")
    later = await ann.send("bob/web", "no hurry", wait="stored", timeout=10)
    assert await web.hook("Stop") == "", "its channel wakes it"
    web.end_turn()
    told = await web.hear()
    assert "no hurry" in told["params"]["content"]
    web.write_channel(told["params"])
    await ann.until_state(later, "shown")


async def test_a_channel_that_nothing_proves_gives_way_to_hooks(world: World) -> None:
    ann, bob, web = await flagged(world, hooked=True)
    sent = await ann.send("bob/web", "is anybody there?", wait="stored", timeout=10)
    await web.hear()
    assert await web.hook("Stop") == "", "it is on its way"
    await world.settle(70)
    row = await row_of(bob)
    assert (row["rung"], row["why"]) == ("hook", "it has no inbox socket; nothing proved that it reads its channel")
    assert "is anybody there?" in await web.hook("UserPromptSubmit")
    await ann.until_state(sent, "shown")
    await ann.send("bob/web", "next one", wait="stored", timeout=10)
    await world.settle(20)
    assert not web.unheard(), "the channel is not tried again"


async def test_a_long_message_that_a_silent_channel_swallowed_comes_by_hook(world: World) -> None:
    ann, _, web = await flagged(world, hooked=True)
    await ann.send("bob/web", "z" * 20_000, wait="stored", timeout=10)
    await web.hear()
    await world.settle(70)
    assert "Cut: the first" in await web.hook("UserPromptSubmit")


async def test_nothing_is_said_before_the_client_says_that_it_is_ready(world: World) -> None:
    ann, bob, web = await flagged(world)
    await web.close_mcp()
    await until_rung(world, bob, "pull")
    talk = await bob.talk(bob.processes.spawn("python3", web.pid))
    await talk.call("mcp.open", env=web.env, cwd=web.cwd)
    await ann.send("bob/web", "early", wait="stored", timeout=10)
    await world.settle(60)
    assert not talk.lines
    await talk.send_line(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
    told = json.loads(await talk.next_line())
    assert told["method"] == "notifications/claude/channel"
    assert "early" in told["params"]["content"]


async def test_without_the_flag_a_session_is_told_nothing_by_its_connection(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    bob.app.ladder.channels.arguments = lambda pid: ("claude", "--channels", "server:other")
    web = await bob.claude("web", inbox=False)
    await ann.until_knows("bob/web")
    await ann.send("bob/web", "hello", wait="stored", timeout=10)
    await world.settle(20)
    assert not web.unheard()
    assert (await row_of(bob))["rung"] == "pull"


async def test_an_inbox_is_better_than_a_channel(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    let_in(bob)
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    await ann.send("bob/web", "hello", wait="shown", timeout=10)
    assert len(web.seen) == 1
    assert not web.unheard()


async def test_a_connection_that_ends_ends_the_channel_and_the_next_one_has_it_again(world: World) -> None:
    ann, bob, web = await flagged(world)
    await web.close_mcp()
    await until_rung(world, bob, "pull")
    await ann.send("bob/web", "meanwhile", wait="stored", timeout=10)
    await world.settle(3)
    await web.open_mcp()
    assert "meanwhile" in (await web.hear())["params"]["content"]
    assert (await row_of(bob))["rung"] == "channel"


async def test_after_a_restart_of_the_daemon_the_channel_is_there_again(world: World) -> None:
    ann, bob, web = await flagged(world)
    await bob.restart()
    let_in(bob)
    await web.open_mcp()
    await until_rung(world, bob, "channel")
    await ann.send("bob/web", "hello again", wait="stored", timeout=10)
    assert "hello again" in (await web.hear())["params"]["content"]
