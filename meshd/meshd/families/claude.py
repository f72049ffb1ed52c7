"""What the thin clients inside Claude Code ask: a status line, a hook's event, an MCP connection."""

from typing import Final

import trio

from mesh_protocol.io.connection import Reply
from mesh_protocol.op import Tier, write_answer
from mesh_protocol.ops.claude import Hook, McpAnswer, McpOpen, StatusLine, TextAnswer
from meshd.claude.hooks import ASKS, parse_hook, write_context
from meshd.deliver.handing import context_for
from meshd.glance import read_glance
from meshd.local.dispatch import Call, handles
from meshd.sessions import Session, Sessions
from meshd.status import Source
from meshd.statusline import Asked, compose

PROMPT_S: Final = 0.6
"""How long a question to the session's person is looked for; our hook itself ends after 0.7 s."""
LOOK_S: Final = 0.05


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
    if event.name == ASKS:
        await _see_question(app.sessions, session)
    context = await context_for(app.ladder, session, event)
    return Reply(write_answer(TextAnswer(exit=0)), write_context(event, context)) if context else quiet


async def _see_question(sessions: Sessions, session: Session) -> None:
    """Wait until Claude's register says that its person is asked: the event alone does not (`ASKS`). Tried on 2.1.329: it
    is written within 0.2 s of the event, or never. Where the register says nothing at all, the event has to do."""
    if session.claude.status is None:
        sessions.say_status(session, "waiting", Source.HOOK)
        return
    with trio.move_on_after(PROMPT_S):
        while session.status.word != "waiting":
            await trio.sleep(LOOK_S)
            sessions.look(session)


@handles(McpOpen)
async def open_mcp(call: Call, request: McpOpen) -> McpAnswer:
    """Registers the session; the connection itself turns into an MCP line pipe (local/mcp_pipe.py)."""
    sessions, caller = call.app.sessions, call.caller
    session = await sessions.register(caller.pid, request.env)
    if session is None and caller.session is None and caller.tier is Tier.USER:
        session = sessions.welcome(caller.pid, request.cwd, request.env.get("MESH", ""))
    return McpAnswer(session=session.name if session is not None else "")
