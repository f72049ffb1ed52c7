"""What the person decides of senders, and what is held because of it."""

from collections.abc import Sequence
from typing import Final

import apsw

from mesh_protocol.ops.trust import (
    HeldAnswer,
    HeldRow,
    ListHeld,
    ListTrust,
    Release,
    ReleaseAnswer,
    SetTrust,
    TrustAnswer,
    TrustState,
)
from mesh_protocol.wire.errors import MeshError
from meshd.addressing import directory_of
from meshd.families.messages import id_range, sender_name
from meshd.local.dispatch import Call, handles
from meshd.store import inbox as received
from meshd.store import trust as store
from meshd.store.trust import TrustRow
from meshd.targets import resolve

MAX_PEERS: Final = 100
MAX_RELEASED: Final = 1_000
"""Held messages that one change lets in."""
BEGINNING: Final = 120


@handles(SetTrust)
async def set_trust(call: Call, request: SetTrust) -> TrustState:
    node = call.app.node
    mesh = node.find_mesh(request.mesh)
    if mesh.chain is None:
        raise MeshError("unknown_recipient", target=request.peer, candidates=[])
    found = resolve(directory_of(call.app, mesh), request.peer)
    member = found.member
    if found.session or member == mesh.row.member:
        names = [name for each, name in mesh.names.items() if each != mesh.row.member]
        raise MeshError("unknown_recipient", target=request.peer, candidates=[*names[:10]])
    row = TrustRow(mesh.id, member, request.policy)
    await node.db.write(lambda tx: store.put_policy(tx, row))
    freed = 0
    if request.policy == "allow":
        held = store.held_rows(node.db.reader, mesh.id, member, MAX_RELEASED)
        freed = await _let_in(call, held)
    return TrustState(mesh.name_of(member), mesh.slug, request.policy, freed)


@handles(ListTrust)
async def list_trust(call: Call, request: ListTrust) -> TrustAnswer:
    node = call.app.node
    rows = store.read_policies(node.db.reader, MAX_PEERS + 1)
    states = [
        TrustState(mesh.name_of(row.member), mesh.slug, row.policy)
        for row in rows
        if (mesh := node.meshes.get(row.mesh)) is not None
    ]
    return TrustAnswer(peers=states[:MAX_PEERS], more=len(rows) > MAX_PEERS)


@handles(ListHeld)
async def list_held(call: Call, request: ListHeld) -> HeldAnswer:
    reader = call.app.node.db.reader
    numbers = store.held_rows(reader, b"", b"", request.limit + 1)
    rows = [row for number in numbers[: request.limit] if (row := received.read_row(reader, number)) is not None]
    return HeldAnswer(held=[_shown(call, row) for row in rows], more=len(numbers) > request.limit)


def _shown(call: Call, row: received.InboxRow) -> HeldRow:
    mesh = call.app.node.meshes.get(row.mesh)
    return HeldRow(
        id=row.msg_id.hex(),
        sender=sender_name(mesh, row),
        to=row.to_session,
        mesh=mesh.slug if mesh is not None else "",
        since_ms=row.stored_ms,
        message=call.app.reading.text_of(row)[:BEGINNING],
    )


@handles(Release)
async def release(call: Call, request: Release) -> ReleaseAnswer:
    node = call.app.node
    low, high = id_range(request.id)
    rows = [row for row in received.find_rows(node.db.reader, low, high) if row.session_key == store.HELD_KEY]
    ids = {row.msg_id.hex() for row in rows}
    if not ids:
        raise MeshError("not_found", what="held message", id=request.id)
    if len(ids) > 1:
        raise MeshError("ambiguous_id", id=request.id, candidates=[*sorted(ids)])
    await _let_in(call, [row.row for row in rows])
    return ReleaseAnswer(id=rows[0].msg_id.hex(), sender=sender_name(node.meshes.get(rows[0].mesh), rows[0]))


async def _let_in(call: Call, numbers: Sequence[int]) -> int:
    """To their sessions, which their senders are told; how many."""
    app = call.app
    now = app.node.now()

    def work(tx: apsw.Connection) -> list[int]:
        freed = store.release_rows(tx, numbers)
        for number in freed:
            row = received.read_row(tx, number)
            if row is not None and not row.shown_ms:
                received.owe_receipt(tx, row, number, state="stored", at_ms=now, session="", evidence="released")
        return freed

    freed = await app.node.db.write(work)
    for mesh in app.node.meshes.values():
        app.brokers.receipts_due(mesh)
    for number in freed:
        app.ladder.surfaced(number)
    return len(freed)
