"""Ending a fork: which history counts is a person's word, signed by a key that none of the histories has removed.

The resolve begins a new epoch in the same append, sealed to every device of the chosen history: who was admitted only on
another one has held a key of the epoch that they share.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from mesh_protocol.chain import Record, Resolve, epoch_kc, make_record
from mesh_protocol.forks import Settled, judge
from mesh_protocol.ids import DeviceId
from mesh_protocol.io.connection import Connection
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.keys import CryptoError, SigningKey
from mesh_protocol.rotation import Rotation, rotate
from mesh_protocol.seals import MeshKeys
from mesh_protocol.tip import TipRef
from mesh_protocol.wire.codec import CodecError
from mesh_protocol.wire.errors import MeshError, RemoteError
from mesh_protocol.wire.items import pack_items
from meshd.branches import Fork, Standing, only_there, read_own
from meshd.link.greeting import CALL_S
from meshd.link.prekeys import fetch_prekeys
from meshd.link.refusals import not_genuine, own_words
from meshd.link.table import LinkState
from meshd.log import Id, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.recovery import recovery_key

if TYPE_CHECKING:
    from meshd.app import App

log = get_logger("resolving")

RESOLVE_S: Final = 30.0
"""Until the broker serves the chosen history and this machine has verified it."""


class Resolved(NamedTuple):
    """What a resolve came to. `unsealed` devices got no new key, `lost` members are in no history that counts."""

    by_recovery: bool
    unsealed: tuple[DeviceId, ...]
    lost: tuple[str, ...]


def find_head(fork: Fork, beginning: str) -> Standing:
    """The history whose head's hash begins so. Raises `not_found` or `ambiguous_id`."""
    found = [each for each in fork.standing if each.head.hash.hex().startswith(beginning)]
    if not found:
        raise MeshError("not_found", what="history", id=beginning)
    if len(found) > 1:
        raise MeshError("ambiguous_id", id=beginning, candidates=[each.head.hash.hex()[:16] for each in found])
    return found[0]


async def settles(node: Node, mesh: Mesh, chosen: Standing, key: SigningKey) -> bool:
    """Whether a resolve by `key` on the head of `chosen` ends the fork: the rule itself is asked."""
    body = Resolve(chosen.head.hash, 0, bytes(32)).encode()
    record = make_record(chosen.records[-1], "resolve", body, key, mesh.id)
    records = [*read_own(node, mesh), *mesh.branches.values(), record]
    result = await node.seams.threads(lambda: judge(mesh.id, records))
    return isinstance(result, Settled) and result.records[-1] == record


async def resolve(app: "App", mesh: Mesh, chosen: Standing, given: SigningKey | None) -> Resolved:
    """Append the resolve on the history `chosen`, by this machine's key if it may, else by the recovery key, which is
    `given` or is still here; wait until this machine follows it. Raises `MeshError`."""
    node, fork, url = app.node, mesh.fork, mesh.row.broker_url
    assert fork is not None
    key = await _find_key(node, mesh, chosen, given)
    link = app.brokers.link_of(mesh)
    if link is None:
        raise MeshError("broker_unreachable", url=url, why=mesh.link_why or mesh.link.value)
    lost = tuple(only_there(mesh, fork, chosen))
    try:
        with trio.fail_after(RESOLVE_S):
            rotation = await _append(node, link.greeting.connection, mesh, chosen, key)
            link.retry()
            await _wait_whole(app, mesh)
    except trio.TooSlowError:
        raise MeshError("timeout", what="the resolve", seconds=RESOLVE_S) from None
    except LinkClosed:
        raise MeshError("broker_unreachable", url=url, why="the connection was lost") from None
    except RemoteError as error:
        raise MeshError("broker_refused", url=url, why=own_words(error, url).message) from None
    except (CryptoError, CodecError) as error:
        raise not_genuine(error, url) from None
    log.info("resolved a fork", mesh=Id(mesh.id))
    return Resolved(key.public != node.device, rotation.unsealed, lost)


async def _find_key(node: Node, mesh: Mesh, chosen: Standing, given: SigningKey | None) -> SigningKey:
    """The key that may choose. Raises `not_allowed`."""
    for key in (given, node.key if given is None else None, recovery_key(node, mesh) if given is None else None):
        if key is not None and await settles(node, mesh, chosen, key):
            return key
    if given is not None:
        raise MeshError(
            "not_allowed", why=f"this is not the recovery key of {mesh.slug}, or it chose another history before"
        )
    raise MeshError(
        "not_allowed",
        why=f"this machine may not choose in {mesh.slug}: one that signed for the mesh before the histories part, and that"
        " none of them removes, runs the same command; or give the recovery key: mesh resolve HEAD --recovery FILE",
    )


async def _append(node: Node, connection: Connection, mesh: Mesh, chosen: Standing, key: SigningKey) -> Rotation:
    state, held = chosen.state, mesh.keys
    if held is None:
        raise MeshError("no_mesh")
    others = [device for device in state.devices if state.is_active(device) and device != node.device]
    await fetch_prekeys(node, connection, mesh, others)
    committed = {epoch: gk for epoch, gk in held.epochs.items() if state.kcs.get(epoch) == epoch_kc(mesh.id, epoch, gk)}
    own = {node.device: mesh.prekey} if mesh.prekey is not None else {}
    rotation = rotate(
        state,
        chosen.records[-1],
        [Resolve(chosen.head.hash, 0, bytes(32))],
        key=key,
        keys=MeshKeys(held.name_key, committed or held.epochs),
        new_key=node.seams.rng(32),
        prekeys={**mesh.peer_prekeys, **own},
        tip=TipRef(chosen.head.seq, chosen.head.hash, 0, bytes(32)),
    )
    await connection.call(
        "chain.append", {"mesh": mesh.id, "previous": chosen.head.hash}, _pack(rotation), seconds=CALL_S
    )
    return rotation


def _pack(rotation: Rotation) -> bytes:
    records: Sequence[Record] = rotation.records
    return pack_items(
        [pack_items([record.encode() for record in records]), pack_items([seal.encode() for seal in rotation.seals])]
    )


async def _wait_whole(app: "App", mesh: Mesh) -> None:
    with app.node.events.subscribe(frozenset({"link", "mesh"})) as changes:
        while mesh.fork is not None or mesh.link is not LinkState.ONLINE:
            await changes.take()
