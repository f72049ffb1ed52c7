"""Following a broker's chain where it is not an extension of ours: fetch what it has, judge it, go on or freeze."""

from collections.abc import Iterator
from typing import Final

from mesh_protocol.broker_api import TipAnswer
from mesh_protocol.broker_chain import BranchesAnswer, ChainAnswer
from mesh_protocol.chain import Record
from mesh_protocol.forks import trace
from mesh_protocol.io.connection import Connection
from mesh_protocol.members import ChainError
from mesh_protocol.op import read_answer
from mesh_protocol.tip import Tip, TipRef
from mesh_protocol.wire.errors import MeshError, RemoteError
from mesh_protocol.wire.items import pack_items, unpack_items
from mesh_protocol.wire.rpc import Params
from meshd.branches import MAX_BRANCH_RECORDS, read_own, weigh
from meshd.link.greeting import CALL_S, follow_tip, read_tip
from meshd.log import Id, Word, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.store import branches as store

log = get_logger("link")

MAX_FETCHED: Final = 12_000
"""Records of one history that are fetched: more than a chain may have."""
FIRST_STEP: Final = 64
MAX_EVIDENCE: Final = 64
"""Signed tips of other histories that are kept."""


async def follow(node: Node, connection: Connection, mesh: Mesh, tip: TipRef, beside: int, signed: bytes = b"") -> bool:
    """Bring our chain up to the broker's `tip`, whatever history that is of; `signed` is it as it came. `beside` are the
    records of other histories that the broker says it keeps. Returns whether the broker had lost something and was given it back.

    Raises `MeshError` with `broker_rollback` when the mesh is frozen, or when the broker does not show what it signed.
    """
    if mesh.fork is None:
        try:
            lost = await follow_tip(node, connection, mesh, tip)
        except ChainError as error:
            if error.reason not in ("bad_link", "bad_seq"):
                raise
        except MeshError as error:
            if error.code != "broker_rollback":
                raise
        else:
            if beside == mesh.beside:
                return lost
    tip = await _look(node, connection, mesh, tip, signed, beside)
    if mesh.fork is not None:
        raise MeshError("broker_rollback", mesh=mesh.slug)
    return await follow_tip(node, connection, mesh, tip)


def keep_tip(node: Node, mesh: Mesh, encoded: bytes) -> None:
    """Remember a verified tip that names a record of our chain: the broker's own word for our history."""
    ref = Tip.decode(encoded).ref
    if not 1 <= ref.chain_seq <= len(mesh.hashes) or mesh.hashes[ref.chain_seq - 1] != ref.chain_hash:
        return
    known = Tip.decode(mesh.signed_tip).ref if mesh.signed_tip else None
    if known is None or known.chain_seq < ref.chain_seq or known.chain_hash not in mesh.hashes:
        mesh.signed_tip = encoded
        node.db.submit(lambda tx: store.put_tip(tx, mesh.id, encoded))


def require_shown(mesh: Mesh) -> None:
    """Raises `broker_rollback` while the broker withholds what it signed for another member."""
    for digest in [each for each in mesh.withheld if each in mesh.branches or _is_ours(mesh, each)]:
        del mesh.withheld[digest]
    if mesh.withheld:
        raise MeshError("broker_rollback", mesh=mesh.slug)


async def _look(node: Node, connection: Connection, mesh: Mesh, tip: TipRef, signed: bytes, beside: int) -> TipRef:
    """Fetch, judge and keep what the broker has, show it what it lacks; the tip of the history that it serves then."""
    found: list[Record] = []
    if not _is_ours(mesh, tip.chain_hash):
        found += await _read_parting(connection, mesh, tip)
    kept_there = await _read_beside(connection, mesh) if beside else []
    known = {*mesh.hashes, *mesh.branches}
    new = [record for record in (*found, *kept_there) if record.hash not in known]
    if new or mesh.fork is not None:
        await weigh(node, mesh, new)
    mesh.beside = beside
    if not _is_ours(mesh, tip.chain_hash):
        if tip.chain_hash not in mesh.branches:
            raise MeshError("broker_rollback", mesh=mesh.slug)
        await keep_evidence(node, mesh, tip.chain_hash, signed)
    return await _show(node, connection, mesh, tip, {record.hash for record in kept_there})


async def keep_evidence(node: Node, mesh: Mesh, digest: bytes, signed: bytes) -> None:
    """Keep a verified tip of another history, so that it can be shown to the broker and to others."""
    if signed and digest not in mesh.evidence and len(mesh.evidence) < MAX_EVIDENCE:
        await node.db.write(lambda tx: store.add_evidence(tx, mesh.id, digest, signed, node.now()))
        mesh.evidence[digest] = signed


def _is_ours(mesh: Mesh, digest: bytes) -> bool:
    return digest in mesh.hashes


async def _read_parting(connection: Connection, mesh: Mesh, tip: TipRef) -> list[Record]:
    """The broker's records from where they part from ours, up to `tip`; none when they lead nowhere that we know."""
    ours = set(mesh.hashes)
    step, after = FIRST_STEP, min(len(mesh.hashes), tip.chain_seq - 1)
    while True:
        page = [record for record in await _read_page(connection, mesh, after) if record.hash not in ours]
        if page and (page[0].prev_hash in ours or page[0].seq == 1):
            break
        if after == 0:
            return []
        after, step = max(0, after - step), step * 4
    found = page
    while page and found[-1].seq < tip.chain_seq and len(found) < MAX_FETCHED:
        page = await _read_page(connection, mesh, found[-1].seq)
        if page and page[0].prev_hash != found[-1].hash:
            break
        found += page
    return [record for record in found if record.seq <= tip.chain_seq]


async def _read_page(connection: Connection, mesh: Mesh, after: int) -> list[Record]:
    reply = await connection.call("chain.read", {"mesh": mesh.id, "after": after}, seconds=CALL_S)
    read_answer(ChainAnswer, reply.result)
    return [*_decode(reply.body)]


async def _read_beside(connection: Connection, mesh: Mesh) -> list[Record]:
    """What the broker keeps of other histories."""
    found: list[Record] = []
    while len(found) < MAX_BRANCH_RECORDS:
        reply = await connection.call("chain.branches", {"mesh": mesh.id, "after": len(found)}, seconds=CALL_S)
        answer = read_answer(BranchesAnswer, reply.result)
        page = [*_decode(reply.body)]
        found += page
        if not answer.more or not page:
            break
    return found


def _decode(body: bytes) -> Iterator[Record]:
    return (Record.decode(item) for item in unpack_items(body))


async def _show(node: Node, connection: Connection, mesh: Mesh, tip: TipRef, beside: set[bytes]) -> TipRef:
    """Give the broker each history that it once signed and does not show, so that others hear of it; its tip then."""
    records = [*read_own(node, mesh), *mesh.branches.values()]
    theirs = beside | {record.hash for record in trace(records, tip.chain_hash)}
    for signed in (mesh.signed_tip, *mesh.evidence.values()):
        path = trace(records, Tip.decode(signed).ref.chain_hash) if signed else ()
        lacking = [record.encode() for record in path if record.hash not in theirs]
        if not lacking:
            continue
        try:
            params: Params = {"mesh": mesh.id, "tip": signed}
            reply = await connection.call("chain.branch", params, pack_items(lacking), seconds=CALL_S)
        except RemoteError as error:
            log.warning("the broker does not take a history", code=Word(error.code), mesh=Id(mesh.id))
            continue
        theirs |= {record.hash for record in path}
        tip = read_tip(mesh.id, mesh.row.broker_key, read_answer(TipAnswer, reply.result).tip)
    return tip
