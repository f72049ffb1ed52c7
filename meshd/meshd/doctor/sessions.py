"""The agent sessions of this machine: what keeps messages from being shown to them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from mesh_protocol.ops.daemon import Check
from meshd.claude.formats import Support
from meshd.deliver.rungs import way_of
from meshd.doctor.meshes import count_messages
from meshd.sessions import Session
from meshd.store.sessions import count_unshown
from meshd.store.trust import count_held, read_policies
from meshd.stuck import TROUBLES

if TYPE_CHECKING:
    from meshd.app import App

MAX_REFUSED: Final = 20
"""People whose messages are refused that are named."""


def check_trust(app: "App") -> Iterator[Check]:
    """What the person's own decisions keep from his sessions."""
    held = count_held(app.node.db.reader)
    if held:
        text = f"{count_messages(held)} for you to let them in"
        yield Check(
            name="trust", ok="warn", text=text, fix="mesh held; then mesh held release ID, or mesh trust allow PEER"
        )
    refused = [row for row in read_policies(app.node.db.reader, MAX_REFUSED) if row.policy == "refuse"]
    names = [mesh.name_of(row.member) for row in refused if (mesh := app.node.meshes.get(row.mesh)) is not None]
    if names:
        text = f"messages of {', '.join(names)} are refused, as you decided (mesh trust allow PEER ends it)"
        yield Check(name="trust", ok="ok", text=text, fix="")


def _wish(app: "App", session: Session) -> Iterator[Check]:
    if session.wish and app.node.meshes and app.sessions.mesh_of(session) is None:
        text = f"its variable MESH names {session.wish}, and there is no such mesh here: it is in none"
        fix = "mesh list shows their names; start it again with MESH set to one of them, or unset"
        yield Check(name=f"mesh of {session.name}", ok="bad", text=text, fix=fix)


def _version(session: Session) -> Iterator[Check]:
    claude = session.claude
    if claude.version and claude.support is Support.UNKNOWN:
        text = f"Claude Code {claude.version} is not known to this version: messages cannot be pushed into it"
        fix = "its hooks and check_messages still bring them; a newer version of meshd may know it"
        yield Check(name=f"version of {session.name}", ok="warn", text=text, fix=fix)


def check_sessions(app: "App") -> Iterator[Check]:
    for session in app.sessions.live():
        yield from _wish(app, session)
        yield from _version(session)
        waiting = count_unshown(app.node.db.reader, session.key)
        trouble, fix = _held_up(session)
        count = count_messages(waiting)
        name = f"session {session.name}"
        if trouble:
            yield Check(
                name=name,
                ok="warn" if waiting or session.trouble else "ok",
                text=f"{trouble}; {count}" if waiting else trouble,
                fix=fix,
            )
        else:
            text = f"{session.status.word}; {count} until it is idle or asks" if waiting else session.status.word
            yield _by_its_way(app, session, name, text, waiting)


def _by_its_way(app: "App", session: Session, name: str, text: str, waiting: int) -> Check:
    """What is pushed to it, and where that is not the best way, why."""
    way = way_of(session, app.ladder.inboxes.uid)
    if way.rung == "inbox":
        return Check(name=name, ok="ok", text=text, fix="")
    if way.rung == "pull":
        fix = "mesh install gives it hooks, when it is started again; until then its agent has to call check_messages"
        text = f"{text}; it is shown messages only when it asks: {way.why}"
        return Check(name=name, ok="warn" if waiting else "ok", text=text, fix=fix)
    return Check(name=name, ok="ok", text=f"{text}; messages come by its {way.rung}: {way.why}", fix="")


def _held_up(session: Session) -> tuple[str, str]:
    """Why messages are not pushed to a session, and what ends that; both empty when they are."""
    push = f"mesh mode push --session {session.name}"
    if session.status.word == "waiting":
        return "it waits for your answer", "answer it in its terminal: a permission or a question"
    if session.mode == "off":
        return "mode off: nothing is shown or given to it", push
    if session.mode == "inbox":
        return "mode inbox: it is shown messages only when it asks", push
    if session.status.word == "dnd":
        return "do not disturb", "the session ends it itself: ask its agent to call set_status with idle"
    if session.trouble == "taken_but_not_shown":
        fix = "it gets them when it calls check_messages; Claude Code's setting crossSessionInbound may hold or refuse them"
        return "it took messages and nothing proves that they were shown", fix
    if session.trouble in TROUBLES:
        return TROUBLES[session.trouble], "the session's own settings of Claude Code decide it (crossSessionInbound)"
    if session.trouble:
        return f"messages cannot be pushed to it ({session.trouble})", "it gets them when it calls check_messages"
    return "", ""
