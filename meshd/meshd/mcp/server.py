"""MCP for one session, without I/O of its own: lines in, lines out, calls handed on.

Revision 2025-11-25 of the specification and the three before it, as far as a server of tools needs them. The era is the
one with `initialize`: whatever else a client asks for (`server/discover`, resources) is refused at once with -32601, which
is how Claude Code learns that.
"""

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Final, NamedTuple, TypeAlias

import trio

from mesh_protocol.op import Answer, Operation, Request
from mesh_protocol.wire.errors import MeshError
from meshd.claude.channel import CAPABILITY
from meshd.claude.marks import Mark
from meshd.mcp.instructions import INSTRUCTIONS
from meshd.mcp.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    SERVER_BUSY,
    CallLine,
    JsonObject,
    LineError,
    McpId,
    NoteLine,
    error_line,
    id_text,
    note_line,
    parse_line,
    result_line,
)
from meshd.mcp.prompts import CHANGED, PromptRefused, answer_prompts
from meshd.mcp.texts import MAX_RESULT, render_answer
from meshd.mcp.tools import describe_tool, read_arguments, tools_by_name
from meshd.prompts.folder import PromptFolder

REVISIONS: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Newest first."""
MAX_CALLS: Final = 64
"""Tool calls of one session at a time."""
TOOL_USE_ID: Final = "claudecode/toolUseId"
_MAX_TOOL_USE_ID: Final = 200


class ToolCall(NamedTuple):
    """What names a call beyond its arguments.

    `tool_use_id` is Claude Code's id of the tool use, empty where the client gives none; `mcp_id` the JSON-RPC id, as
    JSON. The shim repeats an unanswered call after a restart of the daemon with both unchanged.
    """

    tool_use_id: str
    mcp_id: str


Invoke: TypeAlias = Callable[[Operation, Request, ToolCall], Awaitable[Answer]]
"""Carries out an operation. *Called* in the order of arrival, its awaitable awaited in a task of its own. Raises
`MeshError` for what the agent is to be told."""

Send: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Sends one line, without line feed, to the client."""

Failed: TypeAlias = Callable[[str, BaseException], str]
"""Reports an unexpected exception of a call (method, exception); returns the reference that the agent is told."""


class McpServer:
    """One connection's server. `run` it in a task; `new_mark` gives a random mark for each result."""

    def __init__(
        self,
        operations: Iterable[Operation],
        *,
        invoke: Invoke,
        send: Send,
        failed: Failed,
        new_mark: Callable[[], Mark],
        build: str,
        prompts: PromptFolder,
        instructions: str = INSTRUCTIONS,
    ) -> None:
        self._tools = tools_by_name(operations)
        self._described = [describe_tool(operation) for operation in self._tools.values()]
        self._invoke = invoke
        self._send = send
        self._failed = failed
        self._new_mark = new_mark
        self._build = build
        self._prompts = prompts
        self._instructions = instructions
        self._running: dict[McpId, trio.CancelScope] = {}
        self.initialized = trio.Event()
        """The client said that it may be spoken to first."""

    async def run(self, lines: AsyncIterable[bytes]) -> None:
        """Serve until `lines` ends; calls that still run are cancelled then."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_prompts)
            async for line in lines:
                answer = self._take(line, nursery)
                if answer is not None:
                    await self._send(answer)
            nursery.cancel_scope.cancel()

    async def notify(self, method: str, params: Mapping[str, object]) -> None:
        """Say something unasked; not before `initialized`."""
        await self._send(note_line(method, params))

    async def _follow_prompts(self) -> None:
        await self.initialized.wait()
        await self._prompts.follow(lambda: self.notify(CHANGED, {}))

    def _take(self, line: bytes, nursery: trio.Nursery) -> bytes | None:
        """Start what a line asks for; returns what can be answered at once."""
        try:
            message = parse_line(line)
        except LineError as error:
            return error_line(error.id, error.code, error.message)
        match message:
            case CallLine(request_id, "initialize", params):
                return result_line(request_id, self._initialize(params))
            case CallLine(request_id, "ping", _):
                return result_line(request_id, {})
            case CallLine(request_id, "tools/list", _):
                return result_line(request_id, {"tools": self._described})
            case CallLine(request_id, "tools/call", params):
                return self._start_call(request_id, params, nursery)
            case CallLine(request_id, "prompts/list" | "prompts/get" as method, params):
                return self._start_prompts(request_id, method, params, nursery)
            case CallLine(request_id, method, _):
                return error_line(request_id, METHOD_NOT_FOUND, f"Method not found: {method[:100]}")
            case NoteLine("notifications/cancelled", params):
                self._cancel(params)
            case NoteLine("notifications/initialized", _):
                self.initialized.set()
        return None  # other notifications, and answers: nothing was asked of the client

    def _initialize(self, params: JsonObject) -> Mapping[str, object]:
        asked = params.get("protocolVersion")
        return {
            "protocolVersion": asked if asked in REVISIONS else REVISIONS[0],
            "capabilities": {
                "tools": {"listChanged": True},
                "prompts": {"listChanged": True},
                "experimental": {CAPABILITY: {}},
            },
            "serverInfo": {"name": "meshd", "version": self._build},
            "instructions": self._instructions,
        }

    def _start_call(self, request_id: McpId, params: JsonObject, nursery: trio.Nursery) -> bytes | None:
        name, arguments, meta = params.get("name"), params.get("arguments", {}), params.get("_meta", {})
        if not isinstance(name, str) or not isinstance(arguments, dict | None) or not isinstance(meta, dict | None):
            return error_line(request_id, INVALID_PARAMS, "tools/call takes name, arguments and _meta")
        operation = self._tools.get(name)
        if operation is None:
            return error_line(request_id, INVALID_PARAMS, f"Unknown tool: {name[:100]}")
        if (refused := self._refuse_start(request_id)) is not None:
            return refused
        given = (meta or {}).get(TOOL_USE_ID)
        call = ToolCall(given[:_MAX_TOOL_USE_ID] if isinstance(given, str) else "", id_text(request_id))
        try:
            work = self._invoke(operation, read_arguments(operation, arguments or {}), call)
        except MeshError as error:
            return result_line(request_id, _refusal(error))
        self._start(request_id, partial(self._finish_call, request_id, operation, work), nursery)
        return None

    def _start_prompts(self, request_id: McpId, method: str, params: JsonObject, nursery: trio.Nursery) -> bytes | None:
        refused = self._refuse_start(request_id)
        if refused is None:
            self._start(request_id, partial(self._ask_prompts, request_id, method, params), nursery)
        return refused

    def _refuse_start(self, request_id: McpId) -> bytes | None:
        if request_id in self._running:
            return error_line(request_id, INVALID_PARAMS, "a call with this id is running")
        if len(self._running) >= MAX_CALLS:
            return error_line(request_id, SERVER_BUSY, f"more than {MAX_CALLS} calls at once: wait for answers")
        return None

    def _start(self, request_id: McpId, answer: Callable[[], Awaitable[bytes]], nursery: trio.Nursery) -> None:
        self._running[request_id] = trio.CancelScope()
        nursery.start_soon(self._finish, request_id, answer)

    async def _finish(self, request_id: McpId, answer: Callable[[], Awaitable[bytes]]) -> None:
        line: bytes | None = None
        with self._running[request_id]:
            line = await answer()
        del self._running[request_id]
        if line is not None:  # a cancelled call is not answered
            await self._send(line)

    async def _finish_call(self, request_id: McpId, operation: Operation, work: Awaitable[Answer]) -> bytes:
        try:
            answer = await work
            return result_line(request_id, _text(render_answer(answer, self._new_mark())))
        except MeshError as error:
            return result_line(request_id, _refusal(error))
        except Exception as error:  # noqa: BLE001 - one bad call must not end the session's others
            bug = MeshError("internal", reference=self._failed(operation.method, error))
            return result_line(request_id, _refusal(bug))

    async def _ask_prompts(self, request_id: McpId, method: str, params: JsonObject) -> bytes:
        try:
            return result_line(request_id, await answer_prompts(self._prompts, method, params))
        except PromptRefused as error:
            return error_line(request_id, INVALID_PARAMS, str(error))
        except Exception as error:  # noqa: BLE001 - as above
            return error_line(request_id, INTERNAL_ERROR, f"internal error {self._failed(method, error)}")

    def _cancel(self, params: JsonObject) -> None:
        request_id = params.get("requestId")
        if isinstance(request_id, int | str):
            scope = self._running.get(request_id)
            if scope is not None:
                scope.cancel()


def _text(text: str, *, is_error: bool = False) -> Mapping[str, object]:
    return {"content": [{"type": "text", "text": text}], "isError": is_error}


def _refusal(error: MeshError) -> Mapping[str, object]:
    return _text(f"{error.code}: {error.message}"[:MAX_RESULT], is_error=True)
