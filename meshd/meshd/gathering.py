"""What this machine puts into a backup, and the way of one between client and daemon.

A file is opened and written by the client alone: a path outside of its home is none of the daemon's business. So a backup
goes over the socket in pieces, and lies here in memory meanwhile: one that was made, and one that is being brought.
"""

from dataclasses import dataclass
from typing import Final

from mesh_protocol.chain import Record
from mesh_protocol.wire.errors import MeshError
from meshd.backup import MAX_BACKUP, Backup, BackupMesh, BackupPin, BackupTrust, Stretch, stretch_backup
from meshd.link.driver import LOCAL
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.recovery import recovery_seed
from meshd.store.meshes import read_chain
from meshd.store.trust import read_standings
from meshd.store.verified import read_pins

PIECE: Final = 512 * 1024
"""Bytes of a backup in one frame."""
FORGET_MS: Final = 600_000
"""A backup that nobody fetched or finished is dropped at the next one's coming, or when it is asked for so late."""


def may_be_restored(mesh: Mesh) -> bool:
    """Whether a copy of this mesh means anything elsewhere: one of this machine's own broker ends with this machine."""
    return mesh.active and mesh.row.broker_url != LOCAL


def gather(node: Node, seed: bytes, *, recovery: bool) -> Backup:
    """The backup of this machine. `seed` is its device key's, or empty; `recovery`: with the recovery keys that are here."""
    meshes = tuple(_gather(node, mesh, recovery=recovery) for mesh in node.meshes.values() if may_be_restored(mesh))
    return Backup(node.now(), node.device, seed, node.generation, node.default_mesh or b"", meshes)


def _gather(node: Node, mesh: Mesh, *, recovery: bool) -> BackupMesh:
    assert mesh.keys is not None
    row, reader = mesh.row, node.db.reader
    return BackupMesh(
        mesh_id=mesh.id,
        slug=row.slug,
        me=row.me,
        member=row.member,
        broker_url=row.broker_url,
        broker_key=row.broker_key,
        keys=mesh.keys,
        recovery=(recovery_seed(node, mesh) or b"") if recovery else b"",
        records=tuple(Record.decode(data) for data in read_chain(reader, mesh.id)),
        pins=tuple(
            BackupPin(pin.member, pin.name, pin.devices, pin.at_ms) for pin in read_pins(reader) if pin.mesh == mesh.id
        ),
        trust=tuple(
            BackupTrust(each.member, each.policy, each.withheld, each.at_ms) for each in read_standings(reader, mesh.id)
        ),
    )


@dataclass(frozen=True, slots=True)
class _Parcel:
    id: str
    data: bytearray
    size: int
    at_ms: int


class Shipments:
    """At most one backup each way. `stretched` is Argon2id, in a child process."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._going: _Parcel | None = None
        self._coming: _Parcel | None = None
        self.stretched: Stretch = stretch_backup

    def offer(self, data: bytes) -> str:
        """A backup that the client is to fetch; its id."""
        self._going = self._parcel(bytearray(data), len(data))
        return self._going.id

    def read(self, parcel_id: str, offset: int) -> bytes:
        """A piece of it; with the last one it is forgotten. Raises `not_found`."""
        parcel = self._known(self._going, parcel_id)
        piece = bytes(parcel.data[offset : offset + PIECE])
        if offset + PIECE >= parcel.size:
            self._going = None
        return piece

    def take(self, parcel_id: str, size: int, piece: bytes) -> str:
        """The next piece of a backup of `size` bytes that the client brings; with an empty id the first. Its id.

        Raises `too_large`, `not_found`, or `bad_request` for more than was announced.
        """
        if size > MAX_BACKUP:
            raise MeshError("too_large", what="the backup", size=size, limit=MAX_BACKUP)
        if not parcel_id:
            self._coming = self._parcel(bytearray(), size)
            parcel_id = self._coming.id
        parcel = self._known(self._coming, parcel_id)
        if len(parcel.data) + len(piece) > parcel.size:
            self._coming = None
            raise MeshError("bad_request", what="more of a backup than was announced")
        parcel.data.extend(piece)
        return parcel_id

    def brought(self, parcel_id: str) -> bytes:
        """The whole backup that was brought, which is forgotten. Raises `not_found` while it is not whole."""
        parcel = self._known(self._coming, parcel_id)
        if len(parcel.data) != parcel.size:
            raise MeshError("not_found", what="whole backup", id=parcel_id)
        self._coming = None
        return bytes(parcel.data)

    def _parcel(self, data: bytearray, size: int) -> _Parcel:
        now = self._node.now()
        for old in (self._going, self._coming):
            if old is not None and now - old.at_ms > FORGET_MS:
                old.data.clear()
        return _Parcel(self._node.seams.rng(16).hex(), data, size, now)

    def _known(self, parcel: _Parcel | None, parcel_id: str) -> _Parcel:
        if parcel is None or parcel.id != parcel_id or self._node.now() - parcel.at_ms > FORGET_MS:
            raise MeshError("not_found", what="backup under way", id=parcel_id)
        return parcel
