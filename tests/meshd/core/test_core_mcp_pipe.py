"""MCP over the daemon's socket, end to end: the tools, calls that repeat once, a restart the session does not notice."""

import json

import trio

from meshd.local.server import MAX_LINES
from world.claude import Claude
from world.machine import Machine
from world.talk import Talk
from world.world import World

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


async def session_of(world: World) -> tuple[Machine, Machine, Claude]:
    ann, bob = await world.mesh("ann", "bob")
    return ann, bob, await ann.claude("web")


def call_line(number: int, name: str, arguments: dict[str, object], use: str = "") -> bytes:
    params: dict[str, object] = {"name": name, "arguments": arguments}
    if use:
        params["_meta"] = {"claudecode/toolUseId": use}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).encode()


async def ask(talk: Talk, line: bytes) -> dict[str, object]:
    await talk.send_line(line)
    answer: dict[str, object] = json.loads(await talk.next_line())
    return answer


async def test_a_session_is_offered_exactly_these_tools(world: World) -> None:
    _, _, web = await session_of(world)
    tools = await web.list_tools()
    assert {tool["name"] for tool in tools} == TOOLS
    assert len(tools) == len(TOOLS)
    send = next(tool for tool in tools if tool["name"] == "send_message")
    assert set(send["inputSchema"]["properties"]) == {"to", "message", "priority", "reply_to", "mesh"}
    assert send["inputSchema"]["required"] == ["to", "message"]


async def test_every_tool_works(world: World) -> None:
    ann, bob, web = await session_of(world)
    assert '"state":"queued"' in await web.tool("send_message", to="bob", message="hello")
    assert '"to":"bob"' in await web.tool("list_peers")
    sent = ann.app.node.db.reader.execute("SELECT lower(hex(msg_id)) FROM message").fetchall()[0][0]
    assert '"message":"hello"' in await web.tool("message_status", id=sent)
    assert "No messages" in await web.tool("check_messages")
    assert '"summary":"busy"' in await web.tool("set_summary", summary="busy")
    assert '"status":"working"' in await web.tool("set_status", status="working")
    assert '"visible":false' in await web.tool("set_visible", visible=False)
    assert '"to":"ann/mender"' in await web.tool("set_profile", name="mender", role="lead")
    assert '"groups":["web/ui (lead)"]' in await web.tool("join_group", name="web/ui", role="lead")
    assert await web.tool("leave_group", name="web/ui") == '{"to":"ann/mender"}'
    assert await bob.read(wait_s=5) == ["hello"]


async def test_a_repeated_tool_use_sends_once_also_after_a_restart(world: World) -> None:
    ann, bob, web = await session_of(world)
    first = await web.tool("send_message", use="toolu_1", to="bob", message="once")
    assert await web.tool("send_message", use="toolu_1", to="bob", message="once", proof=False)
    await ann.restart()
    await web.open_mcp()
    again = await web.tool("send_message", use="toolu_1", to="bob", message="once")
    message_id = first.partition('"id":"')[2][:32]
    assert f'"id":"{message_id}"' in again
    await world.settle(5)
    assert await bob.read() == ["once"]
    other = await web.tool("send_message", use="toolu_2", to="bob", message="once")
    assert message_id not in other


async def test_without_a_tool_use_id_the_lines_id_within_the_shim_counts(world: World) -> None:
    ann, bob, web = await session_of(world)
    pid = ann.processes.spawn("python3", web.pid)
    line = call_line(7, "send_message", {"to": "bob", "message": "once"})
    for _ in range(2):
        talk = await ann.talk(pid)
        await talk.call("mcp.open", env=web.env, cwd=web.cwd)
        assert '"isError":false' in json.dumps(await ask(talk, line), separators=(",", ":"))
        await talk.close()
    other = await ann.talk(ann.processes.spawn("python3", web.pid))
    await other.call("mcp.open", env=web.env, cwd=web.cwd)
    await ask(other, line)
    await world.settle(5)
    assert await bob.read() == ["once", "once"], "another shim's line 7 is another call"


async def test_a_call_that_was_under_way_when_the_daemon_died_is_repeated_and_sent_once(world: World) -> None:
    ann, bob, web = await session_of(world)
    talk = await web.open_mcp()
    ann.disk.hold()
    await talk.send_line(call_line(50, "send_message", {"to": "bob", "message": "once"}, "toolu_x"))
    await world.settle()
    ann.disk.release()
    await ann.restart()  # committed; the answer was never read
    await web.open_mcp()
    assert '"id"' in await web.tool("send_message", use="toolu_x", to="bob", message="once")
    await world.settle(5)
    assert await bob.read() == ["once"]


async def test_a_refusal_is_a_result_that_says_what_to_do(world: World) -> None:
    _, _, web = await session_of(world)
    assert "unknown_recipient: nobody here is called carl" in await web.tool("send_message", to="carl", message="x")
    assert "unknown_field" in await web.tool("send_message", to="bob", message="x", idempotency_key="mine")
    assert "bad_request" in await web.tool("send_message", to="bob", message="x", priority="urgent")
    assert "not_found" in await web.tool("message_status", id="ab" * 16)
    assert "bad_name" in await web.tool("set_profile", name="a b")


async def test_a_session_without_a_mesh_is_told_what_the_person_can_run(world: World) -> None:
    ann = await world.machine("ann")
    web = await ann.claude("web")
    text = await web.tool("list_peers")
    assert "no_mesh" in text
    assert "mesh new" in text
    assert "no_mesh" in await web.tool("send_message", to="bob", message="x")


async def test_mcp_is_spoken_once_on_a_connection(world: World) -> None:
    ann, _, web = await session_of(world)
    talk = await ann.talk(ann.processes.spawn("python3", web.pid))
    assert (await talk.call("mcp.open", env=web.env))["session"] == "web"
    assert (await talk.refusal("mcp.open", env=web.env)).code == "bad_request"
    assert (await ask(talk, b'{"jsonrpc":"2.0","id":1,"method":"ping"}'))["result"] == {}


async def test_a_shim_that_came_while_the_keys_were_locked_may_open_later(world: World) -> None:
    ann, _, web = await session_of(world)
    await ann.crash()
    await ann.start(locked=True)
    talk = await ann.talk(ann.processes.spawn("python3", web.pid))
    assert (await talk.refusal("mcp.open", env=web.env)).code == "keys_locked"
    await ann.call("keys.unlock")
    ann.connect_surroundings()
    assert (await talk.call("mcp.open", env=web.env))["session"] == "web"
    assert (await ask(talk, b'{"jsonrpc":"2.0","id":1,"method":"ping"}'))["result"] == {}


async def test_lines_may_be_pipelined_behind_the_opening(world: World) -> None:
    ann, _, web = await session_of(world)
    talk = await ann.talk(ann.processes.spawn("python3", web.pid))
    await talk.connection.begin("mcp.open", {"env": web.env})
    await talk.send_line(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
    assert json.loads(await talk.next_line())["id"] == 1


async def test_an_unknown_method_is_answered_at_once(world: World) -> None:
    _, _, web = await session_of(world)
    talk = await web.open_mcp()
    answer = await ask(talk, b'{"jsonrpc":"2.0","id":"a","method":"server/discover","params":{}}')
    assert answer["error"]["code"] == -32601  # type: ignore[index]
    assert (await ask(talk, b"{"))["error"]["code"] == -32700  # type: ignore[index]


async def test_more_lines_than_a_session_may_have_end_its_connection_alone(world: World) -> None:
    ann, _, web = await session_of(world)
    talk = await ann.talk(ann.processes.spawn("python3", web.pid))
    await talk.call("mcp.open", env=web.env)
    ann.disk.hold()  # calls stay under way, so that lines pile up
    for number in range(3 * MAX_LINES):
        if talk.connection.closed is not None:
            break
        with trio.move_on_after(1):
            await talk.send_line(call_line(number, "send_message", {"to": "bob", "message": f"{number}"}))
    await world.settle(5)
    ann.disk.release()
    assert (await web.tool("list_peers")).startswith("{")


async def open_editor(ann: Machine) -> tuple[int, Talk]:
    """Another maker's agent, whose person also types in it, and our relay below it."""
    editor = ann.processes.spawn("editor", ann.processes.shell)
    relay = ann.processes.spawn("mesh", editor)
    return editor, await open_relay(ann, relay)


async def open_relay(ann: Machine, relay: int) -> Talk:
    talk = await ann.talk(relay)
    assert (await talk.call("mcp.open", env={"HOME": str(ann.folder)}, cwd="/src/web"))["session"] == "web"
    return talk


async def test_another_makers_agent_sends_and_asks_for_its_messages(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    editor, talk = await open_editor(ann)
    answer = await ask(talk, call_line(1, "send_message", {"to": "bob", "message": "by a program"}))
    assert '"isError": false' in json.dumps(answer)
    (row,) = (await bob.call("inbox.read", wait_s=5))["messages"]
    assert (row["sender"], row["origin"]) == ("ann/web", "agent")
    await bob.until_knows("ann/web")
    sent = await bob.send("ann/web", "to the editor", wait="stored")
    (shown,) = (await ann.call("session.list"))["sessions"]
    assert (shown["session"], shown["rung"]) == ("web", "pull")
    assert "to the editor" in json.dumps(await ask(talk, call_line(2, "check_messages", {})))
    assert "to the editor" not in json.dumps(await ask(talk, call_line(3, "check_messages", {}))), "it had it"
    await bob.until_state(sent, "stored")
    typed = await ann.talk(ann.processes.spawn("bash", editor))
    assert "budgets" in await typed.call("budget.list"), (
        "what the person types in the editor's terminal is the person's"
    )


async def test_what_another_makers_agent_was_given_and_lost_comes_again(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    relay = ann.processes.spawn("mesh", ann.processes.spawn("editor", ann.processes.shell))
    talk = await open_relay(ann, relay)
    await bob.until_knows("ann/web")
    await bob.send("ann/web", "once more", wait="stored")
    assert "once more" in json.dumps(await ask(talk, call_line(1, "check_messages", {})))
    await ann.crash()
    await ann.start()
    talk = await open_relay(ann, relay)
    assert "once more" in json.dumps(await ask(talk, call_line(1, "check_messages", {})))


async def test_mail_to_the_person_is_not_taken_by_another_makers_agent(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await open_editor(ann)
    await bob.send("ann", "for the person", wait="stored")
    web = await ann.claude("web")
    assert web.key != ann.app.sessions.live()[0].key
    assert await ann.read() == ["for the person"]


async def test_a_session_that_registers_late_goes_on_as_the_one_that_its_relay_was_given(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = Claude(ann, "web")
    web.pid = ann.processes.spawn("claude", ann.processes.shell)
    talk = await open_relay(ann, ann.processes.spawn("mesh", web.pid))
    (early,) = ann.app.sessions.live()
    web.register()
    await (await ann.talk(ann.processes.spawn("mesh", web.pid))).call(
        "hook", env=web.env, body=b'{"hook_event_name":"Stop"}'
    )
    (late,) = ann.app.sessions.live()
    assert (late.key, late.name, late.foreign) == (early.key, "web", False)
    await bob.until_knows("ann/web")
    await bob.send("ann/web", "hello", wait="stored")
    assert "hello" in json.dumps(await ask(talk, call_line(1, "check_messages", {})))
