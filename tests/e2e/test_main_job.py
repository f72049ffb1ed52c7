"""The main job on real input: a person's `mesh send` on one machine wakes a real Claude Code session on another, which
answers with its `send_message` tool; both see truthfully how far each message got. Real broker, real daemons, real
`mesh` commands, the real binary against a scripted API.
"""

import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from claude_harness.fake_api import ToolUse
from claude_harness.frames import answer_with, frames_in
from claude_harness.home import Home
from claude_harness.stage import Stage, short_folder
from claude_harness.waiting import until
from machines.machine import Machine
from machines.pair import Pair, open_pair

pytestmark = [pytest.mark.claude, pytest.mark.slow]

MESH = Path(sys.executable).with_name("mesh")
KINDS = pytest.mark.parametrize("kind", ["interactive", "headless"])
COMMAND_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class Printed:
    """What a command left behind."""

    status: int
    out: str
    err: str

    def document(self) -> dict[str, object]:
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


async def mesh(machine: Machine, *arguments: str) -> Printed:
    """Run a `mesh` command on a machine, as a person's shell would."""
    env = {"PATH": os.environ["PATH"], "HOME": str(machine.home), "MESH_HOME": str(machine.home)}
    with trio.fail_after(COMMAND_SECONDS):
        done = await trio.run_process(
            [str(MESH), *arguments], env=env, capture_stdout=True, capture_stderr=True, check=False
        )
    return Printed(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """Two machines in one mesh over a broker."""
    with short_folder() as folder:
        async with open_pair(folder) as found:
            await found.until_online()
            yield found


def home_on(stage: Stage, machine: Machine) -> Home:
    """A Claude home whose mesh server is that machine's daemon's."""
    server = {"command": str(MESH), "args": ["mcp"], "env": {"MESH_HOME": str(machine.home)}}
    return stage.home("b", mcp_servers={"mesh": server})


async def session_address(machine: Machine) -> str:
    """The address of the one session that `machine` sees on the other side, once it is there."""

    async def look() -> str | None:
        peers = (await mesh(machine, "peers", "--json")).document()["peers"]
        assert isinstance(peers, list)
        return next((row["to"] for row in peers if row["kind"] == "ai" and not row["me"]), None)

    with trio.fail_after(30):
        while (found := await look()) is None:
            await trio.sleep(0.1)
    return found


@KINDS
async def test_a_message_wakes_a_session_on_another_machine_and_its_answer_comes_back(
    claude_stage: Stage, pair: Pair, kind: str
) -> None:
    claude_stage.api.rule(
        lambda request: bool(frames_in(request.news)), answer_with("mcp__mesh__send_message", "yes, it is green")
    )
    async with claude_stage.start(kind, home_on(claude_stage, pair.bob), "--allowedTools", "mcp__mesh") as view:
        await view.is_idle()
        to = await session_address(pair.alice)

        sent = await mesh(pair.alice, "send", to, "is the build green?", "--wait", "shown", "--timeout", "30", "--json")
        assert sent.status == 0, sent.err
        message_id = sent.document()["id"]
        assert isinstance(message_id, str)

        answer = (await mesh(pair.alice, "inbox", "--wait", "30", "--json")).document()["messages"]
        assert isinstance(answer, list)
        assert [(row["sender"], row["origin"], row["message"]) for row in answer] == [(to, "agent", "yes, it is green")]
        assert answer[0]["reply_to"] == message_id

        told = (await mesh(pair.alice, "message", message_id, "--json")).document()
        recipients = told["recipients"]
        assert isinstance(recipients, list)
        (progress,) = recipients
        assert progress["state"] in ("shown", "turn_started")
        assert 0 < progress["queued_ms"] <= progress["accepted_ms"] <= progress["stored_ms"] <= progress["shown_ms"]
        assert progress["evidence"].startswith("transcript:")

        # The answer's own way back: the agent's daemon knows that the person has it on the screen.
        async def shown_to_the_person() -> bool:
            status = await pair.bob.call("message.status", id=answer[0]["id"])
            return status["state"] == "shown"

        with trio.fail_after(10):
            while not await shown_to_the_person():
                await trio.sleep(0.05)
    assert (await mesh(pair.alice, "inbox", "--json")).document()["messages"] == []


async def test_a_session_reads_what_waits_with_its_tool_and_that_is_evidence(claude_stage: Stage, pair: Pair) -> None:
    claude_stage.api.on("any news?", ToolUse("mcp__mesh__check_messages", {}), times=1)
    async with claude_stage.headless(home_on(claude_stage, pair.bob), "--allowedTools", "mcp__mesh") as view:
        await view.is_idle()
        to = await session_address(pair.alice)
        sent = await mesh(pair.alice, "send", to, "for later", "--priority", "low", "--wait", "stored", "--json")
        message_id = str(sent.document()["id"])
        await view.say("any news?")
        told: dict[str, object] = {}

        async def state() -> str:
            told.update((await mesh(pair.alice, "message", message_id, "--json")).document())
            return str(told["state"])

        with trio.fail_after(30):
            while await state() not in ("shown", "turn_started"):
                await trio.sleep(0.1)
        recipients = told["recipients"]
        assert isinstance(recipients, list)
        assert recipients[0]["evidence"] in ("tool_result", "transcript:turn")
    assert "for later" in claude_stage.api.turns()[1].news


async def test_a_daemon_that_restarts_is_not_noticed_by_the_session(claude_stage: Stage, pair: Pair) -> None:
    claude_stage.api.rule(
        lambda request: bool(frames_in(request.news)), answer_with("mcp__mesh__send_message", "still here")
    )
    async with claude_stage.headless(home_on(claude_stage, pair.bob), "--allowedTools", "mcp__mesh") as view:
        await view.is_idle()
        to = await session_address(pair.alice)
        await pair.bob.kill()
        sent = await mesh(pair.alice, "send", to, "are you there?", "--json")
        assert sent.status == 0, sent.err
        await pair.bob.start()
        answer = (await mesh(pair.alice, "inbox", "--wait", "30", "--json")).document()["messages"]
        assert isinstance(answer, list)
        assert [row["message"] for row in answer] == ["still here"]
        turns = claude_stage.api.turns()
        assert sum(len(frames_in(turn.news)) for turn in turns) == 1, "shown exactly once"


async def test_a_session_of_the_same_machine_is_reached_without_any_broker(claude_stage: Stage) -> None:
    with short_folder() as folder:
        machine = Machine("solo", folder)
        try:
            await machine.start()
            assert (await mesh(machine, "new", "team", "--name", "ann")).status == 0
            async with claude_stage.headless(home_on(claude_stage, machine), "--allowedTools", "mcp__mesh") as view:
                await view.is_idle()
                name = view.home.project.name

                async def there() -> bool:
                    peers = (await mesh(machine, "peers", "--json")).document()["peers"]
                    assert isinstance(peers, list)
                    return any(row["to"] == f"ann/{name}" for row in peers)

                with trio.fail_after(20):
                    while not await there():
                        await trio.sleep(0.1)
                sent = await mesh(machine, "send", name, "hello", "--wait", "shown", "--timeout", "20", "--json")
                assert sent.status == 0, sent.err
                recipients = sent.document()["recipients"]
                assert isinstance(recipients, list)
                assert (recipients[0]["path"], recipients[0]["accepted_ms"]) == ("local", 0)
                assert recipients[0]["shown_ms"] >= recipients[0]["stored_ms"] > 0
                await until(lambda: bool(claude_stage.api.turns()), what="a turn", explain=view.explain)
        finally:
            await machine.stop()
