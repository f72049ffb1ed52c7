"""The daemon's MCP server, line by line and with the MCP SDK's own client at the other end."""

import json

import pytest
import trio

from mcp import Client
from mcp_kit.session import MARK, SENT, Daemon, Lines, always_sent, call, request, sdk_transport, text_of
from mesh_protocol.op import Answer, Operation, Request
from mesh_protocol.ops.messages import InboxAnswer, InboxRow, Send
from mesh_protocol.ops.peers import PeersAnswer, PresenceAnswer
from mesh_protocol.wire.errors import MeshError
from meshd.mcp.server import MAX_CALLS, REVISIONS, McpServer, ToolCall

TOOLS = {
    "send_message",
    "list_peers",
    "message_status",
    "check_messages",
    "set_summary",
    "set_status",
    "set_visible",
    "set_profile",
    "join_group",
    "leave_group",
}
PRESENCE = PresenceAnswer(to="bob/web", status="idle", summary="tests", visible=True)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdks_client_finds_the_tools_and_calls_them(mode: str) -> None:
    daemon = Daemon(always_sent)
    async with Client(sdk_transport(daemon), mode=mode) as client:
        with trio.fail_after(20):
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            result = await client.call_tool("send_message", {"to": ["bob/web", "alice"], "message": "hello"})
    assert set(tools) == TOOLS
    assert tools["send_message"].input_schema["required"] == ["to", "message"]
    assert tools["list_peers"].annotations.read_only_hint is True
    assert not result.is_error
    assert '"id":"aabbccdd00112233"' in result.content[0].text
    method, sent, _ = daemon.calls[0]
    assert method == "message.send"
    assert sent == Send(to=["bob/web", "alice"], message="hello")


async def test_the_sdks_client_sees_a_refusal_as_a_tool_error() -> None:
    async def refuse(operation: Operation, request: Request) -> Answer:
        raise MeshError("unknown_recipient", target="bbo", candidates=["bob", "alice"])

    async with Client(sdk_transport(Daemon(refuse))) as client:
        with trio.fail_after(20):
            result = await client.call_tool("send_message", {"to": "bbo", "message": "hello"})
    assert result.is_error
    assert result.content[0].text == "unknown_recipient: nobody here is called bbo; there are: bob, alice"


async def test_the_sdks_client_is_told_that_the_tools_changed() -> None:
    heard: list[str] = []
    arrived = trio.Event()

    async def remember(message: object) -> None:
        heard.append(getattr(message, "method", type(message).__name__))
        arrived.set()

    servers: list[McpServer] = []
    async with Client(sdk_transport(Daemon(always_sent), servers), mode="legacy", message_handler=remember):
        with trio.fail_after(20):
            await servers[0].notify("notifications/tools/list_changed", {})
            await arrived.wait()
    assert heard == ["notifications/tools/list_changed"]


@pytest.mark.parametrize(("asked", "given"), [*((r, r) for r in REVISIONS), ("2099-01-01", REVISIONS[0])])
async def test_initialize_agrees_on_a_known_revision_or_offers_the_newest(
    nursery: trio.Nursery, asked: str, given: str
) -> None:
    lines = Lines(Daemon(always_sent), nursery)
    answer = await lines.ask(request(0, "initialize", protocolVersion=asked, capabilities={}, clientInfo={}))
    assert answer["id"] == 0
    assert answer["result"]["protocolVersion"] == given
    assert answer["result"]["capabilities"] == {
        "tools": {"listChanged": True},
        "prompts": {"listChanged": True},
        "experimental": {"claude/channel": {}},
    }
    assert answer["result"]["serverInfo"] == {"name": "meshd", "version": "9.8.7"}
    assert "send_message" in answer["result"]["instructions"]


@pytest.mark.parametrize(
    "method", ["server/discover", "resources/list", "resources/templates/list", "sampling/createMessage"]
)
async def test_an_unknown_request_is_refused_at_once_with_its_own_id(nursery: trio.Nursery, method: str) -> None:
    lines = Lines(Daemon(always_sent), nursery)
    answer = await lines.ask(request("server-discover-probe-1", method))
    assert answer["id"] == "server-discover-probe-1"
    assert answer["error"]["code"] == -32601


async def test_a_ping_is_answered_and_notifications_are_not(nursery: trio.Nursery) -> None:
    lines = Lines(Daemon(always_sent), nursery)
    await lines.say({"jsonrpc": "2.0", "method": "notifications/initialized"})
    await lines.say({"jsonrpc": "2.0", "id": 9, "result": {"roots": []}})
    assert await lines.ask(request(4, "ping")) == {"jsonrpc": "2.0", "id": 4, "result": {}}


async def test_a_call_carries_the_tool_use_id_and_the_json_of_its_own_id(nursery: trio.Nursery) -> None:
    daemon = Daemon(always_sent)
    lines = Lines(daemon, nursery)
    await lines.ask(call(7, "send_message", {"to": "bob", "message": "x"}, **{"claudecode/toolUseId": "toolu_1"}))
    await lines.ask(call("7", "send_message", {"to": "bob", "message": "x"}))
    assert [given for _, _, given in daemon.calls] == [ToolCall("toolu_1", "7"), ToolCall("", '"7"')]


async def test_calls_are_begun_in_the_order_of_their_lines(nursery: trio.Nursery) -> None:
    daemon = Daemon(always_sent)
    lines = Lines(daemon, nursery)
    for number in range(20):
        await lines.say(call(number, "send_message", {"to": "bob", "message": str(number)}))
    for _ in range(20):
        await lines.hear()
    assert [sent.message for _, sent, _ in daemon.calls if isinstance(sent, Send)] == [str(n) for n in range(20)]


async def test_a_slow_call_does_not_hold_up_the_next_one(nursery: trio.Nursery) -> None:
    go = trio.Event()

    async def reply(operation: Operation, request: Request) -> Answer:
        if operation.method == "message.send":
            await go.wait()
            return SENT
        return PRESENCE

    lines = Lines(Daemon(reply), nursery)
    await lines.say(call(1, "send_message", {"to": "bob", "message": "x"}))
    assert (await lines.ask(call(2, "set_summary", {"summary": "tests"})))["id"] == 2
    go.set()
    assert (await lines.hear())["id"] == 1


async def test_a_cancelled_call_is_stopped_and_not_answered(nursery: trio.Nursery) -> None:
    stopped = trio.Event()

    async def reply(operation: Operation, request: Request) -> Answer:
        try:
            await trio.sleep_forever()
        finally:
            stopped.set()

    lines = Lines(Daemon(reply), nursery)
    await lines.say(call("a", "send_message", {"to": "bob", "message": "x"}))
    await lines.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "a"}})
    with trio.fail_after(5):
        await stopped.wait()
    assert (await lines.ask(request("b", "ping")))["id"] == "b"


async def test_the_end_of_the_lines_cancels_what_still_runs(nursery: trio.Nursery) -> None:
    async def forever(operation: Operation, request: Request) -> Answer:
        await trio.sleep_forever()
        raise AssertionError

    lines = Lines(Daemon(forever), nursery)
    await lines.say(call(1, "send_message", {"to": "bob", "message": "x"}))
    await lines.end.aclose()
    with trio.fail_after(5):
        await lines.ended.wait()


async def test_more_calls_than_allowed_are_refused_and_the_others_go_on(nursery: trio.Nursery) -> None:
    go = trio.Event()

    async def wait(operation: Operation, request: Request) -> Answer:
        await go.wait()
        return SENT

    lines = Lines(Daemon(wait), nursery)
    for number in range(MAX_CALLS):
        await lines.say(call(number, "send_message", {"to": "bob", "message": "x"}))
    refused = await lines.ask(call(MAX_CALLS, "send_message", {"to": "bob", "message": "x"}))
    assert (refused["id"], refused["error"]["code"]) == (MAX_CALLS, -32000)
    go.set()
    assert {(await lines.hear())["id"] for _ in range(MAX_CALLS)} == set(range(MAX_CALLS))


async def test_a_second_call_with_a_running_id_is_refused(nursery: trio.Nursery) -> None:
    go = trio.Event()

    async def wait(operation: Operation, request: Request) -> Answer:
        await go.wait()
        return SENT

    daemon = Daemon(wait)
    lines = Lines(daemon, nursery)
    await lines.say(call(1, "send_message", {"to": "bob", "message": "x"}))
    assert "running" in (await lines.ask(call(1, "send_message", {"to": "bob", "message": "y"})))["error"]["message"]
    assert len(daemon.calls) == 1
    go.set()


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("send_message", {"to": "bob"}, "bad_request: message.send: message is missing"),
        ("send_message", {"to": "bob", "message": "x", "loud": 1}, "unknown_field: message.send has no field loud"),
        (
            "send_message",
            {"to": "bob", "message": "x", "wait": "shown"},
            "unknown_field: send_message has no field wait",
        ),
        ("send_message", {"to": "bob", "message": "x" * 65_537}, "bad_request: message.send:"),
        ("set_status", {"status": "asleep"}, "bad_request: presence.status: status: invalid enum value 'asleep'"),
    ],
)
async def test_wrong_arguments_are_a_tool_error_that_the_agent_can_mend(
    nursery: trio.Nursery, name: str, arguments: dict, says: str
) -> None:
    daemon = Daemon(always_sent)
    answer = await Lines(daemon, nursery).ask(call(1, name, arguments))
    assert answer["result"]["isError"] is True
    assert text_of(answer).startswith(says)
    assert daemon.calls == []


@pytest.mark.parametrize("name", ["inbox_read", "daemon.stop", "mesh.join", "", "inbox.ack"])
async def test_what_is_no_tool_cannot_be_called(nursery: trio.Nursery, name: str) -> None:
    daemon = Daemon(always_sent)
    answer = await Lines(daemon, nursery).ask(call(1, name, {}))
    assert answer["error"]["code"] == -32602
    assert daemon.calls == []


async def test_a_bug_in_one_call_is_named_without_its_text_and_ends_nothing_else(nursery: trio.Nursery) -> None:
    async def fail(operation: Operation, request: Request) -> Answer:
        raise RuntimeError("the secret is 1234")

    daemon = Daemon(fail)
    lines = Lines(daemon, nursery)
    answer = await lines.ask(call(1, "list_peers", {}))
    assert answer["result"]["isError"] is True
    assert "ref-peer.list" in text_of(answer)
    assert "1234" not in json.dumps(answer)
    assert [str(bug) for bug in daemon.bugs] == ["the secret is 1234"]
    assert (await lines.ask(request(2, "ping")))["id"] == 2


async def test_waiting_messages_come_as_framed_text(nursery: trio.Nursery) -> None:
    row = InboxRow(
        id="ab" * 16,
        mesh="team",
        sender="alice/web",
        origin="human",
        to="bob/api",
        priority="next",
        created_ms=1_790_000_000_000,
        stored_ms=1_790_000_000_100,
        reply_to="",
        message="is the build green?",
        offset=0,
        size=19,
        truncated=False,
        unread=True,
    )

    async def reply(operation: Operation, request: Request) -> Answer:
        return InboxAnswer(messages=[row], more=False)

    text = text_of(await Lines(Daemon(reply), nursery).ask(call(1, "check_messages", {})))
    assert f"--- {MARK}\nis the build green?\n--- {MARK}" in text
    assert f'send_message to="alice/web", reply_to="{"ab" * 16}"' in text


async def test_an_answer_without_content_is_an_empty_object(nursery: trio.Nursery) -> None:
    async def reply(operation: Operation, request: Request) -> Answer:
        return PeersAnswer(peers=[], more=False)

    text = text_of(await Lines(Daemon(reply), nursery).ask(call(1, "list_peers", {})))
    assert json.loads(text) == {"more": False}
