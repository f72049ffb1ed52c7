"""`mesh install` and the plugin with the real Claude Code: what they write is what it reads, and it is gone afterwards."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from claude_harness.fake_api import ToolUse
from claude_harness.screen import InteractiveSession
from claude_harness.session import HeadlessSession
from claude_harness.settled import MESH, Settled
from claude_harness.stage import Stage
from claude_harness.waiting import until

pytestmark = [pytest.mark.claude, pytest.mark.slow]

PLUGIN = Path(__file__).parents[2] / "plugin"
SETTINGS = '{\n    "statusLine": {"type": "command", "command": "printf %s \\"the-user\'s-own\\""}\n}\n'


async def run(
    command: list[str], env: dict[str, str], *, cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(60):
        return await trio.run_process(
            command, env=env, cwd=cwd, stdin=b"", capture_stdout=True, capture_stderr=True, check=False
        )


async def mesh_server(view: HeadlessSession, name: str) -> dict[str, object]:
    """What the session says at the start of a turn of an MCP server."""
    told = await view.event(lambda event: event.get("subtype") == "init", what="a turn's start")
    servers = told["mcp_servers"]
    assert isinstance(servers, list)
    return next((server for server in servers if server["name"] == name), {})


def hooks_that_ran(view: HeadlessSession) -> dict[str, object]:
    """Exit status by event, of all hooks that ran."""
    return {
        str(event["hook_event"]): event["exit_code"] for event in view.events if event.get("subtype") == "hook_response"
    }


async def test_the_binary_accepts_the_plugin(claude_stage: Stage) -> None:
    env = claude_stage.home().env(claude_stage.api.base_url("a"))
    done = await run([*claude_stage.place.prefix, str(claude_stage.binary), "plugin", "validate", str(PLUGIN)], env)
    assert done.returncode == 0, done.stdout
    assert b"Validation passed" in done.stdout


async def test_after_an_install_a_session_has_our_server_and_tells_us_its_events(
    claude_stage: Stage, settled: Settled
) -> None:
    home = claude_stage.home()
    settings = home.config / "settings.json"
    settings.write_text(SETTINGS)
    await settled.install(home)
    assert (await settled.mesh(home, "install", "--check"))[0] == 0
    claude_stage.api.on("hello", ToolUse("Bash", {"command": "echo done"}), times=1)
    async with claude_stage.headless(home, "--include-hook-events", "--allowedTools", "Bash") as view:
        await view.say("hello")
        await view.results(1)
        assert (await mesh_server(view, "mesh"))["status"] == "connected"
        expected = {"SessionStart": 0, "UserPromptSubmit": 0, "PostToolUse": 0, "Stop": 0}
        await until(lambda: hooks_that_ran(view).items() >= expected.items(), what="hooks", explain=view.explain)
        await settled.until_named("proj")
    assert (await settled.mesh(home, "uninstall", "--yes"))[0] == 0
    assert settings.read_text() == SETTINGS
    left = json.loads((home.path / ".claude.json").read_bytes())
    assert not left.get("mcpServers")
    assert left["hasCompletedOnboarding"] is True
    async with claude_stage.headless(home, "--include-hook-events") as view:
        await view.say("hello")
        await view.results(1)
        assert await mesh_server(view, "mesh") == {}
        assert hooks_that_ran(view) == {}


async def test_hooks_alone_make_a_session_known(claude_stage: Stage, settled: Settled) -> None:
    home = claude_stage.home()
    await settled.install(home)
    async with claude_stage.headless(home, "--strict-mcp-config") as view:
        await view.say("hello")
        await view.results(1)
        assert await mesh_server(view, "mesh") == {}
        await settled.until_named("proj")


async def test_the_status_line_stands_below_the_users_own(claude_stage: Stage, settled: Settled) -> None:
    home = claude_stage.home()
    (home.config / "settings.json").write_text(SETTINGS)
    await settled.install(home)
    async with claude_stage.interactive(home) as view:
        await view.shows("the-user's-own")
        await view.shows("mesh team")
        assert line_of(view, "the-user's-own") + 1 == line_of(view, "mesh team")


def line_of(view: InteractiveSession, text: str) -> int:
    return next(number for number, line in enumerate(view.text.splitlines()) if text in line)


async def test_an_install_under_a_running_session_is_not_lost(claude_stage: Stage, settled: Settled) -> None:
    """The session writes `.claude.json` from its own memory again and again."""
    home = claude_stage.home()
    async with claude_stage.interactive(home) as view:
        await view.is_idle()
        await settled.install(home)
        await view.say("hello")
        await view.shows(claude_stage.api.otherwise)
    assert "mesh" in json.loads((home.path / ".claude.json").read_bytes())["mcpServers"]
    assert (await settled.mesh(home, "install", "--check"))[0] == 0


@pytest.mark.parametrize("gone", ["/mesh_clients/hot.py", sys.executable])
async def test_hooks_whose_files_are_gone_hold_up_no_turn(claude_stage: Stage, settled: Settled, gone: str) -> None:
    """As after an upgrade that moved them: Claude Code refuses a prompt whose hook ends with 2, as Python without its script."""
    home = claude_stage.home()
    await settled.install(home)
    path = home.config / "settings.json"
    written = path.read_text()
    path.write_text(written.replace(gone, f"/gone{gone}"))
    assert path.read_text() != written
    async with claude_stage.headless(home, "--include-hook-events") as view:
        await view.say("hello")
        (result,) = await view.results(1)
        assert result["result"] == claude_stage.api.otherwise
        if gone != sys.executable:
            await until(lambda: "Stop" in hooks_that_ran(view), what="the last hook", explain=view.explain)
            assert set(hooks_that_ran(view).values()) == {0}
    assert len(claude_stage.api.turns()) == 1


async def test_a_configuration_elsewhere_is_read_where_we_write_it(claude_stage: Stage, settled: Settled) -> None:
    home = claude_stage.home()
    config = home.path / "work"
    env = {**home.env(claude_stage.api.base_url("a")), "CLAUDE_CONFIG_DIR": str(config)}
    done = await run([str(MESH), "install", "--yes", "--no-service"], {**env, "MESH_HOME": str(settled.machine.home)})
    assert done.returncode == 0, done.stderr
    listed = await run([*claude_stage.place.prefix, str(claude_stage.binary), "mcp", "list"], env, cwd=home.project)
    assert b"mesh: " in listed.stdout
    assert b"Connected" in listed.stdout


async def test_the_plugin_brings_server_hooks_and_skill_and_goes_again(claude_stage: Stage, settled: Settled) -> None:
    home = claude_stage.home()
    more = {"MESH_HOME": str(settled.machine.home), "PATH": f"{MESH.parent}:{os.environ['PATH']}"}
    env = home.env(claude_stage.api.base_url("a"), more)
    claude = [*claude_stage.place.prefix, str(claude_stage.binary), "plugin"]
    for words in (["marketplace", "add", str(PLUGIN)], ["install", "mesh@meshd"]):
        done = await run([*claude, *words], env, cwd=home.project)
        assert done.returncode == 0, (done.stdout, done.stderr)
    async with claude_stage.headless(home, "--include-hook-events", env=more) as view:
        await view.say("hello")
        await view.results(1)
        assert (await mesh_server(view, "plugin:mesh:mesh"))["status"] == "connected"
        await until(lambda: hooks_that_ran(view).get("Stop") == 0, what="hooks", explain=view.explain)
        told = await view.event(lambda event: event.get("subtype") == "init", what="a turn's start")
        assert "mesh:peer" in str(told["skills"])
    done = await run([*claude, "uninstall", "mesh@meshd"], env, cwd=home.project)
    assert done.returncode == 0, (done.stdout, done.stderr)
    async with claude_stage.headless(home, "--include-hook-events", env=more) as view:
        await view.say("hello")
        await view.results(1)
        assert await mesh_server(view, "plugin:mesh:mesh") == {}
        assert hooks_that_ran(view) == {}
