"""An MCP server in a test: spoken to line by line, or by the MCP SDK's own client."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import anyio
import mcp_types
import trio
from mcp.shared.message import SessionMessage

from mesh_protocol.op import Answer, Operation, Request
from mesh_protocol.ops.messages import SendAnswer
from mesh_protocol.registry import load_operations
from meshd.claude.marks import Mark
from meshd.mcp.server import McpServer, ToolCall
from meshd.prompts.folder import PromptFolder

T = TypeVar("T")
MARK = Mark("00112233445566aa")
SENT = SendAnswer(id="aabbccdd00112233", mesh="team", state="stored", reached=True, recipients=[])


async def in_place(work: Callable[[], T]) -> T:
    return work()


@dataclass
class Daemon:
    """What stands behind the server: `reply` decides, `calls` and `bugs` remember."""

    reply: Callable[[Operation, Request], Awaitable[Answer]]
    prompts: PromptFolder = field(default_factory=lambda: PromptFolder(Path("/nonexistent"), in_place))
    calls: list[tuple[str, Request, ToolCall]] = field(default_factory=list)
    bugs: list[BaseException] = field(default_factory=list)

    def invoke(self, operation: Operation, request: Request, call: ToolCall) -> Awaitable[Answer]:
        self.calls.append((operation.method, request, call))
        return self.reply(operation, request)

    def report(self, method: str, error: BaseException) -> str:
        self.bugs.append(error)
        return f"ref-{method}"


async def always_sent(operation: Operation, request: Request) -> Answer:
    return SENT


def server_for(daemon: Daemon, send: Callable[[bytes], Awaitable[None]]) -> McpServer:
    return McpServer(
        load_operations().values(),
        invoke=daemon.invoke,
        send=send,
        failed=daemon.report,
        new_mark=lambda: MARK,
        build="9.8.7",
        prompts=daemon.prompts,
    )


class Lines:
    """A server spoken to line by line."""

    def __init__(self, daemon: Daemon, nursery: trio.Nursery) -> None:
        self.end, incoming = trio.open_memory_channel[bytes](100)
        outgoing, self._from_server = trio.open_memory_channel[bytes](100)
        self.server = server_for(daemon, outgoing.send)
        self.ended = trio.Event()
        nursery.start_soon(self._run, incoming)

    async def _run(self, incoming: trio.MemoryReceiveChannel[bytes]) -> None:
        await self.server.run(incoming)
        self.ended.set()

    async def say(self, message: object) -> None:
        await self.end.send(message if isinstance(message, bytes) else json.dumps(message).encode())

    async def hear(self) -> dict:
        with trio.fail_after(60):
            return json.loads(await self._from_server.receive())

    async def ask(self, message: object) -> dict:
        await self.say(message)
        return await self.hear()


def request(request_id: object, method: str, **params: object) -> dict:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def call(request_id: object, name: str, arguments: dict, **meta: object) -> dict:
    return request(request_id, "tools/call", name=name, arguments=arguments, _meta=meta)


def text_of(answer: dict) -> str:
    (block,) = answer["result"]["content"]
    assert block["type"] == "text"
    return block["text"]


@asynccontextmanager
async def sdk_transport(daemon: Daemon, servers: list[McpServer] | None = None) -> AsyncIterator[tuple[object, object]]:
    """The transport that the SDK's client is given: its messages become lines, and lines its messages.

    The server is put into `servers`.
    """
    to_client, client_reads = anyio.create_memory_object_stream[SessionMessage | Exception](100)
    client_writes, from_client = anyio.create_memory_object_stream[SessionMessage](100)
    lines_in, lines = trio.open_memory_channel[bytes](100)

    async def send(line: bytes) -> None:
        await to_client.send(SessionMessage(mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False)))

    async def forward() -> None:
        async for message in from_client:
            await lines_in.send(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode())

    server = server_for(daemon, send)
    if servers is not None:
        servers.append(server)
    async with trio.open_nursery() as nursery, to_client, client_reads, client_writes, from_client:
        nursery.start_soon(forward)
        nursery.start_soon(server.run, lines)
        yield client_reads, client_writes
        nursery.cancel_scope.cancel()
