"""What the thin clients inside Claude Code ask: a status line, a hook's event, an MCP connection."""

from mesh_protocol.io.connection import Reply
from mesh_protocol.op import Tier, write_answer
from mesh_protocol.ops.claude import Hook, McpAnswer, McpOpen, StatusLine, TextAnswer
from meshd.claude.hooks import parse_hook, write_context
from meshd.deliver.handing import context_for
from meshd.glance import read_glance
from meshd.local.dispatch import Call, handles
from meshd.status import Source
from meshd.statusline import Asked, compose


@handles(StatusLine)
async def status_line(call: Call, request: StatusLine) -> Reply:
    asked = Asked(request.columns, request.layout, request.plain, call.caller.session, read_glance(call.body))
    line = compose(call.app, asked)
    return Reply(write_answer(TextAnswer(exit=0)), line.encode())


@handles(Hook)
async def take_hook(call: Call, request: Hook) -> Reply:
    """A hook never fails a session: whatever it brings, the answer is exit status 0."""
    app = call.app
    quiet = Reply(write_answer(TextAnswer(exit=0)))
    if app.locked:
        return quiet
    event = parse_hook(call.body)
    session = await app.sessions.register(call.caller.pid, request.env)
    if session is None:
        return quiet
    app.sessions.look(session)
    session.hooked = session.hooked or bool(event.name)
    word = event.word
    if word is not None:
        session.failure = event.error if event.name == "StopFailure" else ""
        app.sessions.say_status(session, word, Source.HOOK)
    context = await context_for(app.ladder, session, event)
    return Reply(write_answer(TextAnswer(exit=0)), write_context(event, context)) if context else quiet


@handles(McpOpen)
async def open_mcp(call: Call, request: McpOpen) -> McpAnswer:
    """Registers the session; the connection itself turns into an MCP line pipe (local/mcp_pipe.py)."""
    sessions, caller = call.app.sessions, call.caller
    session = await sessions.register(caller.pid, request.env)
    if session is None and caller.session is None and caller.tier is Tier.USER:
        session = sessions.welcome(caller.pid, request.cwd, request.env.get("MESH", ""))
    return McpAnswer(session=session.name if session is not None else "")
