"""What the thin clients inside Claude Code ask: a status line, a hook's event, an MCP connection."""

import json
from typing import Final

from mesh_protocol.io.connection import Reply
from mesh_protocol.op import write_answer
from mesh_protocol.ops.claude import Hook, McpAnswer, McpOpen, StatusLine, TextAnswer
from meshd.local.dispatch import Call, handles
from meshd.status import Source
from meshd.statusline import compose

MAX_HOOK: Final = 1024 * 1024
STATUS: Final = {
    "UserPromptSubmit": "working",
    "PreToolUse": "working",
    "PostToolUse": "working",
    "SubagentStart": "working",
    "Stop": "idle",
    "StopFailure": "idle",
}
"""What an event says about its session. Others only show that it lives."""


@handles(StatusLine)
async def status_line(call: Call, request: StatusLine) -> Reply:
    line = compose(call.app, request.columns)
    return Reply(write_answer(TextAnswer(exit=0)), line.encode())


@handles(Hook)
async def take_hook(call: Call, request: Hook) -> Reply:
    """A hook never fails a session: whatever it brings, the answer is exit status 0."""
    app = call.app
    quiet = Reply(write_answer(TextAnswer(exit=0)))
    if app.locked:
        return quiet
    event = _event_of(call.body)
    session = await app.sessions.register(call.caller.pid, request.env)
    if session is None:
        return quiet
    app.sessions.look(session)
    word = STATUS.get(event)
    if word is not None:
        app.sessions.say_status(session, word, Source.HOOK)
    return quiet


def _event_of(body: bytes) -> str:
    try:
        told = json.loads(body[:MAX_HOOK])
    except (ValueError, RecursionError):
        return ""
    name = told.get("hook_event_name") if isinstance(told, dict) else None
    return name if isinstance(name, str) else ""


@handles(McpOpen)
async def open_mcp(call: Call, request: McpOpen) -> McpAnswer:
    """Registers the session; the connection itself turns into an MCP line pipe (local/mcp_pipe.py)."""
    session = await call.app.sessions.register(call.caller.pid, request.env)
    return McpAnswer(session=session.name if session is not None else "")
