"""The real Claude Code through what happens to sessions: resumed, cleared, compacted, forked, two in a folder, killed."""

import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from claude_harness.frames import answer_with, frames_in
from claude_harness.registry_view import RegistryView, read_lines
from claude_harness.settled import Settled, eventually
from claude_harness.stage import Stage, short_folder
from claude_harness.waiting import until
from machines.machine import Machine, running
from machines.pair import open_pair

pytestmark = [pytest.mark.claude, pytest.mark.slow]

KINDS = pytest.mark.parametrize("kind", ["interactive", "headless"])
TOOLS = ("--allowedTools", "mcp__mesh", "Bash")


def id_of(view: RegistryView) -> str:
    entry = view.entry()
    assert entry is not None
    return str(entry["sessionId"])


@KINDS
async def test_a_resumed_session_gets_what_came_while_it_was_away(
    claude_stage: Stage, settled: Settled, kind: str
) -> None:
    home = await settled.home()
    async with claude_stage.start(kind, home, *TOOLS) as view:
        await view.is_idle()
        await settled.until_named("proj")
        first = await settled.send("proj", "before")
        await settled.until_shown(first)
        await view.is_idle()
        session_id = id_of(view)
    await settled.until_named()
    away = await settled.send("proj", "while away")
    assert (await settled.progress(away))["state"] == "stored"
    async with claude_stage.start(kind, home, "--resume", session_id, *TOOLS) as view:
        await settled.until_shown(away)
        await settled.until_named("proj")
        assert id_of(view) == session_id
        assert (await settled.row())["rung"] == "inbox"
        await settled.until_told("before", "while away")


@KINDS
async def test_after_a_clear_the_same_session_is_reached_under_its_name(
    claude_stage: Stage, settled: Settled, kind: str
) -> None:
    async with claude_stage.start(kind, await settled.home(), *TOOLS) as view:
        await view.is_idle()
        await settled.until_named("proj")
        await view.say("hello")
        await until(lambda: claude_stage.api.turns(), what="a turn", explain=view.explain)
        await view.is_idle()
        before = id_of(view)
        await view.say("/clear")
        await until(lambda: (view.entry() or {}).get("sessionId") not in (before, None), what="another id")
        await view.is_idle()
        sent = await settled.send("proj", "after the clear")
        assert (await settled.until_shown(sent))["evidence"].startswith("transcript:")
        await settled.until_named("proj")
        again = await settled.send("proj", "and once more")
        await settled.until_shown(again)
        await settled.until_told("after the clear", "and once more")


@KINDS
async def test_after_a_compaction_messages_are_shown_and_proved(
    claude_stage: Stage, settled: Settled, kind: str
) -> None:
    async with claude_stage.start(kind, await settled.home(), *TOOLS) as view:
        await view.is_idle()
        await settled.until_named("proj")
        first = await settled.send("proj", "before")
        await settled.until_shown(first)
        await view.is_idle()
        await view.say("/compact")
        await until(lambda: "compact_boundary" in str(view.transcript()), what="a compaction", explain=view.explain)
        await view.is_idle()
        sent = await settled.send("proj", "after the compaction")
        await settled.until_shown(sent)
        assert (await settled.row())["trouble"] == ""
        await settled.until_told("after the compaction", last=True)


async def test_a_fork_is_a_session_of_its_own_beside_the_one_it_came_from(
    claude_stage: Stage, settled: Settled
) -> None:
    home = await settled.home()
    async with claude_stage.headless(home, *TOOLS) as first:
        await first.is_idle()
        await first.say("hello")
        await first.results(1)
        await first.is_idle()
        async with claude_stage.headless(home, "--resume", id_of(first), "--fork-session", *TOOLS) as fork:
            await settled.until_named("proj", "proj-2")
            to_first = await settled.send("proj", "for the first")
            to_fork = await settled.send("proj-2", "for the fork")
            await settled.until_shown(to_first)
            await settled.until_shown(to_fork)
            assert id_of(first) != id_of(fork)
            found = {view.pid: own_texts(view) for view in (first, fork)}
    assert found == {first.pid: ["for the first"], fork.pid: ["for the fork"]}


def own_texts(view: RegistryView) -> list[str]:
    """The peers' texts that came into this session's conversation."""
    (path,) = view.home.config.glob(f"projects/*/{id_of(view)}.jsonl")
    origins = [line.get("origin") for line in read_lines(path)]
    bodies = [str(origin.get("body", "")) for origin in origins if isinstance(origin, dict)]
    return [frame.text for body in bodies for frame in frames_in(body)]


async def run_git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=ann", "-c", "user.email=ann@example.org")
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    await trio.run_process(["git", *who, *words], cwd=folder, env=env, capture_stdout=True)


async def test_two_sessions_in_one_folder_get_their_own_messages(claude_stage: Stage, settled: Settled) -> None:
    home = await settled.home()
    async with claude_stage.headless(home, *TOOLS) as one:
        await settled.until_named("proj")
        async with claude_stage.headless(home, *TOOLS) as two:
            await settled.until_named("proj", "proj-2")
            await one.is_idle()
            await two.is_idle()
            for name in ("proj", "proj-2", "proj"):
                await settled.until_shown(await settled.send(name, f"for {name}"))
            found = [own_texts(one), own_texts(two)]
    assert found == [["for proj", "for proj"], ["for proj-2"]]


async def test_a_worktree_is_a_session_of_its_own(claude_stage: Stage, settled: Settled) -> None:
    home = await settled.home()
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        await run_git(home.project, *words)
    async with claude_stage.headless(home, "--worktree", "side", *TOOLS) as view:
        await view.is_idle()
        await settled.until_named("side")
        sent = await settled.send("side", "over here")
        await settled.until_shown(sent)
        await settled.until_told("over here")


async def test_three_machines_talk_and_every_session_answers_for_itself(claude_stage: Stage) -> None:
    for name in ("bob", "carol"):
        claude_stage.api.rule(
            lambda request: bool(frames_in(request.news)),
            answer_with("mcp__mesh__send_message", f"{name} here"),
            agent=name,
        )
    with short_folder() as folder:
        async with open_pair(folder) as pair, AsyncExitStack() as stack:
            carol = Machine("carol", folder)
            await stack.enter_async_context(running(carol))
            invite = await pair.alice.call("mesh.invite", mesh="team")
            await carol.call("mesh.join", url=invite["url"], me="carol", wait_s=20.0)
            for machine in (pair.bob, carol):
                home = await Settled(claude_stage, machine).home(machine.name)
                view = await stack.enter_async_context(claude_stage.headless(home, *TOOLS))
                await view.is_idle()
            wanted = {"bob/proj", "carol/proj"}

            async def peers() -> set[str]:
                rows = (await pair.alice.call("peer.list"))["peers"]
                return {str(row["to"]) for row in rows} & wanted

            async def all_there() -> bool:
                return await peers() == wanted

            await eventually(all_there, what="both sessions", explain=peers)
            await pair.alice.call("message.send", text="who is there?", to=sorted(wanted))

            async def answers() -> list[tuple[str, str]]:
                rows = (await pair.alice.call("inbox.read", all=True))["messages"]
                return sorted((str(row["sender"]), str(row["message"])) for row in rows)

            async def both() -> bool:
                return len(await answers()) == 2

            await eventually(both, what="both answers", explain=answers)
            assert await answers() == [("bob/proj", "bob here"), ("carol/proj", "carol here")]


@KINDS
async def test_a_session_that_is_killed_is_gone_and_gets_its_message_when_it_comes_back(
    claude_stage: Stage, settled: Settled, kind: str
) -> None:
    home = await settled.home()
    async with claude_stage.start(kind, home, *TOOLS) as view:
        await view.is_idle()
        await settled.until_named("proj")
        await view.say("hello")
        await until(
            # Before that Claude may have written nothing that it could be resumed with.
            lambda: any(line.get("type") == "assistant" for line in view.transcript()),
            what="an answer in the transcript",
            explain=view.explain,
        )
        await view.is_idle()
        session_id = id_of(view)
        os.kill(view.pid, signal.SIGKILL)
        await settled.until_named()
        sent = await settled.send("proj", "are you well?")
        assert (await settled.progress(sent))["state"] == "stored"
    async with claude_stage.start(kind, home, "--resume", session_id, *TOOLS):
        await settled.until_shown(sent)
        await settled.until_told("are you well?")
