"""`mesh doctor` beside the real Claude Code: its program and version are known, and what an install wrote is in order."""

import json

import pytest
import trio

from claude_harness.home import Home
from claude_harness.settled import Settled
from claude_harness.stage import Stage

pytestmark = [pytest.mark.claude, pytest.mark.slow]


async def findings(settled: Settled, home: Home) -> dict[str, dict[str, str]]:
    """What doctor says, by name; of several with one name the last."""
    _, said, _ = await settled.mesh(home, "doctor", "--json")
    return {check["name"]: check for check in json.loads(said)["checks"]}


async def test_with_a_running_session_after_an_install_nothing_is_broken(claude_stage: Stage, settled: Settled) -> None:
    home = await settled.home()
    async with claude_stage.headless(home) as view:
        await view.say("hello")
        await view.results(1)
        status, said, _ = await settled.mesh(home, "doctor")
        assert status == 0, said
        found = await findings(settled, home)
    assert found["claude"]["ok"] == "ok", found["claude"]
    assert {found[name]["ok"] for name in ("hooks", "MCP server", "status line", "socket", "mesh team")} == {"ok"}
    assert found[f"session {home.project.name}"]["ok"] == "ok"
    assert "policy" not in found


async def test_a_session_that_refuses_peers_is_explained(claude_stage: Stage, settled: Settled) -> None:
    home = await settled.home()
    path = home.config / "settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "crossSessionInbound": "refuse"}))
    name = home.project.name
    async with claude_stage.headless(home) as view:
        await view.say("hello")
        await view.results(1)
        await settled.machine.call("message.send", "do you see this?", to=f"ann/{name}")
        with trio.fail_after(60):
            while (await findings(settled, home))[f"session {name}"]["ok"] == "ok":
                await trio.sleep(0.2)
        found = await findings(settled, home)
        _, why, _ = await settled.mesh(home, "why", name)
    assert "(crossSessionInbound: refuse)" in found["policy"]["text"]
    assert str(path) in found["policy"]["text"]
    assert "set crossSessionInbound to accept" in found[f"session {name}"]["text"]
    assert "it refuses messages of peers" in why
