"""The status line in the real Claude Code, refreshed every second: as fresh as that, beside a user's own, never blank."""

import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from claude_harness.home import Home
from claude_harness.screen import InteractiveSession
from claude_harness.stage import Stage, short_folder
from claude_harness.waiting import until
from machines.machine import Machine

pytestmark = [pytest.mark.claude, pytest.mark.slow]

MESH = Path(sys.executable).with_name("mesh")


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    """A machine with a mesh of its own."""
    with short_folder() as folder:
        found = Machine("solo", folder)
        try:
            await found.start()
            await found.call("mesh.new", name="team", me="ann")
            yield found
        finally:
            await found.stop()


async def install(home: Home, machine: Machine, former: dict[str, object] | None = None) -> None:
    """`mesh install` over a status line that the user had."""
    home.config.mkdir(parents=True, exist_ok=True)
    if former is not None:
        (home.config / "settings.json").write_text(json.dumps({"statusLine": {"type": "command", **former}}))
    await mesh(home, machine, "install", "--yes", "--no-service")


async def mesh(home: Home, machine: Machine, *arguments: str) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(home.path), "MESH_HOME": str(machine.home)}
    with trio.fail_after(60):
        await trio.run_process([str(MESH), *arguments], env=env, capture_stdout=True)


def line_of(view: InteractiveSession) -> str:
    """Ours, as it is on the screen now."""
    return next((line.strip() for line in view.text.splitlines() if "mesh" in line and "·" in line), "")


async def test_it_follows_what_happens_without_any_turn(claude_stage: Stage, machine: Machine) -> None:
    home = claude_stage.home()
    await install(home, machine)
    async with claude_stage.interactive(home) as view:
        await view.shows("mesh team · 1/1 online")
        await machine.call("message.send", "for whoever reads it", to="ann")
        await view.shows(" · 1 unread")
        await mesh(home, machine, "inbox")
        await until(lambda: "unread" not in line_of(view), what="it was read", seconds=60, explain=view.explain)


async def test_it_shows_the_sessions_own_model(claude_stage: Stage, machine: Machine) -> None:
    home = claude_stage.home()
    await install(home, machine)
    async with claude_stage.interactive(home) as view:
        await view.say("hello")
        await view.shows(claude_stage.api.otherwise)
        await view.shows("context ")
        assert line_of(view).startswith("mesh team · 1/1 online · ")


async def test_a_users_command_that_hangs_does_not_blank_it(claude_stage: Stage, machine: Machine) -> None:
    home = claude_stage.home()
    await install(home, machine, {"command": "echo its-beginning; sleep 1000", "refreshInterval": 1})
    async with claude_stage.interactive(home) as view:
        await view.shows("its-beginning")
        await view.shows("mesh team · 1/1 online")


async def test_when_the_daemon_ends_it_says_so_and_comes_back(claude_stage: Stage, machine: Machine) -> None:
    home = claude_stage.home()
    await install(home, machine)
    async with claude_stage.interactive(home) as view:
        await view.shows("mesh team")
        await machine.stop()
        await view.shows("mesh: no daemon (mesh up)")
        await machine.start()
        await view.shows("mesh team · 1/1 online")
