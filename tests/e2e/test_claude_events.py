"""Every event of the real Claude Code that we use, one by one: the hook runs, and the daemon knows by it what happened.

The daemon of these tests never looks at Claude's register by itself, so what it knows it was told by a hook.
"""

from collections.abc import AsyncIterator

import pytest
import trio

from claude_harness.fake_api import Failure, Text, ToolUse
from claude_harness.screen import InteractiveSession
from claude_harness.settled import Settled, eventually, open_settled
from claude_harness.stage import Stage
from claude_harness.tap import Tap, tap_hooks
from claude_harness.waiting import until
from mesh_clients.install.claude import EVENTS

pytestmark = [pytest.mark.claude, pytest.mark.slow]

DEAF = (
    "-c",
    "import sys; from meshd import sessions, __main__; sessions.POLL_S = 86400.0; sys.exit(__main__.main())",
    "run",
)
AGENT = {"description": "look", "prompt": "dig deep", "subagent_type": "general-purpose", "run_in_background": False}
# No connection of an MCP server: hooks alone make the session known.
ALONE = "--strict-mcp-config"


@pytest.fixture
async def deaf(claude_stage: Stage) -> AsyncIterator[Settled]:
    """A daemon that is told everything by hooks."""
    async with open_settled(claude_stage, DEAF) as found:
        yield found


async def until_status(settled: Settled, word: str, tap: Tap) -> None:
    async def look() -> bool:
        return (await settled.row()).get("status") == word

    async def explain() -> object:
        return await settled.rows(), tap.events()

    await eventually(look, what=f"a session that is {word}", explain=explain)


async def until_why(settled: Settled, code: str) -> None:
    async def why() -> str:
        return str((await settled.machine.call("session.why", session="proj"))["code"])

    async def look() -> bool:
        return await why() == code

    await eventually(look, what=f"the reason {code}", explain=why)


async def test_each_event_tells_the_daemon_what_the_session_does(claude_stage: Stage, deaf: Settled) -> None:
    home = await deaf.home(settings={"permissions": {"ask": ["Agent"]}})
    tap = tap_hooks(home, without="Notification")
    async with claude_stage.interactive(home, ALONE) as view:
        await view.is_idle()
        await deaf.until_named("proj")
        assert tap.events() in (["SessionStart"], [])
        await a_tool_is_asked_for_and_used(claude_stage, deaf, view, tap)
        await a_turn_fails(claude_stage, deaf, view, tap)
        await a_sub_agent_works(claude_stage, deaf, view, tap)
        await it_is_cleared(deaf, view, tap)
    await deaf.until_named()
    heard = tap.heard()
    assert {each.event for each in heard} == EVENTS.keys() - {"Notification"}
    assert {each.status for each in heard} == {0}
    assert {each.said for each in heard} == {""}
    assert next(each.told["reason"] for each in heard if each.event == "SessionEnd") == "clear"


async def a_tool_is_asked_for_and_used(stage: Stage, settled: Settled, view: InteractiveSession, tap: Tap) -> None:
    """UserPromptSubmit: it works; PermissionRequest: it waits; PostToolUse: it works again; Stop: it is idle."""
    thought, read = trio.Event(), trio.Event()
    stage.api.on("run it", ToolUse("Bash", {"command": "touch made; echo tool-ended"}), times=1, gate=thought)
    stage.api.on("tool-ended", Text("done"), times=1, gate=read)
    await until_status(settled, "idle", tap)
    await view.say("run it")
    await until_status(settled, "working", tap)
    thought.set()
    await until_status(settled, "waiting", tap)
    await until_why(settled, "waiting_for_you")
    assert not (view.home.project / "made").exists()
    await view.approve()
    await until_status(settled, "working", tap)
    read.set()
    await until_status(settled, "idle", tap)


async def a_turn_fails(stage: Stage, settled: Settled, view: InteractiveSession, tap: Tap) -> None:
    """StopFailure: why it does not go on, until it does."""
    stage.api.on("go on", Text("gone on"))
    stage.api.on("break the API", Failure(400, "invalid_request_error", "no"))
    await view.say("break the API")
    await until(lambda: "StopFailure" in tap.events(), what="the failure", explain=view.explain)
    await view.is_idle()  # to ask why is to look at the register, which is written last
    await until_why(settled, "unknown")  # what Claude Code calls a refusal of this kind
    await until_status(settled, "idle", tap)
    await view.say("go on")
    await until_why(settled, "fine")
    await view.shows("gone on")
    await until_status(settled, "idle", tap)


async def a_sub_agent_works(stage: Stage, settled: Settled, view: InteractiveSession, tap: Tap) -> None:
    """SubagentStart: it works, which it did not a moment before; SubagentStop: it still does, until its own turn ends."""
    dug, heard = trio.Event(), trio.Event()
    stage.api.on("delegate", ToolUse("Agent", AGENT), times=1)
    stage.api.on("dig deep", Text("found gold"), times=1, gate=dug)
    # An interactive session goes on beside its sub-agent: this is its own turn, after it was told of the launch.
    stage.api.on("agentId", Text("so be it"), times=1, gate=heard)
    await view.say("delegate")
    await until_status(settled, "waiting", tap)
    await view.approve()
    await until_status(settled, "working", tap)
    assert "SubagentStop" not in tap.events()
    dug.set()
    await until(lambda: "SubagentStop" in tap.events(), what="its end", explain=view.explain)
    assert (await settled.row())["status"] == "working"
    heard.set()
    await view.shows("so be it")
    await until_status(settled, "idle", tap)


async def it_is_cleared(settled: Settled, view: InteractiveSession, tap: Tap) -> None:
    """SessionEnd and SessionStart of a session that goes on under another id: its new transcript is followed."""
    await view.say("/clear")
    await until(lambda: "SessionEnd" in tap.events(), what="the end of the old one", explain=view.explain)
    await until(lambda: tap.events().count("SessionStart") == 2, what="the new one's start", explain=view.explain)
    await settled.until_named("proj")
    sent = await settled.send("proj", "after the clear")
    assert (await settled.until_shown(sent))["evidence"].startswith("transcript:")


async def test_a_notification_alone_tells_that_its_person_is_asked(claude_stage: Stage, deaf: Settled) -> None:
    home = await deaf.home()
    tap = tap_hooks(home, without="PermissionRequest")
    claude_stage.api.on("run it", ToolUse("Bash", {"command": "touch made"}), times=1)
    async with claude_stage.interactive(home, ALONE) as view:
        await view.is_idle()
        await view.say("run it")
        await until_status(deaf, "waiting", tap)  # Claude Code sends it after six seconds without an answer
        await until(lambda: "Notification" in tap.events(), what="its record", explain=view.explain)
        (notice,) = [each for each in tap.heard() if each.event == "Notification"]
        assert (notice.told["notification_type"], notice.status, notice.said) == ("permission_prompt", 0, "")
