"""Forks: shown, and ended."""

from typing import Final

from mesh_protocol.keys import SigningKey
from mesh_protocol.ops.resolve import Choose, HeadRow, HeadsAnswer, ListHeads, ResolveAnswer
from mesh_protocol.pae import BadEncoding
from mesh_protocol.wire.errors import MeshError
from meshd.branches import Fork, Standing, only_there, signer_name
from meshd.local.dispatch import Call, handles
from meshd.membership import MAX_NAMED, name_devices
from meshd.mesh import Mesh
from meshd.recovery import parse_recovery
from meshd.resolving import find_head, resolve, settles

MAX_HEADS: Final = 32


@handles(ListHeads)
async def list_heads(call: Call, request: ListHeads) -> HeadsAnswer:
    mesh = call.app.node.find_mesh(request.mesh)
    fork = mesh.fork
    if fork is None:
        return HeadsAnswer(mesh=mesh.slug, common=len(mesh.hashes), heads=[], more=False)
    return HeadsAnswer(
        mesh=mesh.slug,
        common=len(fork.result.records),
        heads=[await _row(call, mesh, fork, each) for each in fork.standing[:MAX_HEADS]],
        more=len(fork.standing) > MAX_HEADS,
    )


async def _row(call: Call, mesh: Mesh, fork: Fork, each: Standing) -> HeadRow:
    return HeadRow(
        head=each.head.hash.hex(),
        seq=each.head.seq,
        records=each.head.seq - each.first.seq + 1,
        first_seq=each.first.seq,
        first=each.first.type,
        signed_by=signer_name(mesh, fork, each.first),
        here=each.head.hash == mesh.hashes[-1],
        may=await settles(call.app.node, mesh, each, call.app.node.key),
        members=len(each.state.members),
        lost=only_there(mesh, fork, each)[:MAX_NAMED],
    )


@handles(Choose)
async def choose(call: Call, request: Choose) -> ResolveAnswer:
    mesh = call.app.node.find_mesh(request.mesh)
    if not request.head:
        raise MeshError(
            "bad_request", what="say which history counts by the beginning of its head: mesh resolve lists them"
        )
    if mesh.fork is None:
        raise MeshError(
            "not_found", what=f"fork in {mesh.slug}, which has one history; so there is no head", id=request.head
        )
    chosen = find_head(mesh.fork, request.head)
    done = await resolve(call.app, mesh, chosen, _read_key(request.recovery))
    return ResolveAnswer(
        mesh=mesh.slug,
        head=chosen.head.hash.hex(),
        seq=chosen.head.seq,
        signed_by="the recovery key" if done.by_recovery else "this machine",
        members=len(mesh.state.members),
        lost=list(done.lost[:MAX_NAMED]),
        unsealed=name_devices(mesh, done.unsealed),
    )


def _read_key(printed: str) -> SigningKey | None:
    if not printed.strip():
        return None
    try:
        return parse_recovery(printed)
    except BadEncoding as error:
        raise MeshError("bad_request", what=str(error)) from None
