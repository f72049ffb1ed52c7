"""Looking into the outbox, taking a message back, sending a failed one once more."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, cast

import apsw

from mesh_protocol.ids import MemberId
from mesh_protocol.ops.fields import State
from mesh_protocol.ops.outbox import (
    CancelAnswer,
    CancelMessage,
    CancelRow,
    ListOutbox,
    OutboxAnswer,
    OutboxRow,
    RequeueAnswer,
    RequeueMessage,
)
from mesh_protocol.wire.errors import MeshError
from meshd.contents import Said, read_said
from meshd.local.dispatch import Call, handles
from meshd.mesh import Mesh
from meshd.outbox import Draft
from meshd.store import outbox as sent
from meshd.store.outbox import ENDS, DeliveryRow, MessageRow
from meshd.store.outbox_views import OutboxView, list_failed, list_waiting
from meshd.store.voids import cancel_deliveries, unsent_numbers
from meshd.targets import Recipient
from meshd.voids import add_voids
from meshd.waiting import why_waiting

BEGINNING: Final = 80
"""Characters of a message that a list shows."""
CANCELLED: Final = "cancelled before the broker confirmed it; if it was on its way just then it may still arrive"
FAILED: Final = ENDS - {"held"}
"""Ends after which a message may be sent once more. What is held may still be let through."""
MAX_SHOWN: Final = 200
"""Recipients of one message that an answer lists."""


@handles(ListOutbox)
async def list_outbox(call: Call, request: ListOutbox) -> OutboxAnswer:
    node = call.app.node
    mesh = node.find_mesh(request.mesh) if request.mesh else None
    scope = call.caller.scope if call.caller.session is not None else ""
    read = list_failed if request.failed else list_waiting
    views = read(node.db.reader, mesh.id if mesh is not None else None, scope, request.limit + 1)
    rows = [_row(call, view) for view in views[: request.limit]]
    return OutboxAnswer(waiting=rows, more=len(views) > request.limit)


def _row(call: Call, view: OutboxView) -> OutboxRow:
    app = call.app
    mesh = app.node.meshes.get(view.mesh)
    why = why_waiting(mesh, app.board, view, app.outbox.queue(view.mesh).refusals)
    text = read_said(app.node.open("message", "content", view.msg_id, view.content)).text
    return OutboxRow(
        id=view.msg_id.hex(),
        to=_name(mesh, view.member, view.to_session),
        device=view.device.hex()[:8],
        mesh=mesh.slug if mesh is not None else "",
        state=cast(State, view.ended or ("accepted" if view.accepted_ms else "queued")),
        since_ms=view.queued_ms,
        expires_ms=view.expires_ms,
        priority=view.lane,
        code=why.code,
        why=why.text,
        message=text[:BEGINNING],
    )


def _name(mesh: Mesh | None, member: MemberId, session: str) -> str:
    name = mesh.name_of(member) if mesh is not None else f"member-{member.hex()[:8]}"
    return f"{name}/{session}" if session else name


@handles(CancelMessage)
async def cancel_message(call: Call, request: CancelMessage) -> CancelAnswer:
    app = call.app
    node = app.node
    message = _own_message(call, request.id)
    msg_id, queue = message.msg_id, app.outbox.queue(message.mesh)
    open_rows = [row for row in sent.read_deliveries(node.db.reader, msg_id) if _is_unsent(row)]
    voids = app.voids.prepare(unsent_numbers(node.db.reader, msg_id))

    def work(tx: apsw.Connection) -> frozenset[bytes]:
        add_voids(tx, voids)
        return frozenset(cancel_deliveries(tx, msg_id, CANCELLED))

    cancelled: frozenset[bytes] = frozenset()
    if open_rows:
        queue.drop(msg_id)
        try:
            cancelled = await node.db.write(work)
        except MeshError:
            queue.offer(open_rows)
            raise
        app.voids.stored(voids)
        node.changed(msg_id)
    return _cancel_answer(call, message, cancelled)


def _is_unsent(row: DeliveryRow) -> bool:
    return row.path == "mesh" and not row.ended and not row.stored_ms and not row.accepted_ms


def _cancel_answer(call: Call, message: MessageRow, cancelled: frozenset[bytes]) -> CancelAnswer:
    rows = sent.read_deliveries(call.app.node.db.reader, message.msg_id)
    mesh = call.app.node.meshes.get(message.mesh)
    shown = [
        CancelRow(
            to=_name(mesh, row.member, row.to_session),
            device=row.device.hex()[:8],
            state=cast(State, row.state),
            cancelled=row.device in cancelled,
            text=CANCELLED if row.device in cancelled else _too_late(row),
        )
        for row in rows[:MAX_SHOWN]
    ]
    return CancelAnswer(
        id=message.msg_id.hex(), mesh=mesh.slug if mesh is not None else "", cancelled=len(cancelled), recipients=shown
    )


def _too_late(row: DeliveryRow) -> str:
    if row.path == "local" or row.stored_ms:
        return "too late: it is stored there"
    if row.ended:
        return f"it had ended before: {row.ended}"
    return "too late: the broker has accepted it, so it may still arrive"


@handles(RequeueMessage)
async def requeue_message(call: Call, request: RequeueMessage) -> RequeueAnswer:
    app = call.app
    message = _own_message(call, request.id)
    mesh = app.node.meshes.get(message.mesh)
    if mesh is None or not mesh.active:
        raise MeshError("bad_request", what="this machine is not in the message's mesh any more")
    if mesh.alarm:
        raise MeshError("broker_rollback", mesh=mesh.slug)
    failed = [row for row in sent.read_deliveries(app.node.db.reader, message.msg_id) if row.state in FAILED]
    if not failed:
        raise MeshError("bad_request", what="it has not failed at any recipient: mesh message ID shows how far it got")
    again = [row for row in failed if mesh.state.is_active(row.device)]
    if not again:
        gone = ", ".join(dict.fromkeys(_name(mesh, row.member, row.to_session) for row in failed))
        raise MeshError("unknown_recipient", target=gone, candidates=[*sorted(mesh.names.values())[:10]])
    content = app.node.open("message", "content", message.msg_id, message.content)
    msg_id = await app.outbox.send(_once_more(mesh, message, read_said(content), again))
    names = dict.fromkeys(_name(mesh, row.member, row.to_session) for row in again)
    return RequeueAnswer(
        id=msg_id.hex(), instead_of=message.msg_id.hex(), mesh=mesh.slug, recipients=[*names][:MAX_SHOWN]
    )


def _once_more(mesh: Mesh, message: MessageRow, said: Said, rows: Sequence[DeliveryRow]) -> Draft:
    """The same text to the very same devices and sessions. Its key makes it one message however often it is asked for."""
    devices = sha256(b"".join(sorted(row.device for row in rows))).hexdigest()[:16]
    return Draft(
        mesh=mesh,
        recipients=[
            Recipient(_name(mesh, row.member, row.to_session), row.member, (row.device,), row.to_session)
            for row in rows
        ],
        text=said.text,
        attachments=said.attachments,
        origin=message.origin,
        from_session=message.from_session,
        lane=message.lane,
        reply_to=message.reply_to,
        conv=message.conv,
        scope=message.scope,
        idem_key=f"requeue {message.msg_id.hex()} {devices}",
        audience=message.audience,
    )


def _own_message(call: Call, text: str) -> MessageRow:
    """The one text that the caller sent whose id begins so. Raises `not_found` or `ambiguous_id`."""
    reader = call.app.node.db.reader
    digits = text.strip().lower()[:32]
    low, high = bytes.fromhex(digits.ljust(32, "0")), bytes.fromhex(digits.ljust(32, "f"))
    found = [m for i in sent.find_messages(reader, low, high) if (m := sent.read_message(reader, i)) is not None]
    if call.caller.session is not None:
        found = [message for message in found if message.scope == call.caller.scope]
    if not found:
        raise MeshError("not_found", what="message of yours", id=text)
    if len(found) > 1:
        raise MeshError("ambiguous_id", id=text, candidates=[*sorted(message.msg_id.hex() for message in found)])
    return found[0]
