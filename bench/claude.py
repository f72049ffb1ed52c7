"""The real Claude Code, offline: what our hooks add to a turn, and how long a message takes into a conversation.

Three sessions take the same turns in rotation: one without hooks, one whose hooks only start Python, one with ours. So
what Claude Code itself spends on a hook is in both, and the ratio says what ours do beyond a start of the interpreter.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import trio

from bench.figures import Figure
from bench.install import ROOT, environment
from bench.machines import Program, ask, connect, start_daemon
from mesh_protocol.wire.codec import JsonValue

sys.path.insert(0, str(ROOT / "tests" / "e2e"))  # the harness that runs the binary offline

from claude_harness.binary import BinaryUnavailable, find_binary
from claude_harness.fake_api import ToolUse
from claude_harness.home import Home
from claude_harness.namespace import open_place
from claude_harness.session import HeadlessSession
from claude_harness.stage import Stage, open_stage, short_folder
from claude_harness.waiting import until

TURNS: Final = 30
WARM: Final = 3
SESSIONS: Final = 3
MESSAGES: Final = 5
"""To one session: of the sixth in a minute the daemon would make a digest."""
HOOKS_LIMIT: Final = 2.0
TEXT: Final = b"The build is green since noon; 412 tests, none skipped. Shall I merge?"
UNTIL_GO: Final = "while [ ! -e go ]; do sleep 0.01; done; rm go; echo tool-ended"
STEP_S: Final = 0.001


def measure_claude(bin_folder: Path) -> list[Figure]:
    """Nothing where the binary cannot be had."""
    try:
        binary = find_binary()
    except BinaryUnavailable as error:
        print(f"not measured: {error} … ", end="", flush=True)
        return []
    return trio.run(_measure, binary, bin_folder)


async def _measure(binary: Path, bin_folder: Path) -> list[Figure]:
    with short_folder() as folder, open_place() as place:
        daemon = start_daemon(bin_folder, folder)
        try:
            with connect(folder) as client:
                ask(client, "mesh.new", {"name": "team", "me": "ann"})
            async with open_stage(binary, place) as stage:
                return [*await _hooks(stage, bin_folder, folder), *await _messages(stage, bin_folder, folder, daemon)]
        finally:
            daemon.stop()


# What hooks add to a turn.


async def _hooks(stage: Stage, bin_folder: Path, folder: Path) -> list[Figure]:
    python = str(bin_folder / "python")
    bare = {"type": "command", "command": python, "args": ["-I", "-S", "-c", "pass"]}
    changes: Mapping[str, Callable[[dict[str, object]], dict[str, object]]] = {
        "none": lambda handler: {},
        "bare": lambda handler: {**handler, **bare},
        "ours": lambda handler: handler,
    }
    stage.api.rule(
        lambda request: "go on" in request.news and "tool-ended" not in request.news,
        lambda request: (ToolUse("Bash", {"command": "echo tool-ended"}),),
    )
    taken: dict[str, list[float]] = {name: [] for name in changes}
    async with AsyncExitStack() as stack:
        sessions: dict[str, HeadlessSession] = {}
        for name, change in changes.items():
            home = await _installed(stage, name, bin_folder, folder)
            _change_hooks(home, change)
            sessions[name] = await stack.enter_async_context(stage.headless(home, "--allowedTools", "Bash"))
            await sessions[name].is_idle()
        for number in range(WARM + TURNS):
            for step in range(len(changes)):
                name = [*changes][(number + step) % len(changes)]
                seconds = await _turn(sessions[name])
                if number >= WARM:
                    taken[name].append(seconds)
    turn = {name: median(each) * 1000 for name, each in taken.items()}
    return [
        Figure(
            "hooks of one turn",
            turn["ours"] - turn["none"],
            "ms",
            turn["bare"] - turn["none"],
            "hooks that start python3 -I -S",
            HOOKS_LIMIT,
            note=f"a turn with one tool takes {turn['none']:.0f} ms without hooks; two of the three are waited for",
        )
    ]


def _change_hooks(home: Home, change: Callable[[dict[str, object]], dict[str, object]]) -> None:
    """Each handler that the install wrote is what `change` makes of it; empty for none."""
    path = home.config / "settings.json"
    settings = json.loads(path.read_bytes())
    for groups in settings["hooks"].values():
        for group in groups:
            group["hooks"] = [changed for handler in group["hooks"] if (changed := change(handler))]
    path.write_text(json.dumps(settings), encoding="utf-8")


async def _turn(session: HeadlessSession) -> float:
    """Seconds from the prompt to the result."""
    before = _results(session)
    began = trio.current_time()
    await session.say("go on")
    with trio.fail_after(60):
        while _results(session) == before:
            await trio.sleep(STEP_S)
    return trio.current_time() - began


def _results(session: HeadlessSession) -> int:
    return sum(event.get("type") == "result" for event in session.events)


# How long a message takes.


async def _messages(stage: Stage, bin_folder: Path, folder: Path, daemon: Program) -> list[Figure]:
    stage.api.on("start the long tool", ToolUse("Bash", {"command": UNTIL_GO}))
    idle: list[float] = []
    asked: list[float] = []
    busy: list[float] = []
    resumed: list[float] = []
    for number in range(SESSIONS):
        home = await _installed(stage, f"m{number}", bin_folder, folder)
        async with stage.headless(home, "--allowedTools", "Bash") as session:
            await session.is_idle()
            await until(partial(_is_known, folder), what="the daemon to know the session")
            for _ in range(MESSAGES):
                took, seen = await _to_idle(stage, session, folder)
                idle.append(took)
                asked.append(seen)
            for _ in range(MESSAGES):
                took, seen = await _to_busy(stage, session, folder, home)
                busy.append(took)
                resumed.append(seen)
        await until(lambda: not _is_known(folder), what="the daemon to see its end")
    note = "the transcript is read 20 times a second while something is expected"
    return [
        _figure("message to an idle session, proved", idle, asked, "until the model is asked", note),
        _figure(
            "message to a busy session, proved, from the tool's end", busy, resumed, "until the model is asked", ""
        ),
    ]


def _figure(name: str, values: Sequence[float], baseline: Sequence[float], against: str, note: str) -> Figure:
    return Figure(name, median(values) * 1000, "ms", median(baseline) * 1000, against, note=note)


def _is_known(folder: Path) -> bool:
    with connect(folder) as client:
        return bool(ask(client, "session.list")["sessions"])


def _send(folder: Path, priority: str) -> None:
    """Returns when the daemon has the proof that the session was shown the message."""
    with connect(folder) as client:
        wanted: dict[str, JsonValue] = {"to": "proj", "priority": priority, "wait": "shown", "timeout": 30.0}
        answer = ask(client, "message.send", wanted, TEXT)
    if not answer["reached"]:
        raise RuntimeError(f"a message was not shown in time: {answer['state']!r}")


async def _to_idle(stage: Stage, session: HeadlessSession, folder: Path) -> tuple[float, float]:
    """Seconds from sending to its proof, and to the request that carries it."""
    turns = len(stage.api.turns())
    before = _results(session)
    began = trio.current_time()
    await trio.to_thread.run_sync(_send, folder, "next")
    took = trio.current_time() - began
    await until(lambda: _results(session) > before, what="the end of its turn", explain=session.explain)
    await session.is_idle()
    return took, stage.api.turns()[turns].at - began


async def _to_busy(stage: Stage, session: HeadlessSession, folder: Path, home: Home) -> tuple[float, float]:
    """Seconds from the end of the running tool to its proof, and to the request that carries it."""
    before, turns = _results(session), len(stage.api.turns())
    await session.say("start the long tool")
    await until(lambda: len(stage.api.turns()) > turns, what="a turn", explain=session.explain)
    queued = len(_queued(session))
    times: list[float] = []

    async def send() -> None:
        await trio.to_thread.run_sync(_send, folder, "now")
        times.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await until(lambda: len(_queued(session)) > queued, what="the message queued", explain=session.explain)
        ended = trio.current_time()
        (home.project / "go").touch()
    await until(lambda: _results(session) > before, what="the end of the turn", explain=session.explain)
    await session.is_idle()
    return times[0] - ended, stage.api.turns()[turns + 1].at - ended


def _queued(session: HeadlessSession) -> list[Mapping[str, object]]:
    return [line for line in session.transcript() if line.get("operation") == "enqueue"]


async def _installed(stage: Stage, name: str, bin_folder: Path, folder: Path) -> Home:
    """A home in which `mesh install` was run."""
    home = stage.home(name)
    env = {**environment(folder), "HOME": str(home.path)}
    command = [str(bin_folder / "mesh"), "install", "--yes", "--no-service"]
    await trio.run_process(command, env=env, stdin=b"", capture_stdout=True, capture_stderr=True)
    return home
