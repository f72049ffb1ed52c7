"""The real Claude Code through a real daemon's proxy: byte for byte both ways, and accounted for."""

import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import trio

from claude_harness.fake_api import FakeApi, Request, Text, ToolUse, serve
from claude_harness.home import Home as ClaudeHome
from claude_harness.home import seed_home
from claude_harness.namespace import Place
from claude_harness.screen import InteractiveSession, interactive
from claude_harness.session import HeadlessSession, headless
from claude_harness.stage import short_folder
from claude_harness.waiting import alongside, until
from homes import Home, open_home
from test_documented_keys import documented, require_keys

pytestmark = pytest.mark.claude

SECONDS = 60.0


@dataclass(eq=False)
class Tap:
    """Splices connections from a listener to a port, and keeps what each has said: (up, down)."""

    to: int
    kept: list[tuple[bytearray, bytearray]] = field(default_factory=list)

    async def run(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        accepting = trio.SocketListener(trio.socket.from_stdlib_socket(listener.dup()))
        async with accepting:
            await trio.serve_listeners(self._splice, [accepting])

    async def _splice(self, near: trio.SocketStream) -> None:
        up, down = bytearray(), bytearray()
        self.kept.append((up, down))
        try:
            far = await trio.open_tcp_stream("127.0.0.1", self.to)
        except OSError:
            await near.aclose()
            return
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(_pump, near, far, up, nursery.cancel_scope)
            nursery.start_soon(_pump, far, near, down, nursery.cancel_scope)


async def _pump(source: trio.SocketStream, sink: trio.SocketStream, kept: bytearray, scope: trio.CancelScope) -> None:
    try:
        while data := await source.receive_some(65536):
            kept += data
            await sink.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    scope.cancel()


@dataclass(eq=False)
class ProxyStage:
    """Claude, the tap before the proxy, the daemon, the tap behind it, and the scripted API."""

    binary: Path
    place: Place
    root: Path
    api: FakeApi
    daemon: Home
    url: str
    before: Tap
    behind: Tap
    port_behind: int

    def home(self, name: str = "a") -> ClaudeHome:
        return seed_home(self.root / name)

    def headless(
        self, home: ClaudeHome, *args: str, env: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[HeadlessSession]:
        return headless(self.binary, self.place, home, self.url, *args, env=env)

    def interactive(
        self, home: ClaudeHome, *args: str, env: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[InteractiveSession]:
        return interactive(self.binary, self.place, home, self.url, *args, env=env)

    async def asked(self, *arguments: str) -> dict:
        """The document that a command of the daemon's machine prints."""
        return await trio.to_thread.run_sync(lambda: self.daemon.json(*arguments))

    async def usage(self, *arguments: str, requests: int) -> dict:
        """`mesh usage`, once all that the API was asked is in it."""
        with trio.fail_after(SECONDS):
            while True:
                told = await self.asked("usage", *arguments)
                if told["requests"] >= requests:
                    return told
                await trio.sleep(0.1)

    def compare(self) -> None:
        """What the API heard is what Claude said, and what Claude heard is what the API said, connection by connection."""
        path = "/px/" + self.url.rpartition("/")[2]
        said = Counter(
            bytes(up)
            .replace(f" {path}/".encode(), b" /")
            .replace(b"Host: 127.0.0.1:%d\r\n" % self.place.port, b"Host: 127.0.0.1:%d\r\n" % self.port_behind)
            for up, _ in self.before.kept
            if up
        )
        assert said == Counter(bytes(up) for up, _ in self.behind.kept if up)
        assert Counter(bytes(down) for _, down in self.before.kept if down) == Counter(
            bytes(down) for _, down in self.behind.kept if down
        )
        assert sum(said.values()) > 0
        assert path.encode() not in b"".join(bytes(up) for up, _ in self.behind.kept)


@pytest.fixture
async def stage(claude_binary: Path, claude_place: Place) -> AsyncIterator[ProxyStage]:
    if not claude_place.isolated:
        pytest.skip("no network namespace may be made here")
    async with open_proxy_stage(claude_binary, claude_place) as opened:
        yield opened


@asynccontextmanager
async def open_proxy_stage(binary: Path, place: Place) -> AsyncIterator[ProxyStage]:
    """The daemon listens on the host on the same port as the tap in Claude's own network, so that its Host is right."""
    with (
        short_folder() as root,
        socket.create_server(("127.0.0.1", 0)) as behind_listener,
        socket.create_server(("127.0.0.1", 0)) as api_listener,
        open_home(root, "mesh") as daemon,
    ):
        async with serve(api_listener) as api:
            before, behind = Tap(place.port), Tap(api.port)
            port_behind = behind_listener.getsockname()[1]
            turn_on = partial(
                daemon.json,
                *("proxy", "on", "--upstream", f"http://127.0.0.1:{port_behind}", "--port", str(place.port)),
            )
            url = (await trio.to_thread.run_sync(turn_on))["url"]
            async with (
                alongside(partial(before.run, place.listener)),
                alongside(partial(behind.run, behind_listener)),
            ):
                yield ProxyStage(binary, place, root, api, daemon, url, before, behind, port_behind)


def used(api: FakeApi, path: str = "/v1/messages") -> list[Request]:
    return [request for request in api.log if request.path == path]


async def test_a_headless_session_with_tools_and_resume(stage: ProxyStage) -> None:
    api, home = stage.api, stage.home()
    api.on("count", ToolUse("Bash", {"command": "echo $((40 + 2))"}), times=1)
    api.on("42", Text("it said 42"))
    api.on("again", Text("once more"))
    async with stage.headless(home, "--allowedTools", "Bash") as session:
        await session.say("count")
        (result,) = await session.results(1)
    assert result["result"] == "it said 42"
    async with stage.headless(home, "--resume", str(result["session_id"])) as session:
        await session.say("again")
        (second,) = await session.results(1)
    assert second["result"] == "once more"
    stage.compare()
    session_id = str(result["session_id"])
    total = await stage.usage(requests=len(used(api)))
    assert (total["requests"], total["partial"], total["unaccounted"], total["failed"]) == (len(used(api)), 0, 0, 0)
    assert total["input_tokens"] == 10 * total["requests"]
    assert total["output_tokens"] == 5 * total["requests"]
    told = await stage.asked("conversation", session_id)
    turns = [turn for turn in told["turns"] if turn["kind"] == "turn" and turn["branch"] == "main"]
    assert len(turns) == 3, told["turns"]
    require_keys(told, documented()["conversation"], "conversation")
    assert [turn["parent"] for turn in turns] == [0, turns[0]["row"], turns[1]["row"]]
    assert turns[0]["tools"] == ["Bash"]
    assert all(turn["request_id"].startswith("req_") and 0 < turn["first_byte"] <= turn["total"] for turn in turns)


async def test_the_transcripts_tell_the_same_as_the_proxy(stage: ProxyStage) -> None:
    """Held against the record of the daemon it passed, and as the only source of another one."""
    api, home = stage.api, stage.home()
    api.on("count", ToolUse("Bash", {"command": "echo $((40 + 2))"}), times=1)
    api.on("42", Text("it said 42"))
    async with stage.headless(home, "--allowedTools", "Bash") as session:
        await session.say("count")
        (result,) = await session.results(1)
    await stage.usage(requests=len(used(api)))
    stage.daemon.environ["CLAUDE_CONFIG_DIR"] = str(home.config)
    read = 0
    with trio.fail_after(SECONDS):  # a message counts when it is ten seconds old
        while (read := read + (await stage.asked("usage", "import"))["messages"]) < 2:
            await trio.sleep(0.5)
    told = await stage.asked("usage", "reconcile")
    assert (told["difference"], sum(day["only_transcripts"] for day in told["days"])) == (0, 0)
    assert sum(day["both"] for day in told["days"]) == 2
    by_session = await stage.asked("usage", "--by", "session")
    assert {row["key"] for row in by_session["rows"]} == {result["session_id"]}
    with open_home(stage.root, "other") as other:
        other.environ["CLAUDE_CONFIG_DIR"] = str(home.config)
        taken = await trio.to_thread.run_sync(lambda: other.json("usage", "import"))
        assert (taken["messages"], taken["added"]) == (2, 2)
        alone = await trio.to_thread.run_sync(lambda: other.json("conversation", str(result["session_id"])))
    proxied = await stage.asked("conversation", str(result["session_id"]))
    turns = [turn for turn in proxied["turns"] if turn["kind"] == "turn" and turn["branch"] == "main"]
    same = ("model", "stop_reason", "tools", "input_tokens", "output_tokens", "cost_usd", "request_id")
    assert [[turn[name] for name in same] for turn in alone["turns"]] == [
        [turn[name] for name in same] for turn in turns
    ]


async def test_an_interactive_session_and_its_compaction(stage: ProxyStage) -> None:
    api, home = stage.api, stage.home()
    api.on("hello", Text("good morning"), times=1)
    api.on("Your task is to create a detailed summary", Text("<summary>they said hello</summary>"))
    api.on("and now", Text("after the compaction"))
    async with stage.interactive(home) as session:
        await session.is_idle()
        await session.say("hello there")
        await session.shows("good morning")
        await session.say("/compact")
        await session.shows("ompacted", seconds=SECONDS)
        await session.say("and now")
        await session.shows("after the compaction", seconds=SECONDS)
        entry = session.entry()
    assert entry is not None
    stage.compare()
    await stage.usage(requests=len(used(api)))
    told = await stage.asked("conversation", str(entry["sessionId"]))
    branches = {row["branch"] for row in told["threads"] if not row["agent"]}
    assert "main" in branches
    assert any(branch.startswith("compact_") for branch in branches), told["threads"]
    (summary,) = [turn for turn in told["turns"] if turn["kind"] == "summary"]
    first = next(turn for turn in told["turns"] if turn["kind"] == "turn")
    assert summary["parent"] == first["row"]
    (compact,) = [row for row in told["threads"] if row["branch"].startswith("compact_")]
    assert compact["origin"] == summary["row"]


async def test_what_is_no_turn_passes_as_it_is(stage: ProxyStage) -> None:
    """The probe of the API, its list of models, and tokens that are counted: none of it is a use of tokens."""
    api, home = stage.api, stage.home()
    api.on("hello", Text("good morning"))
    # With what it calls non-essential: the probe is a part of that.
    asking = {"CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": ""}
    async with stage.interactive(home, env=asking) as session:
        await session.is_idle()
        await session.say("hello")
        await session.shows("good morning")
        await session.say("/context")
        await until(lambda: used(api, "/v1/messages/count_tokens"), what="a count", seconds=SECONDS)
        await until(lambda: used(api, "/v1/models"), what="the list of models", seconds=SECONDS)
        await session.is_idle()
    stage.compare()
    assert any(b"HEAD /api/hello HTTP/1.1\r\n" in up for up, _ in stage.behind.kept), "the probe"
    total = await stage.usage("--by", "kind", requests=len(api.log))
    kinds = {row["key"]: row for row in total["rows"]}
    assert kinds["count"]["requests"] == len(used(api, "/v1/messages/count_tokens"))
    assert kinds["count"]["input_tokens"] == kinds["other"]["input_tokens"] == 0
    assert total["input_tokens"] == 10 * len(used(api))


async def test_what_was_said_is_stored_where_it_was_asked_for_and_deleted(stage: ProxyStage) -> None:
    api, home = stage.api, stage.home()
    api.on("hello", Text("good morning to you"))
    await stage.asked("proxy", "on", "--store", "bodies")
    async with stage.headless(home) as session:
        await session.say("hello there")
        (result,) = await session.results(1)
    stage.compare()
    await stage.usage(requests=len(used(api)))
    with trio.fail_after(SECONDS):
        while (await stage.asked("proxy", "status"))["stored_requests"] < len(used(api)):
            await trio.sleep(0.1)
    told = await stage.asked("conversation", str(result["session_id"]), "--bodies")
    (turn,) = [each for each in told["turns"] if each["kind"] == "turn" and each["branch"] == "main"]
    assert json.loads(turn["request"]) == api.turns()[0].body
    assert "good morning to you" in turn["answer"]
    shown = await trio.to_thread.run_sync(
        lambda: stage.daemon.run("conversation", str(result["session_id"]), "--bodies").stdout
    )
    assert "> hello there" in shown
    assert "< good morning to you" in shown
    said = (b"good morning to you", b"hello there")
    assert not [
        path for path in stage.daemon.data.rglob("*") if path.is_file() and any(map(path.read_bytes().count, said))
    ]
    assert (await stage.asked("proxy", "forget"))["bodies"] == len(used(api))
    assert (await stage.asked("conversation", str(result["session_id"]), "--bodies"))["turns"][0]["request"] == ""


async def test_sub_agents_are_told_apart_by_their_ids(stage: ProxyStage) -> None:
    api, home = stage.api, stage.home()
    task: Mapping[str, str] = {
        "description": "look around",
        "prompt": "look under the carpet",
        "subagent_type": "general-purpose",
    }
    api.rule(lambda request: "please delegate" in request.news, lambda request: [ToolUse("Task", task)], times=1)
    api.on("look under the carpet", Text("dust"), times=1)
    api.on("dust", Text("there is dust"))
    async with stage.headless(home, "--allowedTools", "Task") as session:
        await session.say("please delegate")
        (result,) = await session.results(1, seconds=SECONDS)
    stage.compare()
    await stage.usage(requests=len(used(api)))
    told = await stage.asked("conversation", str(result["session_id"]))
    agents = {row["agent"] for row in told["threads"]}
    assert "" in agents
    assert len(agents) == 2, told["threads"]
    assert not any(row["guessed"] for row in told["threads"])
    by_agent = await stage.asked("usage", "--by", "agent")
    assert {row["key"] for row in by_agent["rows"]} == agents


async def test_a_login_goes_through_untouched(stage: ProxyStage) -> None:
    api, home = stage.api, stage.home()
    api.on("hello", Text("good morning"))
    login = {"ANTHROPIC_API_KEY": "", "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-not-a-real-one"}
    async with stage.headless(home, env=login) as session:
        await session.say("hello")
        (result,) = await session.results(1)
    assert result["result"] == "good morning"
    stage.compare()
    assert {request.headers.get("authorization") for request in used(api)} == {"Bearer sk-ant-oat01-not-a-real-one"}
    await stage.usage(requests=len(used(api)))
    (account,) = (await stage.asked("usage", "--by", "account"))["rows"]
    assert account["key"]
    secrets: Sequence[bytes] = [b"not-a-real-one", stage.url.rpartition("/")[2].encode(), b"good morning"]
    for path in stage.daemon.data.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret in content], path


async def test_a_session_whose_daemon_is_killed_goes_on_with_the_next(stage: ProxyStage) -> None:
    api, home = stage.api, stage.home()
    gate = trio.Event()
    api.on("slowly", Text("at last"), gate=gate)
    async with stage.headless(home) as session:
        await session.say("slowly")
        await until(lambda: bool(api.turns()), what="the turn at the API", seconds=SECONDS)
        await trio.to_thread.run_sync(stage.daemon.kill)
        gate.set()
        status = await stage.asked("proxy", "status")
        assert (status["state"], status["port"]) == ("on", stage.place.port)
        (result,) = await session.results(1, seconds=SECONDS)
    assert result["result"] == "at last"
    total = await stage.usage("--by", "kind", requests=1)
    assert total["failed"] == 0
    assert json.dumps(total)


async def test_a_session_over_its_budget_waits_for_its_person(stage: ProxyStage) -> None:
    api, home = stage.api, stage.home()
    api.on("hello", Text("good morning"))
    await stage.asked("budget", "set", "0", "--per", "session")
    async with stage.headless(home) as session:
        await session.say("hello")
        with trio.fail_after(SECONDS):
            while not (held := (await stage.asked("budget"))["held"]):
                await trio.sleep(0.2)
        assert api.turns() == []
        doctor = (await stage.asked("doctor"))["checks"]
        assert "mesh budget allow 1" in next(each["fix"] for each in doctor if each["name"] == "budget")
        allowed = await stage.asked("budget", "allow", "1", "--more", "5")
        (result,) = await session.results(1, seconds=SECONDS)
    assert result["result"] == "good morning"
    assert allowed["to"] == [result["session_id"]] == [each["session"] for each in held[:1]]
    stage.compare()


def test_launch_gives_a_session_the_proxy(tmp_path: Path) -> None:
    """A stand-in for Claude Code says what it was given."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "claude").write_text('#!/bin/sh\necho "base $ANTHROPIC_BASE_URL"\n')
    (programs / "claude").chmod(0o755)
    with open_home(tmp_path, "ann") as ann:
        ann.environ["PATH"] = f"{programs}:{ann.environ['PATH']}"
        refused = ann.run("launch", "--yes", "--proxy")
        assert refused.returncode == 1
        assert "mesh proxy on" in refused.stderr
        url = ann.json("proxy", "on")["url"]
        assert f"base {url}\n" in ann.run("launch", "--yes", "--proxy").stdout
        assert "base \n" in ann.run("launch", "--yes").stdout
