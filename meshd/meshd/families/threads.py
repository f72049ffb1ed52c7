"""A whole conversation, sent and received."""

from typing import Final, NamedTuple, cast

from mesh_protocol.ids import MeshId
from mesh_protocol.ops.fields import State
from mesh_protocol.ops.threads import ReadThread, ThreadAnswer, ThreadRow
from mesh_protocol.wire.errors import MeshError
from meshd.contents import read_said
from meshd.families.messages import id_range, mentions_reader, sender_name
from meshd.local.dispatch import Call, handles
from meshd.pages import Page
from meshd.progress import least
from meshd.store import inbox as received
from meshd.store import outbox as sent
from meshd.store.inbox import InboxRow
from meshd.store.outbox import MessageRow
from meshd.store.threads import received_in, sent_in
from meshd.targets import EVERYBODY, GROUP

MAX_NAMED: Final = 10
"""Recipients that are named of one message."""


class Place(NamedTuple):
    """Which conversation of which mesh."""

    mesh: MeshId
    conv: bytes


@handles(ReadThread)
async def read_thread(call: Call, request: ReadThread) -> ThreadAnswer:
    place = _find(call, request.id)
    db = call.app.node.db.reader
    session = call.caller.session
    scope, key = ("", "") if session is None else (call.caller.scope, session.key)
    own = sent_in(db, place.mesh, place.conv, scope, request.limit + 1)
    ids = {message.msg_id for message in own}
    # What sessions of this machine wrote each other is here twice, sent and received.
    came = [row for row in received_in(db, place.mesh, place.conv, key, request.limit + 1) if row.msg_id not in ids]
    rows = [*(_out_row(call, message) for message in own), *(_in_row(call, row) for row in came)]
    depths = _depths(rows)
    rows.sort(key=lambda row: (row.at_ms, depths[row.id]))
    kept = Page(beside="message").take(reversed(rows[-request.limit :]))[::-1]
    mesh = call.app.node.meshes.get(place.mesh)
    return ThreadAnswer(
        thread=place.conv.hex(),
        mesh=mesh.slug if mesh is not None else "",
        messages=kept,
        more=len(kept) < len(rows),
    )


def _find(call: Call, text: str) -> Place:
    """The conversation of the one message that `text` means, among those the caller may see."""
    db = call.app.node.db.reader
    low, high = id_range(text)
    own = [m for i in sent.find_messages(db, low, high) if (m := sent.read_message(db, i)) is not None]
    got = received.find_rows(db, low, high)
    session = call.caller.session
    if session is not None:
        own = [message for message in own if message.scope == call.caller.scope]
        got = [row for row in got if row.session_key == session.key]
    found = {message.msg_id: Place(message.mesh, message.conv) for message in own}
    found.update((row.msg_id, Place(row.mesh, row.conv)) for row in got)
    if not found:
        raise MeshError("not_found", what="message", id=text)
    if len(found) > 1:
        raise MeshError("ambiguous_id", id=text, candidates=[*sorted(each.hex() for each in found)])
    return next(iter(found.values()))


def _depths(rows: list[ThreadRow]) -> dict[str, int]:
    """How many of the others each message answers, one behind the other: the order of what was written in one
    millisecond. A peer may claim that messages answer each other in a ring."""
    answered = {row.id: row.reply_to for row in rows}
    depths: dict[str, int] = {}
    for row in rows:
        seen: set[str] = set()
        up = row.id
        while up in answered and up not in seen:
            seen.add(up)
            up = answered[up]
        depths[row.id] = len(seen)
    return depths


def _out_row(call: Call, message: MessageRow) -> ThreadRow:
    node = call.app.node
    mesh = node.meshes.get(message.mesh)
    rows = sent.read_deliveries(node.db.reader, message.msg_id)
    text = read_said(node.open("message", "content", message.msg_id, message.content)).text
    names: dict[str, None] = dict.fromkeys(message.audience.split(", ")) if message.audience else {}
    for row in rows:
        name = mesh.name_of(row.member) if mesh is not None else row.member.hex()[:8]
        for label in row.to_session.split(","):
            if label != EVERYBODY and not label.startswith(GROUP):
                names[f"{name}/{label}" if label else name] = None
    me = mesh.row.me if mesh is not None else "me"
    return ThreadRow(
        id=message.msg_id.hex(),
        direction="out",
        sender=f"{me}/{message.from_session}" if message.from_session else me,
        to=[*names][:MAX_NAMED],
        origin=message.origin,
        at_ms=message.created_ms,
        reply_to=message.reply_to.hex(),
        priority=message.lane,
        state=least([row.state for row in rows]),
        mentions_you=message.scope != call.caller.scope and mentions_reader(call, mesh, text),
        message=text,
    )


def _in_row(call: Call, row: InboxRow) -> ThreadRow:
    mesh = call.app.node.meshes.get(row.mesh)
    text = call.app.reading.text_of(row)
    me = mesh.row.me if mesh is not None else "me"
    state = "turn_started" if row.turn_ms else "shown" if row.shown_ms else "stored"
    return ThreadRow(
        id=row.msg_id.hex(),
        direction="in",
        sender=sender_name(mesh, row),
        to=[f"{me}/{row.to_session}" if row.to_session else me],
        origin=row.origin,
        at_ms=row.stored_ms,
        reply_to=row.reply_to.hex(),
        priority=row.lane,
        state=cast(State, state),
        mentions_you=mentions_reader(call, mesh, text),
        message=text,
        verified=call.app.node.pins.standing(mesh, row.from_member),
    )
