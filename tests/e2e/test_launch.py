"""`mesh launch` with the real Claude Code: it has a clean terminal, and the daemon knows it as it was launched."""

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from claude_harness.fake_api import ToolUse
from claude_harness.screen import interactive
from claude_harness.session import headless
from claude_harness.stage import Stage
from machines.machine import Machine

pytestmark = [pytest.mark.claude, pytest.mark.slow]

MESH = Path(sys.executable).with_name("mesh")
SECONDS = 60.0


def environ(stage: Stage, machine: Machine) -> dict[str, str]:
    """What a person has: a `claude` on the PATH, and a daemon."""
    programs = stage.root / "bin"
    programs.mkdir(exist_ok=True)
    if not (programs / "claude").exists():
        (programs / "claude").symlink_to(stage.binary)
    return {"MESH_HOME": str(machine.home), "PATH": f"{programs}:{os.environ['PATH']}"}


def launcher(stage: Stage, *flags: str) -> Path:
    """What the harness starts in place of claude, and hands its arguments: `mesh launch FLAGS -- …`, in one process."""
    script = stage.root / "launch.sh"
    words = " ".join(f"'{word}'" for word in flags)
    script.write_text(f'#!/bin/sh\nexec {MESH} launch {words} -- "$@"\n')
    script.chmod(0o755)
    return script


async def sessions_of(machine: Machine) -> list[dict[str, object]]:
    rows = (await machine.call("session.list"))["sessions"]
    assert isinstance(rows, list)
    return rows


async def eventually(probe: Callable[[], Awaitable[bool]], what: str, explain: Callable[[], str] = str) -> None:
    """Wait until a question to the daemon is answered with yes."""
    with trio.move_on_after(SECONDS):
        while not await probe():
            await trio.sleep(0.05)
        return
    raise AssertionError(f"waited {SECONDS:g} s for {what}\n{explain()}")


async def until_known(machine: Machine, *names: str) -> list[dict[str, object]]:
    """The sessions, once they are called so."""

    async def there() -> bool:
        return [row["session"] for row in await sessions_of(machine)] == [*names]

    await eventually(there, f"sessions called {names}")
    return await sessions_of(machine)


async def groups_of(machine: Machine, name: str) -> dict[str, str]:
    """Role by group."""
    rows = (await machine.call("group.list", session=name))["members"]
    assert isinstance(rows, list)
    return {str(row["group"]): str(row["role"]) for row in rows}


async def until_in_groups(machine: Machine, name: str, wanted: dict[str, str]) -> None:
    async def there() -> bool:
        return await groups_of(machine, name) == wanted

    await eventually(there, f"{name} in {wanted}")


async def test_what_is_launched_is_claude_itself_known_as_it_was_said(claude_stage: Stage, machine: Machine) -> None:
    """Nothing was installed: it has the mesh by an argument, before which and behind which others keep their meaning."""
    home = claude_stage.home()
    script = launcher(
        claude_stage, "--name", "heron", "--role", "qa", "--groups", "web/ui,night", "--mode", "inbox", "-y"
    )
    base = claude_stage.api.base_url("a")
    async with interactive(
        script, claude_stage.place, home, base, "good morning", env=environ(claude_stage, machine)
    ) as view:
        await view.shows(claude_stage.api.otherwise, seconds=SECONDS)
        assert os.path.realpath(f"/proc/{view.pid}/exe") == os.path.realpath(claude_stage.binary)
        (row,) = await until_known(machine, "heron")
        assert (row["mesh"], row["mode"]) == ("team", "inbox")
        await until_in_groups(machine, "heron", {"web/ui": "qa", "night": "qa"})
        await view.say("and what about this?")
        await view.shows("❯ and what about this?")


async def test_the_wizard_leaves_nothing_on_the_screen(claude_stage: Stage, machine: Machine) -> None:
    home = claude_stage.home()
    base = claude_stage.api.base_url("a")
    async with interactive(
        launcher(claude_stage), claude_stage.place, home, base, env=environ(claude_stage, machine)
    ) as view:
        await view.shows("Enter start", seconds=SECONDS)
        await view.keys("\x15heron\x1b[B\x1b[C")
        await view.shows("dev-team")
        await view.keys("\x1b[Bqa")
        await view.shows("qa▏")
        await view.keys("\r")
        await view.is_idle(seconds=SECONDS)
        assert "Enter start" not in view.text
        assert "Template" not in view.text
        await until_known(machine, "heron")
        await until_in_groups(machine, "heron", {"qa": "qa"})
    async with interactive(
        launcher(claude_stage), claude_stage.place, home, base, env=environ(claude_stage, machine)
    ) as view:
        await view.is_idle(seconds=SECONDS)  # nothing is asked twice in a folder
        await until_known(machine, "heron")


async def test_resumed_by_its_id_a_session_is_who_it_was(claude_stage: Stage, machine: Machine) -> None:
    home = claude_stage.home()
    env = environ(claude_stage, machine)
    base = claude_stage.api.base_url("a")
    first = launcher(claude_stage, "--name", "heron", "--groups", "night", "--mode", "off")
    async with headless(first, claude_stage.place, home, base, env=env) as begun:
        await begun.say("hello")
        (result,) = await begun.results(1, seconds=SECONDS)
        await until_in_groups(machine, "heron", {"night": ""})
        session_id = str(result["session_id"])
    async with interactive(MESH, claude_stage.place, home, base, "--resume", session_id, env=env) as view:
        await view.is_idle(seconds=SECONDS)
        await view.shows("hello")
        (row,) = await until_known(machine, "heron")
        assert row["mode"] == "off"
        assert await groups_of(machine, "heron") == {"night": ""}


async def test_a_launched_agent_knows_its_team_and_what_it_runs_is_an_agents(
    claude_stage: Stage, machine: Machine
) -> None:
    home = claude_stage.home()
    env = environ(claude_stage, machine)
    command = f"{MESH} invite --json --no-start; true"
    claude_stage.api.on("who are you", ToolUse("Bash", {"command": command}), times=1)
    script = launcher(claude_stage, "--name", "heron", "--template", "dev-team", "--role", "qa")
    base = claude_stage.api.base_url("a")
    async with headless(script, claude_stage.place, home, base, "--allowedTools", "Bash", env=env) as view:
        await view.say("who are you")
        await view.results(1, seconds=SECONDS)
        assert [row["session"] for row in await sessions_of(machine)] == ["heron"]
        told = [str(request.body) for request in claude_stage.api.log if request.is_turn]
        assert "You are ann/heron, with the role qa. Your groups: @qa." in told[0]
        assert '"code": "guarded"' in str([request.news for request in claude_stage.api.log]).replace('\\"', '"')


async def test_a_stale_session_in_the_environment_is_not_handed_on(claude_stage: Stage, machine: Machine) -> None:
    env = environ(claude_stage, machine) | {"CLAUDE_CODE_SESSION_ID": "0" * 8, "CLAUDECODE": "1", "CLAUDE_PID": "1"}
    base = claude_stage.api.base_url("a")
    script = launcher(claude_stage, "--name", "heron")
    async with headless(script, claude_stage.place, claude_stage.home(), base, env=env) as view:
        await view.say("hello")
        await view.results(1, seconds=SECONDS)
        variables = Path(f"/proc/{view.pid}/environ").read_bytes().split(b"\0")
        assert not [
            each for each in variables if each.startswith((b"CLAUDECODE=", b"CLAUDE_PID=", b"CLAUDE_CODE_SESSION_ID="))
        ]
        assert [row["session"] for row in await sessions_of(machine)] == ["heron"]
