"""Turns a client's connection into an MCP session: lines in and out, calls through the same dispatch as every other client."""

from collections.abc import Awaitable
from dataclasses import replace
from typing import TYPE_CHECKING

from mesh_protocol.io.connection import Reply
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.op import Answer, Operation, Request, Tier
from mesh_protocol.ops.claude import MCP_LINE
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.rpc import RequestReceived
from meshd.claude.marks import new_mark
from meshd.local.dispatch import Call, check_rights
from meshd.mcp.server import McpServer, ToolCall

if TYPE_CHECKING:
    from meshd.app import App
    from meshd.local.server import Client


async def open_pipe(app: "App", client: "Client", request: RequestReceived) -> Reply:
    """Answer `mcp.open` and start the session's MCP server behind the answer. Raises `MeshError`."""
    reply = await app.dispatch.call(app, client.caller(), request, newer=True)
    receive, client.incoming = client.incoming, None
    if receive is None:
        raise MeshError("bad_request", what="MCP is spoken on this connection already")
    # The shim's process, not this connection: after a restart of ours it repeats its unanswered lines on another one.
    shim = app.processes.look(client.creds.pid)
    generation = f"{client.creds.pid}.{shim.start if shim is not None else 0}"

    def invoke(operation: Operation, parsed: Request, call: ToolCall) -> Awaitable[Answer]:
        return _invoke(app, client, operation, parsed, _mark(call, generation))

    async def write(line: bytes) -> None:
        try:
            await client.connection.notify(MCP_LINE, {}, line)
        except LinkClosed:
            return

    server = McpServer(
        app.dispatch.operations.values(),
        invoke=invoke,
        send=write,
        failed=app.failed,
        new_mark=lambda: new_mark(app.node.seams.rng),
        build=app.version,
        prompts=app.prompts,
        instructions=app.launches.instructions(client.caller().session),
    )
    client.nursery.start_soon(server.run, receive)
    session = client.caller().session
    if session is not None:
        client.nursery.start_soon(app.ladder.channels.hold, session, server.initialized, server.notify)
    return reply


def _mark(call: ToolCall, generation: str) -> str:
    """What makes a repeated call the same call: the tool use, or the JSON-RPC id within the client's process."""
    return call.tool_use_id or f"{generation}:{call.mcp_id}"


async def _invoke(app: "App", client: "Client", operation: Operation, parsed: Request, mark: str) -> Answer:
    caller = client.caller()
    # Whoever speaks MCP is a program that acts for a model, also where no session of ours stands above it.
    caller = replace(caller, tier=min(caller.tier, Tier.AGENT), guarded_ok=False)
    check_rights(app, caller, operation)
    answer = await app.dispatch.invoke(Call(app, caller, b"", mark), operation, parsed)
    assert isinstance(answer, Answer), f"{operation.method} is no tool"
    return answer
