"""The agent sessions of this machine, and how each wants its messages."""

from typing import Final

import trio

from mesh_protocol.ops.sessions import (
    ListSessions,
    SessionsAnswer,
    SessionState,
    SetMode,
    WhyAnswer,
    WhySession,
)
from mesh_protocol.wire.errors import MeshError
from meshd.deliver.rungs import rung_of, way_of
from meshd.local.dispatch import Call, handles
from meshd.sessions import Session
from meshd.store.inbox import session_rows
from meshd.store.sessions import count_unshown
from meshd.store.trust import count_held_for
from meshd.stuck import Backlog, why_stuck
from meshd.waiting import why_here

MAX_ROWS: Final = 100


@handles(ListSessions)
async def list_sessions(call: Call, request: ListSessions) -> SessionsAnswer:
    sessions = call.app.sessions
    live = sorted(sessions.live(), key=lambda session: session.started_ms)
    rows = [_state(call, session) for session in live]
    if request.mesh:
        rows = [row for row in rows if row.mesh == request.mesh]
    return SessionsAnswer(sessions=rows[:MAX_ROWS], more=len(rows) > MAX_ROWS)


@handles(SetMode)
async def set_mode(call: Call, request: SetMode) -> SessionState:
    session = session_meant(call, request.session)
    call.app.sessions.set_mode(session, request.mode)
    if request.mode == "push":
        call.app.ladder.take_up(session)
    return _state(call, session)


@handles(WhySession)
async def why_session(call: Call, request: WhySession) -> WhyAnswer:
    app = call.app
    wanted = request.session.casefold()
    called = [session for session in app.sessions.all() if session.name.casefold() == wanted]
    if not called:
        raise MeshError("not_found", what="session", id=f"{request.session}; mesh sessions lists them")
    session = max(called, key=lambda each: (each.alive, each.started_ms))
    if session.alive:
        app.sessions.look(session)
    mesh = app.sessions.mesh_of(session)
    why = why_stuck(
        session,
        rung_of(session, app.ladder.inboxes.uid),
        _backlog(call, session),
        why_here(mesh) if mesh is not None else None,
        app.node.now(),
    )
    return WhyAnswer(session=session.name, code=why.code, why=why.text)


def _backlog(call: Call, session: Session) -> Backlog:
    app = call.app
    reader, given, now = app.node.db.reader, app.ladder.given, trio.current_time()
    rows = session_rows(reader, session.key, session.name, None, None, MAX_ROWS)
    return Backlog(
        waiting=count_unshown(reader, session.key),
        held=count_held_for(reader, session.key),
        summed=sum(given.surfaces_at(row.row) > now and not given.is_handed(row.row, now) for row in rows),
        pause_s=app.ladder.budgets(session).pushes.wait(now),
    )


def session_meant(call: Call, name: str) -> Session:
    """The live session that a caller means: an agent only its own, a person the one he names, or the only one.

    Raises `MeshError` with `no_session`, `not_found` or `not_allowed`.
    """
    own = call.caller.session
    if own is not None:
        if name and name.casefold() != own.name.casefold():
            raise MeshError("not_allowed", why=f"an agent sets its own session only, which is {own.name}")
        return own
    live = call.app.sessions.live()
    if name:
        for session in live:
            if session.name.casefold() == name.casefold():
                return session
        raise MeshError("not_found", what="live session", id=f"{name}; mesh sessions lists them")
    if len(live) == 1:
        return live[0]
    hint = "name one with --session NAME; mesh sessions lists them" if live else "none is running"
    raise MeshError("no_session", hint=hint)


def _state(call: Call, session: Session) -> SessionState:
    mesh = call.app.sessions.mesh_of(session)
    way = way_of(session, call.app.ladder.inboxes.uid)
    return SessionState(
        session=session.name,
        mesh=mesh.slug if mesh is not None else "",
        status=session.status.word,
        mode=session.mode,
        waiting=count_unshown(call.app.node.db.reader, session.key),
        trouble=session.trouble,
        rung=way.rung,
        why=way.why,
    )
