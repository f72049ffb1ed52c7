"""`mesh doctor` beside the real Claude Code: its program and version are known, and what an install wrote is in order."""

import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from claude_harness.home import Home
from claude_harness.stage import Stage, short_folder
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


class Patient:
    """The person whose machine is looked at."""

    def __init__(self, stage: Stage, machine: Machine) -> None:
        self.home: Home = stage.home()
        self.env = {
            "PATH": f"{stage.binary.parent}:{os.environ['PATH']}",
            "HOME": str(self.home.path),
            "MESH_HOME": str(machine.home),
        }

    async def mesh(self, *arguments: str) -> tuple[int, bytes]:
        with trio.fail_after(60):
            done = await trio.run_process(
                [str(MESH), *arguments],
                env=self.env,
                cwd=self.home.project,
                stdin=b"",
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        return done.returncode, done.stdout

    async def findings(self) -> dict[str, dict[str, str]]:
        """By name; of several with one name the last."""
        return {check["name"]: check for check in json.loads((await self.mesh("doctor", "--json"))[1])["checks"]}


async def test_with_a_running_session_after_an_install_nothing_is_broken(claude_stage: Stage, machine: Machine) -> None:
    patient = Patient(claude_stage, machine)
    assert (await patient.mesh("install", "--yes", "--no-service"))[0] == 0
    async with claude_stage.headless(patient.home) as view:
        await view.say("hello")
        await view.results(1)
        status, said = await patient.mesh("doctor")
        assert status == 0, said.decode()
        found = await patient.findings()
    assert found["claude"]["ok"] == "ok", found["claude"]
    assert {found[name]["ok"] for name in ("hooks", "MCP server", "status line", "socket", "mesh team")} == {"ok"}
    assert found[f"session {patient.home.project.name}"]["ok"] == "ok"
    assert "policy" not in found


async def test_a_session_that_refuses_peers_is_explained(claude_stage: Stage, machine: Machine) -> None:
    patient = Patient(claude_stage, machine)
    await patient.mesh("install", "--yes", "--no-service")
    path = patient.home.config / "settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "crossSessionInbound": "refuse"}))
    name = patient.home.project.name
    async with claude_stage.headless(patient.home) as view:
        await view.say("hello")
        await view.results(1)
        await machine.call("message.send", "do you see this?", to=f"ann/{name}")
        with trio.fail_after(60):
            while (await patient.findings())[f"session {name}"]["ok"] == "ok":
                await trio.sleep(0.2)
        found = await patient.findings()
        _, why = await patient.mesh("why", name)
    assert "(crossSessionInbound: refuse)" in found["policy"]["text"]
    assert str(path) in found["policy"]["text"]
    assert "set crossSessionInbound to accept" in found[f"session {name}"]["text"]
    assert b"it refuses messages of peers" in why
