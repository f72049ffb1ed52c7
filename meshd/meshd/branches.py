"""Other histories of a mesh's membership: kept beside ours, judged with it, and what a person is told of them.

Whatever a broker showed that is valid stays, on the disk too, so that the same records lead to the same freeze and the
same end here as on every other machine (crypto design 2.4).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import apsw

from mesh_protocol.chain import Record, epoch_kc
from mesh_protocol.forks import Frozen, Head, Settled, judge, shared, standing, trace
from mesh_protocol.ids import DeviceId, MemberId
from mesh_protocol.members import ChainState, Member, extend
from mesh_protocol.names import member_subject, open_name
from mesh_protocol.pae import CryptoError
from mesh_protocol.seals import MeshKeys
from mesh_protocol.tip import Tip, TipRef
from mesh_protocol.wire.errors import MeshError
from meshd.log import Id, get_logger
from meshd.store import branches as store
from meshd.store.branches import KeyRow
from meshd.store.meshes import read_chain

if TYPE_CHECKING:
    from meshd.mesh import Mesh
    from meshd.node import Node

log = get_logger("branches")

MAX_BRANCH_RECORDS: Final = 1_024
"""Records of other histories that are kept, as many as a broker keeps: a hostile one must not fill the disk."""
TRIES: Final = 4


class Standing(NamedTuple):
    """One of the histories between which a mesh stands: its last record and state, and `first`, where it parts."""

    head: Head
    records: tuple[Record, ...]
    first: Record
    state: ChainState


class Fork(NamedTuple):
    """A mesh that is frozen: what the histories have in common, and each of them, in the order of their heads."""

    result: Frozen
    standing: tuple[Standing, ...]


class Judged(NamedTuple):
    """What our chain and all else that is known come to. `beside` are the valid records that are not our chain, by hash."""

    own: tuple[Record, ...]
    result: Settled | Fork
    beside: Mapping[bytes, Record]


def judge_all(mesh: "Mesh", own: Sequence[Record], others: Sequence[Record]) -> Judged:
    """Judge our chain with all others. Takes some 60 us a record. Raises `ChainError`."""
    records = [*own, *others]
    result = judge(mesh.id, records)
    mine = {record.hash for record in own}
    valid = standing(result, records) - mine
    beside = {digest: record for record in others if (digest := record.hash) in valid}
    if isinstance(result, Settled):
        return Judged(tuple(own), result, beside)
    common = len(result.records)
    stands: list[Standing] = []
    for head in result.heads:
        branch = trace(records, head.hash)
        state = extend(result.state, branch[common:])
        stands.append(Standing(head, branch, branch[common], state))
    return Judged(tuple(own), Fork(result, tuple(stands)), beside)


def read_own(node: "Node", mesh: "Mesh") -> list[Record]:
    """Our chain, from the disk."""
    return [Record.decode(data) for data in read_chain(node.db.reader, mesh.id)]


def restore(node: "Node", mesh: "Mesh") -> None:
    """Take up what was known of other histories when the daemon ended. Raises `CryptoError`."""
    tip = store.read_tip(node.db.reader, mesh.id)
    mesh.signed_tip = tip or b""
    mesh.evidence = {Tip.decode(data).ref.chain_hash: data for data, _ in store.read_evidence(node.db.reader, mesh.id)}
    records = [Record.decode(data) for data in store.read_branches(node.db.reader, mesh.id)]
    if records:
        judged = judge_all(mesh, read_own(node, mesh), records)
        mesh.branches = dict(judged.beside)
        _freeze(node, mesh, judged.result)


async def weigh(node: "Node", mesh: "Mesh", found: Sequence[Record]) -> None:
    """Judge what a broker or a member showed together with all that is known; keep what is valid of it; freeze, or go on
    with the history that counts. Raises `ChainError`, or `broker_rollback` when it is more than may be kept."""
    for _ in range(TRIES):
        head = mesh.hashes[-1] if mesh.hashes else b""
        own = read_own(node, mesh)
        others = {**mesh.branches, **{record.hash: record for record in found}}
        judged = await node.seams.threads(lambda own=own, others=others: judge_all(mesh, own, [*others.values()]))  # type: ignore[misc]
        if head == (mesh.hashes[-1] if mesh.hashes else b""):
            await _keep(node, mesh, judged)
            return
    raise MeshError("chain_conflict")


async def _keep(node: "Node", mesh: "Mesh", judged: Judged) -> None:
    own, result, beside = judged
    if isinstance(result, Settled) and result.records != own:
        await _follow(node, mesh, judged, result)
    else:
        _require_room(mesh, len(beside))
        new = [(digest, record.encode()) for digest, record in beside.items() if digest not in mesh.branches]
        if new:
            await node.db.write(lambda tx: store.add_branches(tx, mesh.id, new))
        mesh.branches = dict(beside)
    _freeze(node, mesh, result)


def _require_room(mesh: "Mesh", count: int) -> None:
    if count > MAX_BRANCH_RECORDS:
        log.error("a broker shows more histories than are kept", mesh=Id(mesh.id), records=count)
        raise MeshError("broker_rollback", mesh=mesh.slug)


async def _follow(node: "Node", mesh: "Mesh", judged: Judged, result: Settled) -> None:
    """Go on with another history than ours, or with a longer end of it: chain, keys and names, in one commit."""
    own, records = judged.own, result.records
    if node.device not in result.state.devices:
        raise MeshError(
            "chain_invalid", why="this machine belongs to a history that does not count: ask for a new invite"
        )
    kept = len(shared(own, records))
    chosen = {record.hash for record in records}
    beside = {digest: record for digest, record in judged.beside.items() if digest not in chosen}
    beside.update({record.hash: record for record in own[kept:]})
    _require_room(mesh, len(beside))
    rows = [(record.hash, record.encode()) for record in records[kept:]]
    lost = [(digest, record.encode()) for digest, record in beside.items()]
    out, back = _exchange(node, mesh, result.state)
    gone, opened = {key.epoch for key in out}, {key.epoch: _open_key(node, mesh, key) for key in back}

    def work(tx: apsw.Connection) -> None:
        store.replace_chain(tx, mesh.id, kept, rows)
        store.add_branches(tx, mesh.id, lost)
        store.exchange_keys(tx, mesh.id, out, back)

    def settled() -> None:
        if pending.succeeded:
            if mesh.keys is not None:
                epochs = {epoch: key for epoch, key in mesh.keys.epochs.items() if epoch not in gone} | opened
                mesh.keys = MeshKeys(mesh.keys.name_key, epochs) if epochs else mesh.keys
            mesh.branches = beside
            _go_over(node, mesh, own, result)

    # Whoever asked may go away meanwhile, as with a lost connection: what is in memory goes over with the disk.
    pending = node.db.submit(work)
    pending.settled(settled)
    await pending.wait()


def _go_over(node: "Node", mesh: "Mesh", own: tuple[Record, ...], result: Settled) -> None:
    """Another history than `own` is stored as ours: think so too."""
    records = result.records
    kept = len(shared(own, records))
    mesh.hashes[:] = [record.hash for record in records[:kept]]
    mesh.adopt(result.state, records[kept:])
    mesh.tip = TipRef(result.state.seq, result.state.head, 0, bytes(32))
    if kept < len(own):
        mesh.parted = min(mesh.parted, kept)
        mesh.broker_forgot = True
        log.warning("another history of a mesh counts", mesh=Id(mesh.id), kept=kept, records=len(records))
    _freeze(node, mesh, result)
    node.events.publish("mesh", mesh=mesh.slug)


def _exchange(node: "Node", mesh: "Mesh", state: ChainState) -> tuple[list[KeyRow], list[KeyRow]]:
    """The epoch keys that `state` does not commit to, and those put aside earlier to which it does."""
    held = mesh.keys.epochs if mesh.keys is not None else {}
    out: list[KeyRow] = []
    for epoch, key in held.items():
        kc = epoch_kc(mesh.id, epoch, key)
        if state.kcs.get(epoch) != kc:
            out.append(KeyRow(epoch, kc, node.seal("epoch_key", "sealed", _place(mesh, epoch), key)))
    aside = store.read_branch_keys(node.db.reader, mesh.id)
    return out, [key for key in aside if state.kcs.get(key.epoch) == key.kc]


def _open_key(node: "Node", mesh: "Mesh", key: KeyRow) -> bytes:
    return node.open("epoch_key", "sealed", _place(mesh, key.epoch), key.sealed)


def _place(mesh: "Mesh", epoch: int) -> bytes:
    return mesh.id + epoch.to_bytes(8, "little")


def _freeze(node: "Node", mesh: "Mesh", result: Settled | Fork) -> None:
    """Freeze the mesh, or end a freeze."""
    if isinstance(result, Settled):
        if mesh.fork is not None:
            log.info("a fork is resolved", mesh=Id(mesh.id))
        mesh.fork = None
        return
    known, mesh.fork = mesh.fork, result
    mesh.broker_forgot = True
    mesh.alarm = sentence(mesh, result)
    if known is None or known.result != result.result:
        mesh.doubts.history_ms = node.now()
        log.error("a mesh is frozen between histories", mesh=Id(mesh.id), heads=len(result.standing))
        node.events.publish("alarm", mesh=mesh.slug, why=mesh.alarm)


# What a person is told.


def sentence(mesh: "Mesh", fork: Fork) -> str:
    """Both heads in a sentence, and what to run."""
    heads = " and ".join(
        f"record {each.head.seq} {each.head.hash.hex()[:12]} (from record {each.first.seq} on, signed by"
        f" {signer_name(mesh, fork, each.first)})"
        for each in fork.standing[:3]
    )
    count = len(fork.standing)
    return (
        f"the broker signed {count} histories of the membership: {heads}; compare them with others, then mesh resolve"
    )


def why_stopped(mesh: "Mesh") -> str:
    """In a few words what the broker did, where that is known; else empty."""
    if mesh.fork is not None:
        return f"it signed {len(mesh.fork.standing)} histories of {mesh.slug}, which is frozen between them: run mesh resolve"
    for digest, seq in mesh.withheld.items():
        other, here = f"record {seq} ({digest.hex()[:12]})", f"record {len(mesh.hashes)} ({mesh.hashes[-1].hex()[:12]})"
        return (
            f"it signed {other} of {mesh.slug} for another member, and does not show it to this machine, which it shows"
            f" {here} as the last"
        )
    return ""


def signer_name(mesh: "Mesh", fork: Fork, record: Record) -> str:
    """Who signed a record: a member's name and the beginning of his device's key."""
    for state in (fork.result.state, *(each.state for each in fork.standing)):
        if state is None:
            continue
        if record.signer == state.genesis.recovery_pub:
            return "the recovery key"
        member = state.member_of(DeviceId(record.signer))
        if member is not None:
            return f"{member_name(mesh, state, member)}, {record.signer.hex()[:8]}"
    return record.signer.hex()[:8]


def member_name(mesh: "Mesh", state: ChainState, member: Member) -> str:
    """A member's name in any of the histories."""
    try:
        assert mesh.keys is not None
        return open_name(mesh.keys.name_key, member_subject(member.member_id, state.genesis.salt), member.sealed_name)
    except (CryptoError, AssertionError):
        return f"member-{member.member_id.hex()[:8]}"


def only_there(mesh: "Mesh", fork: Fork, chosen: Standing) -> list[str]:
    """The names of members who are in some history and not in `chosen`: they are lost if it is."""
    found: dict[MemberId, str] = {}
    for each in fork.standing:
        for member_id, member in each.state.members.items():
            if member_id not in chosen.state.members and member_id not in chosen.state.former:
                found[member_id] = member_name(mesh, each.state, member)
    return sorted(found.values())
