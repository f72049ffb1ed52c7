"""The real Claude Code, offline: what it tells and answers at an address of ours, and what of a hook's answer it reads."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest
import trio

from claude_harness.fake_api import ToolUse
from claude_harness.frames import frames_in
from claude_harness.registry_view import RegistryView
from claude_harness.stage import Stage
from claude_harness.waiting import until
from meshd.claude.formats import (
    ClaudeSession,
    Fate,
    HookContextSeen,
    PeerReceipt,
    PeerReply,
    PushSeen,
    reply_address,
)
from meshd.claude.frame import Sender, frame_message
from meshd.claude.hooks import HookEvent, write_context
from meshd.claude.inbox import Inboxes, Pushed
from meshd.claude.listener import Listener
from meshd.claude.marks import Mark, PushId, new_mark, new_push_id
from meshd.claude.registry import Registry
from meshd.claude.transcript import Follower, Observation, TurnStarted
from meshd.processes import ProcTable
from meshd.status import word_of

pytestmark = [pytest.mark.claude, pytest.mark.slow]

KINDS = pytest.mark.parametrize("kind", ["interactive", "headless"])
ALICE = Sender("alice", "web")
MESSAGE_ID = "7f" * 16
NAME = "0123456789abcdef"


@dataclass(slots=True)
class Address:
    """An address of ours beside one session's inbox, and what was heard there."""

    session: ClaudeSession
    uds: str
    heard: list[PeerReply | PeerReceipt] = field(default_factory=list)

    async def push(self, text: str) -> tuple[PushId, Mark]:
        push_id, mark = new_push_id(os.urandom), new_mark(os.urandom)
        framed = frame_message(ALICE, MESSAGE_ID, mark, text)
        found = await Inboxes(os.getuid(), ProcTable()).push(self.session, push_id, ALICE, framed, self.uds)
        assert found == Pushed(push_id)
        return push_id, mark


@asynccontextmanager
async def address_beside(view: RegistryView) -> AsyncIterator[Address]:
    session = Registry(view.home.config, ProcTable(), os.getuid()).session_above(view.pid)
    assert isinstance(session, ClaudeSession)
    address = Address(session, "")

    async def hear(item: PeerReply | PeerReceipt) -> None:
        address.heard.append(item)

    listener = Listener(session, os.getuid(), ProcTable(), hear)
    path = listener.path(NAME)
    assert path is not None
    address.uds = reply_address(path) or ""
    assert address.uds
    async with trio.open_nursery() as nursery:
        assert await nursery.start(partial(listener.run, path))
        yield address
        nursery.cancel_scope.cancel()


@KINDS
async def test_what_its_agent_sends_to_the_address_of_a_push_is_heard(claude_stage: Stage, kind: str) -> None:
    async with claude_stage.start(kind, claude_stage.home()) as view:
        await view.is_idle()
        async with address_beside(view) as address:
            arguments = {"to": address.uds, "summary": "answer", "message": "yes & <b>\nindeed"}
            search = {"query": "select:SendMessage", "max_results": 1}
            claude_stage.api.on("is it green", ToolUse("ToolSearch", search), times=1)
            claude_stage.api.on("Tool loaded", ToolUse("SendMessage", arguments), times=1)
            push_id, mark = await address.push("is it green?")
            await until(lambda: address.heard, what="the answer", explain=view.explain)
            (reply,) = address.heard
            assert isinstance(reply, PeerReply)
            assert reply.text == "yes & <b>\nindeed"
            turns = await until(lambda: claude_stage.api.turns()[2:], what="the turn after it", explain=view.explain)
            assert reply.msg_id in turns[0].news, "Claude told its agent that it was sent, under this id"
            (frame,) = frames_in(claude_stage.api.turns()[0].news)
            assert (frame.mark, frame.text) == (mark, "is it green?")
            follower = Follower(view.home.config, address.session.session_id, os.getuid(), from_end=False)
            seen: list[PushSeen] = []

            def written() -> bool:
                seen.extend(item for item in follower.read()[0] if isinstance(item, PushSeen))
                return bool(seen)

            await until(written, what="the push in the transcript", explain=view.explain)
            assert [item.proves(push_id, mark) for item in seen] == [True]


@KINDS
@pytest.mark.parametrize(("setting", "fate"), [("hold", Fate.HELD), ("refuse", Fate.REFUSED)])
async def test_a_session_says_there_that_it_does_not_show_a_push(
    claude_stage: Stage, kind: str, setting: str, fate: Fate
) -> None:
    async with claude_stage.start(kind, claude_stage.home(settings={"crossSessionInbound": setting})) as view:
        await view.is_idle()
        async with address_beside(view) as address:
            push_id, _ = await address.push("let me in")
            await until(lambda: address.heard, what="a receipt", explain=view.explain)
            assert address.heard == [PeerReceipt(push_id, fate)]
    assert claude_stage.api.turns() == []


async def test_what_a_hook_answers_is_read_by_the_model_and_proved_by_its_mark(claude_stage: Stage) -> None:
    marks: dict[str, Mark] = {}
    root = claude_stage.root
    for event in ("UserPromptSubmit", "PostToolUse", "Stop"):
        marks[event] = new_mark(os.urandom)
        framed = frame_message(ALICE, MESSAGE_ID, marks[event], f"told at {event}")
        (root / event).write_bytes(write_context(HookEvent(event), framed.text))
    script = root / "hook.py"
    script.write_text(
        "import json, os, sys\n"
        "event = json.load(sys.stdin)['hook_event_name']\n"
        f"path = os.path.join({str(root)!r}, event)\n"
        "if os.path.exists(path):\n"
        "    sys.stdout.write(open(path).read())\n"
        "    os.remove(path)\n"
    )
    hook = [{"hooks": [{"type": "command", "command": sys.executable, "args": [str(script)]}]}]
    home = claude_stage.home(settings={"hooks": dict.fromkeys(marks, hook)})
    claude_stage.api.on("run it", ToolUse("Bash", {"command": "echo tool-ended"}), times=1)
    async with claude_stage.headless(home, "--allowedTools", "Bash") as view:
        await view.is_idle()
        session = Registry(home.config, ProcTable(), os.getuid()).session_above(view.pid)
        assert isinstance(session, ClaudeSession)
        follower = Follower(home.config, session.session_id, os.getuid(), from_end=True)
        seen: list[Observation] = []
        await view.say("run it")

        def proved() -> bool:
            seen.extend(follower.read()[0])
            return HookContextSeen((marks["Stop"],)) in seen and isinstance(seen[-1], TurnStarted)

        await until(proved, what="all three in the transcript", explain=lambda: f"{seen} {view.explain()}")
        await view.is_idle()
    assert [item for item in seen if isinstance(item, HookContextSeen)] == [
        HookContextSeen((marks[event],)) for event in ("UserPromptSubmit", "PostToolUse", "Stop")
    ]
    turns = [[frame.text for frame in frames_in(turn.news)] for turn in claude_stage.api.turns()]
    assert turns == [["told at UserPromptSubmit"], ["told at PostToolUse"], ["told at Stop"]]


async def test_what_an_async_hook_answers_comes_with_the_next_request(claude_stage: Stage) -> None:
    mark = new_mark(os.urandom)
    answer = claude_stage.root / "answer"
    answer.write_bytes(write_context(HookEvent("PostToolUse"), frame_message(ALICE, MESSAGE_ID, mark, "later").text))
    command = {"type": "command", "command": "/bin/cat", "args": [str(answer)], "async": True}
    home = claude_stage.home(settings={"hooks": {"PostToolUse": [{"matcher": "Bash", "hooks": [command]}]}})
    claude_stage.api.on("run it", ToolUse("Bash", {"command": "echo one"}), times=1)
    claude_stage.api.on("one", ToolUse("Bash", {"command": "sleep 1; echo two"}), times=1)
    async with claude_stage.headless(home, "--allowedTools", "Bash") as view:
        await view.is_idle()
        session = Registry(home.config, ProcTable(), os.getuid()).session_above(view.pid)
        assert isinstance(session, ClaudeSession)
        follower = Follower(home.config, session.session_id, os.getuid(), from_end=True)
        await view.say("run it")
        seen: list[Observation] = []

        def proved() -> bool:
            seen.extend(follower.read()[0])
            return HookContextSeen((mark,)) in seen

        await until(proved, what="it in the transcript", explain=lambda: f"{seen} {view.explain()}")
        await view.results(1)
    assert any("later" in [frame.text for frame in frames_in(turn.news)] for turn in claude_stage.api.turns())


async def test_a_permission_prompt_is_registered_as_waiting(claude_stage: Stage) -> None:
    claude_stage.api.on("run it", ToolUse("Bash", {"command": "touch forbidden"}), times=1)
    async with claude_stage.interactive(claude_stage.home(), "--permission-mode", "manual") as view:
        await view.is_idle()
        await view.say("run it")
        await view.shows("Do you want to proceed?")
        word = await until(lambda: (view.entry() or {}).get("status") == "waiting", what="a waiting session")
        assert word
        assert word_of("waiting") == "waiting"
