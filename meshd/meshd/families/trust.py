"""What the person decides of senders, and what is held because of it."""

from collections.abc import Sequence
from typing import Final

from mesh_protocol.op import Tier
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
from meshd.families.budgets import MAX_HELD, held_row
from meshd.families.messages import id_range, sender_name
from meshd.grants import BLOCK
from meshd.local.dispatch import Call, handles
from meshd.membership import find_peer
from meshd.standings import MAX_RELEASED, let_in
from meshd.store import inbox as received
from meshd.store import trust as store

MAX_PEERS: Final = 100
BEGINNING: Final = 120


@handles(SetTrust)
async def set_trust(call: Call, request: SetTrust) -> TrustState:
    node = call.app.node
    mesh, person = find_peer(node, request.mesh, request.peer)
    member = person.member.member_id
    await call.app.standings.decide(mesh, member, lambda row: row._replace(policy=request.policy))
    freed = 0
    if request.policy == "allow":
        held = store.held_rows(node.db.reader, mesh.id, member, MAX_RELEASED)
        freed = await _let_in(call, held)
    return TrustState(mesh.name_of(member), mesh.slug, request.policy, freed)


@handles(ListTrust)
async def list_trust(call: Call, request: ListTrust) -> TrustAnswer:
    node = call.app.node
    rows = store.read_policies(node.db.reader, MAX_PEERS + 1)
    if call.caller.tier is not Tier.USER:  # whoever is blocked is to see nothing of it: no agent can be made to tell
        rows = [row for row in rows if row.policy != BLOCK]
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
    return HeldAnswer(
        held=[_shown(call, row) for row in rows],
        more=len(numbers) > request.limit,
        budgets=[held_row(ask) for ask in call.app.proxy.asks()[:MAX_HELD]],
    )


def _shown(call: Call, row: received.InboxRow) -> HeldRow:
    mesh = call.app.node.meshes.get(row.mesh)
    return HeldRow(
        id=row.msg_id.hex(),
        sender=sender_name(mesh, row),
        to=row.to_session,
        mesh=mesh.slug if mesh is not None else "",
        since_ms=row.stored_ms,
        message=call.app.reading.text_of(row)[:BEGINNING],
        verified=call.app.node.pins.standing(mesh, row.from_member),
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

    freed = await app.node.db.write(lambda tx: let_in(tx, numbers, now))
    for mesh in app.node.meshes.values():
        app.brokers.receipts_due(mesh)
    for number in freed:
        app.ladder.surfaced(number)
    return len(freed)
