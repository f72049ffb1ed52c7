"""Entering a mesh at its broker: the mutual hello, the chain, the seals. Every step verifies before it keeps."""

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

import apsw

from mesh_protocol import broker_api as api
from mesh_protocol.broker_api import Challenge, HelloAnswer
from mesh_protocol.broker_chain import ChainAnswer
from mesh_protocol.chain import Record, mesh_id_of
from mesh_protocol.hello import (
    BrokerHello,
    ClientHello,
    admission_proof,
    sign_client_hello,
    transcript_hash,
    verify_broker_hello,
)
from mesh_protocol.ids import MeshId, MsgId
from mesh_protocol.io.connection import Connection
from mesh_protocol.keys import CryptoError, SigningKey
from mesh_protocol.members import extend, settled
from mesh_protocol.op import read_answer
from mesh_protocol.seals import EpochSeal, MeshKeys, check_epoch_keys, open_keys
from mesh_protocol.tip import Tip, TipRef, verify_tip
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.items import pack_items, unpack_items
from meshd.log import Id, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.store import meshes as store
from meshd.store.devices import add_devices
from meshd.store.outbox import end_removed

log = get_logger("link")

CALL_S = 15.0
"""A broker that does not answer an ordinary call in this time counts as gone."""
APPEND_RECORDS = 64
"""Records in one append: what a broker takes."""


class Greeting(NamedTuple):
    """The connection's challenge: what every hello on it signs."""

    connection: Connection
    challenge: Challenge


async def say_hello(
    greeting: Greeting,
    mesh_id: MeshId,
    key: SigningKey,
    *,
    generation: int,
    nonce: bytes,
    invite: bool = False,
    meet: bool = False,
    create: Sequence[Record] = (),
    token: bytes = b"",
) -> HelloAnswer:
    """The mutual hello. Raises `RemoteError` when the broker refuses, `CryptoError` when its half is not genuine."""
    challenge = greeting.challenge
    hello = ClientHello(
        broker_key=challenge.broker_key,
        mesh_id=mesh_id,
        device=key.public,
        challenge=challenge.challenge,
        nonce=nonce,
        ver_min=api.VERSION_MIN,
        ver_max=api.VERSION_MAX,
        generation=generation,
    )
    signature = sign_client_hello(hello, key)
    reply = await greeting.connection.call(
        "hello",
        {
            "mesh": mesh_id,
            "device": key.public,
            "nonce": nonce,
            "ver_min": hello.ver_min,
            "ver_max": hello.ver_max,
            "generation": generation,
            "sig": signature,
            "invite": invite,
            "meet": meet,
            "create": bool(create),
            "admission": admission_proof(token, hello) if token else b"",
        },
        pack_items([record.encode() for record in create]) if create else b"",
        seconds=CALL_S,
    )
    answer = read_answer(HelloAnswer, reply.result)
    verify_broker_hello(
        BrokerHello(transcript_hash(hello, signature), answer.version, answer.session_id, answer.server_ms),
        answer.sig,
        client_hello=hello,
        client_signature=signature,
    )
    return answer


def read_tip(mesh_id: MeshId, broker_key: bytes, encoded: bytes) -> TipRef:
    """The broker's signed statement of how far its chain is. Raises `CryptoError`."""
    tip = Tip.decode(encoded)
    verify_tip(tip, mesh_id, broker_key)
    return tip.ref


async def keep_records(node: Node, mesh: Mesh, records: Sequence[Record]) -> None:
    """Verify records, store them, then extend the mesh in memory: the disk is never behind what we act on.

    Records that are here already are passed over. Raises `ChainError`, or `storage_full`, and then nothing is changed.
    """
    new = [record for record in records if record.seq > len(mesh.hashes)]
    if not new:
        return
    before = mesh.chain
    state = extend(before, new)
    rows = [(record.seq, record.encode()) for record in new]
    came = state.devices.keys() - (before.devices.keys() if before is not None else ())
    at_ms = node.now()
    gone = [each for each, was in before.devices.items() if was.active and not state.is_active(each)] if before else []

    def work(tx: apsw.Connection) -> list[MsgId]:
        store.add_records(tx, mesh.id, rows)
        add_devices(tx, mesh.id, came, at_ms)
        return end_removed(tx, mesh.id, gone)

    ended = await node.db.write(work)
    if mesh.chain is before:
        mesh.adopt(state, new)
    else:  # meanwhile an append of our own was taken in
        mesh.grow([record for record in new if record.seq > len(mesh.hashes)])
    for msg_id in ended:
        node.changed(msg_id)
    node.events.publish("mesh", mesh=mesh.slug)


async def fetch_chain(node: Node, connection: Connection, mesh: Mesh) -> None:
    """Read, verify and keep what the broker has beyond our records.

    A page may end inside an append; its tail is read again with the next page.
    """
    while True:
        reply = await connection.call("chain.read", {"mesh": mesh.id, "after": len(mesh.hashes)}, seconds=CALL_S)
        answer = read_answer(ChainAnswer, reply.result)
        decoded = (Record.decode(item) for item in unpack_items(reply.body))
        records = [record for record in decoded if record.seq > len(mesh.hashes)]
        whole = records[: settled(records)]
        if not mesh.hashes and whole and mesh_id_of(whole[0]) != mesh.id:
            raise MeshError("chain_invalid", why="it is another mesh's")
        await keep_records(node, mesh, whole)
        if not answer.more or not whole:
            if len(whole) != len(records):
                raise MeshError("chain_invalid", why="it ends in the middle of an append")
            return


async def sync_chain(node: Node, connection: Connection, mesh: Mesh, tip: TipRef) -> None:
    """Bring our chain up to the broker's tip, and keep it. Raises `MeshError` with `broker_rollback` for another history."""
    known = len(mesh.hashes)
    if tip.chain_seq > known:
        await fetch_chain(node, connection, mesh)  # which may bring more than the tip names
    if tip.chain_seq > len(mesh.hashes) or not agrees(mesh, tip):
        raise MeshError("broker_rollback", mesh=mesh.slug)
    if tip.chain_seq < known:  # of what we read since it was signed it could not know
        raise _Behind(tip)
    if tip.chain_seq >= mesh.tip.chain_seq or tip.chain_seq == len(mesh.hashes):
        mesh.tip = tip


def agrees(mesh: Mesh, tip: TipRef) -> bool:
    """Whether a tip names a record of our chain; one beyond our chain does not disagree."""
    if tip.chain_seq > len(mesh.hashes):
        return True
    return tip.chain_seq >= 1 and mesh.hashes[tip.chain_seq - 1] == tip.chain_hash


class _Behind(MeshError):
    """The broker's chain is a true prefix of ours: it lost records, and takes them back from us."""

    def __init__(self, tip: TipRef) -> None:
        super().__init__("broker_rollback")
        self.tip = tip


async def give_back(node: Node, connection: Connection, mesh: Mesh, behind: TipRef) -> None:
    """Return to a broker that was restored from a backup the records it lost, then sync with its new tip.

    Raises `MeshError` with `broker_rollback` when it stays behind all the same.
    """
    lost = [Record.decode(data) for data in store.read_chain(node.db.reader, mesh.id)[behind.chain_seq :]]
    log.warning("the broker lost records, giving them back", mesh=Id(mesh.id), records=len(lost))
    previous, tip = behind.chain_hash, behind
    while lost:
        part = lost[:APPEND_RECORDS]
        part = part[: settled(part)]
        lost = lost[len(part) :]
        reply = await connection.call(
            "chain.append",
            {"mesh": mesh.id, "previous": previous},
            pack_items([pack_items([record.encode() for record in part]), pack_items([])]),
            seconds=CALL_S,
        )
        previous = part[-1].hash
        tip = read_tip(mesh.id, mesh.row.broker_key, read_answer(api.TipAnswer, reply.result).tip)
    await sync_chain(node, connection, mesh, tip)


async def follow_tip(node: Node, connection: Connection, mesh: Mesh, tip: TipRef) -> bool:
    """`sync_chain`, giving back what a restored broker lost. Returns whether it had lost something."""
    try:
        await sync_chain(node, connection, mesh, tip)
    except _Behind as error:
        await give_back(node, connection, mesh, error.tip)
        return True
    return False


async def take_seals(node: Node, connection: Connection, mesh: Mesh) -> bool:
    """Open the epoch seals that lie at the broker for this device and keep the keys the chain vouches for.

    Returns whether anything new was learnt. A seal that does not open or does not match is reported, never kept.
    """
    reply = await connection.call("seals.read", {"mesh": mesh.id}, seconds=CALL_S)
    learnt = False
    newest = 0
    for item in unpack_items(reply.body):
        try:
            seal = EpochSeal.decode(item)
            prekey = mesh.prekeys[seal.prekey_id]
            keys, tip = open_keys(seal, prekey, mesh.id)
            check_epoch_keys(mesh.state, keys)
            _require_not_older(mesh, tip)
        except (CryptoError, KeyError) as error:
            log.warning("an epoch seal cannot be used", mesh=Id(mesh.id), error=error)
            mesh.lacking.bad_seal = sha256(item).digest()
            continue
        await keep_keys(node, mesh, keys)
        learnt = True
        newest = max(newest, seal.epoch)
    if newest:
        await connection.call("seals.ack", {"mesh": mesh.id, "epoch": newest}, seconds=CALL_S)
    return learnt


def _require_not_older(mesh: Mesh, tip: TipRef) -> None:
    """Who sealed our keys had seen this much of the chain: a broker that shows us less, or something else, is caught."""
    if tip.chain_hash in mesh.branches:
        return  # sealed before a fork was resolved; the keys are held against the chain all the same
    if tip.chain_seq and (tip.chain_seq > len(mesh.hashes) or mesh.hashes[tip.chain_seq - 1] != tip.chain_hash):
        raise MeshError("broker_rollback", mesh=mesh.slug)


async def keep_keys(node: Node, mesh: Mesh, keys: MeshKeys) -> None:
    """Add keys that match the chain to what this device holds; with the first ones the mesh becomes active."""
    if _is_left(mesh):  # it has just dropped them
        return
    known = dict(mesh.keys.epochs) if mesh.keys is not None else {}
    fresh = {epoch: key for epoch, key in keys.epochs.items() if epoch not in known}
    name_key = mesh.keys.name_key if mesh.keys is not None else keys.name_key
    sealed = {e: node.seal("epoch_key", "sealed", mesh.id + e.to_bytes(8, "little"), k) for e, k in fresh.items()}
    first, row = mesh.keys is None, mesh.row
    if first:
        row = row._replace(state="active", secret=node.seal("mesh", "secret", mesh.id, name_key), trouble="")

    def work(tx: apsw.Connection) -> None:
        for epoch, value in sealed.items():
            store.put_epoch_key(tx, mesh.id, epoch, value)
        if first:
            store.put_mesh(tx, row)

    await node.db.write(work)
    if _is_left(mesh):  # since then, and what was stored is deleted behind it
        return
    if first:
        mesh.row = mesh.row._replace(state=row.state, secret=row.secret, trouble=row.trouble)
    held = mesh.keys.epochs if mesh.keys is not None else {}  # others may have come meanwhile
    mesh.keys = MeshKeys(name_key, {**held, **fresh})
    mesh.rename()


def _is_left(mesh: Mesh) -> bool:
    """Asked before and after what takes time."""
    return mesh.leaving
