"""The turn of an epoch: changes of the membership, or none, with a new key for everybody who stays, in one append."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import apsw

from mesh_protocol.chain import Body, Record
from mesh_protocol.chain_draft import AWAIT_EPOCH
from mesh_protocol.ids import DeviceId, MeshId
from mesh_protocol.rotation import Rotation, rotate
from meshd.link.admission import Change, Membership
from meshd.link.greeting import Greeting, keep_keys
from meshd.link.prekeys import fetch_prekeys
from meshd.mesh import Mesh
from meshd.node import Node

LOOK_BACK: Final = 1_000
"""Records that are looked at for an earlier renewal; beyond them nobody renews without being asked by a person."""


class Desk(Protocol):
    """What of a mesh's link a turn needs."""

    @property
    def greeting(self) -> Greeting: ...

    @property
    def membership(self) -> Membership: ...


async def turn_epoch(node: Node, mesh: Mesh, desk: Desk, bodies: Callable[[], Sequence[Body]]) -> Rotation:
    """Append what `bodies` gives with the epoch that ends it, sealed to every device that stays, and keep the new key.

    `bodies` is asked anew on each head and may raise `MeshError` when there is nothing to do any more. The prekeys of
    all active devices are fetched first. Raises `MeshError`, `RemoteError`, `ChainError`.
    """
    made: list[Rotation] = []

    def make(head: Record) -> Change:
        assert mesh.keys is not None
        own = {node.device: mesh.prekey} if mesh.prekey is not None else {}
        rotation = rotate(
            mesh.state,
            head,
            bodies(),
            key=node.key,
            keys=mesh.keys,
            new_key=node.seams.rng(32),
            prekeys={**mesh.peer_prekeys, **own},
            tip=mesh.tip,
        )
        made.append(rotation)
        return Change(rotation.records, rotation.seals)

    others = [device for device in mesh.state.devices if mesh.state.is_active(device) and device != node.device]
    await fetch_prekeys(node, desk.greeting.connection, mesh, others)
    await desk.membership.append(make)
    # Its own seal lies at the broker too, for a daemon that dies here.
    node.seams.reached("FP-17")
    await keep_keys(node, mesh, made[-1].keys)
    return made[-1]


def newest_records(db: apsw.Connection, mesh: MeshId) -> list[Record]:
    """The newest records of a chain, the last one first."""
    rows = db.execute("SELECT record FROM chain WHERE mesh=? ORDER BY seq DESC LIMIT ?", (mesh, LOOK_BACK))
    return [Record.decode(bytes(row[0])) for row in rows]


def may_renew(newest_first: Iterable[Record], device: DeviceId) -> bool:
    """Whether `device` has begun no epoch by itself since somebody last went or a device came.

    So a member who says again and again that a seal is no good makes each signer renew the key once, and not for ever.
    """
    epoch: Record | None = None
    for record in newest_first:
        if epoch is not None:
            if record.type in AWAIT_EPOCH:
                return True
            if epoch.signer == device:
                return False
        epoch = record if record.type == "epoch" else None
    return False
