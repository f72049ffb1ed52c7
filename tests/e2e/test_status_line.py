"""The status line in the real Claude Code, refreshed every second: as fresh as that, beside a user's own, never blank."""

import pytest

from claude_harness.screen import InteractiveSession
from claude_harness.settled import Settled
from claude_harness.stage import Stage
from claude_harness.waiting import until

pytestmark = [pytest.mark.claude, pytest.mark.slow]


def line_of(view: InteractiveSession) -> str:
    """Ours, as it is on the screen now."""
    return next((line.strip() for line in view.text.splitlines() if "mesh" in line and "·" in line), "")


async def test_it_follows_what_happens_without_any_turn(claude_stage: Stage, settled: Settled) -> None:
    home = await settled.home()
    async with claude_stage.interactive(home) as view:
        await view.shows("mesh team · 1/1 online")
        await settled.machine.call("message.send", "for whoever reads it", to="ann")
        await view.shows(" · 1 unread")
        await settled.mesh(home, "inbox")
        await until(lambda: "unread" not in line_of(view), what="it was read", seconds=60, explain=view.explain)


async def test_it_shows_the_sessions_own_model(claude_stage: Stage, settled: Settled) -> None:
    home = await settled.home()
    async with claude_stage.interactive(home) as view:
        await view.say("hello")
        await view.shows(claude_stage.api.otherwise)
        await view.shows("context ")
        assert line_of(view).startswith("mesh team · 1/1 online · ")


async def test_a_users_command_that_hangs_does_not_blank_it(claude_stage: Stage, settled: Settled) -> None:
    line = {"type": "command", "command": "echo its-beginning; sleep 1000", "refreshInterval": 1}
    home = await settled.home(settings={"statusLine": line})
    async with claude_stage.interactive(home) as view:
        await view.shows("its-beginning")
        await view.shows("mesh team · 1/1 online")


async def test_when_the_daemon_ends_it_says_so_and_comes_back(claude_stage: Stage, settled: Settled) -> None:
    home = await settled.home()
    async with claude_stage.interactive(home) as view:
        await view.shows("mesh team")
        await settled.machine.stop()
        await view.shows("mesh: no daemon (mesh up)")
        await settled.machine.start()
        await view.shows("mesh team · 1/1 online")
