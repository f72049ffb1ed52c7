"""Sending, progress, reading."""

from collections.abc import Iterable, Sequence
from typing import Final, cast

import msgspec
import trio

from mesh_protocol.attachments import Attachment
from mesh_protocol.ids import MsgId
from mesh_protocol.op import Tier
from mesh_protocol.ops.fields import State
from mesh_protocol.ops.messages import (
    AckAnswer,
    AckInbox,
    AnnouncedFile,
    CheckMessages,
    GroupsAsOf,
    InboxAnswer,
    InboxRow,
    MessageAnswer,
    MessageStatus,
    Progress,
    ReadInbox,
    Send,
    SendAnswer,
)
from mesh_protocol.wire.errors import MeshError
from meshd.addressing import find_recipients
from meshd.contents import Said, read_said
from meshd.local.dispatch import Call, handles
from meshd.mentions import mentions
from meshd.mesh import Mesh
from meshd.outbox import Draft
from meshd.pages import MAX_BODY
from meshd.progress import RANK, how_far
from meshd.sessions import Session
from meshd.store import inbox as received
from meshd.store import outbox as sent
from meshd.store.outbox import MessageRow
from meshd.waiting import held_up

RESULT_CHARACTERS: Final = 30_000
"""Characters of messages in one tool result; with their frames it stays below the 39,000 that are kept inline."""
PART_CHARACTERS: Final = 30_000
WHOLE_CHARACTERS: Final = 8 * 1024
PREVIEW_CHARACTERS: Final = 2 * 1024
MAX_ROWS: Final = 85
"""Rows in one answer: a header has at most 4,096 elements, a row some 39 of them, an announced file 7."""
MAX_AS_OF: Final = 50
"""Members of whom is said until when their groups are known."""
FILE_LABELS: Final = 240
"""Of these, what an announced file takes beside its name: so no more than 102 of them are in one answer."""
MAX_LABELS: Final = 24 * 1024
"""Bytes of names in one answer; with 300 bytes of the rest a row they stay below a header's 64 KiB."""


@handles(Send)
async def send(call: Call, request: Send) -> SendAnswer:
    app, session = call.app, call.caller.session
    targets = [request.to] if isinstance(request.to, str) else request.to
    found = find_recipients(app, targets, request.mesh, session)
    mesh = found.mesh
    recipients = [
        r for r in found.recipients if not (session and r.session == session.name and app.node.device in r.devices)
    ]
    if not recipients:
        raise MeshError("bad_request", what="there is nobody else to send it to")
    if mesh.alarm:
        raise MeshError("broker_rollback", mesh=mesh.slug)
    reply_to, conv = _replied(call, request.reply_to)
    msg_id = await app.outbox.send(
        Draft(
            mesh=mesh,
            recipients=recipients,
            text=request.message,
            origin="human" if call.caller.tier is Tier.USER else "agent",
            from_session=session.name if session is not None else "",
            lane=request.priority,
            reply_to=reply_to,
            conv=conv,
            scope=call.caller.scope,
            idem_key=request.idempotency_key or call.mark,
            audience=found.audience,
            attachments=[Attachment(each.name, each.size, bytes.fromhex(each.sha256)) for each in request.attachments],
            wanted=found.wanted,
        )
    )
    reached = await _wait(call, msg_id, request.wait, request.timeout)
    far = how_far(app.node.db.reader, mesh, msg_id)
    return SendAnswer(
        id=msg_id.hex(),
        mesh=mesh.slug,
        state=far.state,
        reached=reached,
        recipients=far.recipients,
        counts=far.counts,
        more=far.more,
        groups_as_of=[GroupsAsOf(member=each.member, as_of_ms=each.at_ms) for each in found.as_of[:MAX_AS_OF]],
        groups_more=len(found.as_of) > MAX_AS_OF,
    )


def _replied(call: Call, text: str) -> tuple[bytes, bytes]:
    """The id and the conversation of the message that is answered; both empty for none."""
    if not text:
        return b"", b""
    reader = call.app.node.db.reader
    low, high = id_range(text)
    found = {row.msg_id: row.conv for row in received.find_rows(reader, low, high)}
    for own in () if len(found) == 1 else sent.find_messages(reader, low, high):
        message = sent.read_message(reader, own)
        found.setdefault(own, message.conv if message is not None else b"")
    if not found:
        raise MeshError("not_found", what="message", id=text)
    if len(found) > 1:
        raise MeshError("ambiguous_id", id=text, candidates=[*sorted(each.hex() for each in found)])
    return next(iter(found.items()))


def id_range(text: str) -> tuple[bytes, bytes]:
    """The ids that begin with the hex digits of `text`, which are 8 or more."""
    digits = text.strip().lower()
    if not 8 <= len(digits) <= 32 or any(c not in "0123456789abcdef" for c in digits):
        raise MeshError("not_found", what="message", id=text)
    return bytes.fromhex(digits.ljust(32, "0")), bytes.fromhex(digits.ljust(32, "f"))


async def _wait(call: Call, msg_id: MsgId, wanted: str, seconds: float) -> bool:
    """Whether every recipient got as far as `wanted` within `seconds`. One that never will ends the wait."""
    node = call.app.node
    goal = RANK[wanted]
    with trio.move_on_after(seconds):
        while True:
            change = node.next_change(msg_id)
            states = [row.state for row in sent.read_deliveries(node.db.reader, msg_id)]
            # Between sessions of one machine there is no broker whose word could come first.
            if all(RANK.get(state, -1) >= goal for state in states):
                return True
            if any(state not in RANK for state in states):
                return False
            await change.wait()
    return False


@handles(MessageStatus)
async def message_status(call: Call, request: MessageStatus) -> MessageAnswer:
    app = call.app
    reader = app.node.db.reader
    low, high = id_range(request.id)
    own = [m for i in sent.find_messages(reader, low, high) if (m := sent.read_message(reader, i)) is not None]
    got = received.find_rows(reader, low, high)
    session = call.caller.session
    if session is not None:  # an agent sees what it sent and what is its own, nothing of its neighbours
        own = [message for message in own if message.scope == call.caller.scope]
        got = [row for row in got if row.session_key == session.key]
    ids = {message.msg_id for message in own} | {row.msg_id for row in got}
    if not ids:
        raise MeshError("not_found", what="message", id=request.id)
    if len(ids) > 1:
        raise MeshError("ambiguous_id", id=request.id, candidates=[*sorted(i.hex() for i in ids)])
    return _sent_answer(call, own[0], request.offset) if own else _received_answer(call, got[0])


def _sent_answer(call: Call, message: MessageRow, offset: int) -> MessageAnswer:
    node = call.app.node
    mesh = node.meshes.get(message.mesh)
    far = how_far(node.db.reader, mesh, message.msg_id, offset)
    said = read_said(node.open("message", "content", message.msg_id, message.content))
    me = mesh.row.me if mesh is not None else "me"
    return MessageAnswer(
        id=message.msg_id.hex(),
        mesh=mesh.slug if mesh is not None else "",
        direction="out",
        sender=f"{me}/{message.from_session}" if message.from_session else me,
        created_ms=message.created_ms,
        expires_ms=message.expires_ms,
        priority=message.lane,
        reply_to=message.reply_to.hex(),
        message=said.text,
        attachments=announced(said),
        state=far.state,
        recipients=far.recipients,
        audience=message.audience,
        counts=far.counts,
        more=far.more,
    )


def _received_answer(call: Call, row: received.InboxRow) -> MessageAnswer:
    node = call.app.node
    mesh = node.meshes.get(row.mesh)
    said = call.app.reading.said_by(row)
    state = "turn_started" if row.turn_ms else "shown" if row.shown_ms else "stored"
    me = mesh.row.me if mesh is not None else "me"
    progress = Progress(
        to=f"{me}/{row.to_session}" if row.to_session else me,
        device=node.device.hex()[:8],
        state=cast(State, state),
        path=row.path,
        queued_ms=row.created_ms,
        accepted_ms=0,
        stored_ms=row.stored_ms,
        shown_ms=row.shown_ms,
        turn_started_ms=row.turn_ms,
        session="",
        evidence=row.evidence,
        reason="",
    )
    return MessageAnswer(
        id=row.msg_id.hex(),
        mesh=mesh.slug if mesh is not None else "",
        direction="in",
        sender=sender_name(mesh, row),
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
        priority=row.lane,
        reply_to=row.reply_to.hex(),
        message=said.text,
        attachments=announced(said),
        state=progress.state,
        recipients=[progress],
        audience=row.audience,
        verified=node.pins.standing(mesh, row.from_member),
    )


def sender_name(mesh: Mesh | None, row: received.InboxRow) -> str:
    name = mesh.name_of(row.from_member) if mesh is not None else row.from_member.hex()[:8]
    return f"{name}/{row.from_session}" if row.from_session else name


def _shown_rows(call: Call, rows: Iterable[received.InboxRow]) -> tuple[list[InboxRow], bool]:
    """Rows for a reader, as many as fit one answer; whether some did not."""
    shown: list[InboxRow] = []
    room, labels = MAX_BODY, MAX_LABELS
    for row in rows:
        mesh = call.app.node.meshes.get(row.mesh)
        said = call.app.reading.said_by(row)
        text = said.text
        room -= len(text.encode())
        me = mesh.row.me if mesh is not None else "me"
        labels -= sum(
            len(part.encode()) for part in (sender_name(mesh, row), me, row.to_session, mesh.slug if mesh else "")
        )
        labels -= sum(len(each.name.encode()) + FILE_LABELS for each in said.attachments)
        if shown and (room < 0 or labels < 0 or len(shown) >= MAX_ROWS):
            return shown, True
        shown.append(
            InboxRow(
                id=row.msg_id.hex(),
                mesh=mesh.slug if mesh is not None else "",
                sender=sender_name(mesh, row),
                origin=row.origin,
                to=f"{me}/{row.to_session}" if row.to_session else me,
                priority=row.lane,
                created_ms=row.created_ms,
                stored_ms=row.stored_ms,
                reply_to=row.reply_to.hex(),
                thread=row.conv.hex(),
                mentions_you=mentions_reader(call, mesh, text),
                message=text,
                offset=0,
                size=len(text),
                truncated=False,
                unread=row.read_ms == 0,
                attachments=announced(said),
                verified=call.app.node.pins.standing(mesh, row.from_member),
            )
        )
    return shown, False


def announced(said: Said) -> list[AnnouncedFile]:
    """The files a message announces, for an answer."""
    return [AnnouncedFile(name=each.name, size=each.size, sha256=each.digest.hex()) for each in said.attachments]


def mentions_reader(call: Call, mesh: Mesh | None, text: str) -> bool:
    """Whether a text names the caller as @name."""
    session = call.caller.session
    person = mesh.name_of(mesh.row.member) if mesh is not None else ""
    return mentions(text, person, session.name if session is not None else "")


def _members_called(call: Call, mesh: Mesh | None, name: str) -> list[bytes] | None:
    """The members of that name in one mesh or all; None for an empty name."""
    if not name:
        return None
    meshes = [mesh] if mesh is not None else list(call.app.node.meshes.values())
    person = name.partition("/")[0].casefold()
    return [member for m in meshes for member, shown in m.names.items() if shown.casefold() == person]


def _session_reading(call: Call) -> Session | None:
    """The session that reads, None for the person. Raises `not_allowed` where nothing is to be given to it."""
    session = call.caller.session
    if session is not None and session.mode == "off":
        mend = f"mesh mode push --session {session.name}"
        raise MeshError("not_allowed", why=f"messages are off for this session and wait; to turn them on: {mend}")
    return session


@handles(ReadInbox)
async def read_inbox(call: Call, request: ReadInbox) -> InboxAnswer:
    app = call.app
    mesh = app.node.find_mesh(request.mesh) if request.mesh else None
    members = _members_called(call, mesh, request.sender)
    session = _session_reading(call)
    mesh_id = mesh.id if mesh is not None else None

    def read() -> list[received.InboxRow]:
        if session is not None:
            return received.session_rows(
                app.node.db.reader, session.key, session.name, mesh_id, members, request.limit + 1
            )
        return received.person_rows(app.node.db.reader, mesh_id, members, request.limit + 1, all_rows=request.all)

    with app.node.events.subscribe(frozenset({"inbox"})) as changes:
        rows = read()
        with trio.move_on_after(request.wait_s):
            while not rows:
                await changes.take()
                rows = read()
    more = len(rows) > request.limit
    if request.all and session is None:  # the newest that fit: the row too many is the first one
        newest, cut = _shown_rows(call, reversed(rows[-request.limit :]))
        return InboxAnswer(messages=newest[::-1], more=cut or more, held_up=held_up(app.node.meshes.values()))
    shown, cut = _shown_rows(call, rows[: request.limit])
    return InboxAnswer(messages=shown, more=cut or more, held_up=held_up([] if session else app.node.meshes.values()))


@handles(AckInbox)
async def ack_inbox(call: Call, request: AckInbox) -> AckAnswer:
    reader = call.app.node.db.reader
    session = call.caller.session
    rows: list[received.InboxRow] = []
    for text in request.ids:
        low, high = id_range(text)
        rows.extend(received.find_rows(reader, low, high))
    if session is not None:
        rows = [row for row in rows if row.session_key == session.key]
        # What an agent's own command printed is no evidence that its model saw it: it is not given again, and the
        # sender's receipt stays at stored.
        return AckAnswer(marked=await call.app.reading.mark_handed(rows))
    return AckAnswer(marked=await call.app.reading.mark_read([row for row in rows if row.person], "inbox"))


@handles(CheckMessages)
async def check_messages(call: Call, request: CheckMessages) -> InboxAnswer:
    app, session = call.app, _session_reading(call)
    if session is None:
        raise MeshError("no_session", hint="only an agent's session has messages of its own; a person reads mesh inbox")
    await app.reading.close_returned(session)
    mesh = app.node.find_mesh(request.mesh) if request.mesh else None
    reader = app.node.db.reader
    if request.id:
        low, high = id_range(request.id)
        rows = [row for row in received.find_rows(reader, low, high) if row.session_key == session.key]
        if not rows:
            raise MeshError("not_found", what="message", id=request.id)
    else:
        members = _members_called(call, mesh, request.sender)
        mesh_id = mesh.id if mesh else None
        found = received.session_rows(reader, session.key, session.name, mesh_id, members, request.limit + 64)
        rows = [row for row in found if not app.ladder.is_handed(row.row)]
    shown, cut = _shown_rows(call, rows[: request.limit])
    parts, whole = _parts(call, rows, shown, request)
    await app.ladder.hand_over(session, rows[: len(parts)], whole, call.mark)
    session.returned = [row for row in rows[: len(parts)] if session.foreign and row.row in whole]
    return InboxAnswer(messages=parts, more=cut or len(rows) > len(parts))


def _parts(
    call: Call, rows: Sequence[received.InboxRow], shown: Sequence[InboxRow], request: CheckMessages
) -> tuple[list[InboxRow], set[int]]:
    """As much as one tool result holds, and the rows of which the agent has all with it.

    Of a long message a list gives the beginning; asked for by its id it comes in parts of PART_CHARACTERS.
    """
    parts: list[InboxRow] = []
    whole: set[int] = set()
    room = RESULT_CHARACTERS
    for row, message in zip(rows, shown, strict=False):
        text = message.message
        start, length = 0, len(text) if len(text) <= WHOLE_CHARACTERS else PREVIEW_CHARACTERS
        if request.id:
            start, length = min(request.offset, len(text)), PART_CHARACTERS
        if parts and length > room:
            break
        part = text[start : start + length]
        room -= len(part)
        end = start + len(part)
        parts.append(msgspec.structs.replace(message, message=part, offset=start, truncated=end < len(text)))
        if call.app.ladder.note_part(row.row, start, end, len(text)):
            whole.add(row.row)
    return parts, whole
