"""Coming back from a backup: as a new device of the same person, or as the very device that was backed up.

A new device holds the past of its meshes at once, and waits until the chain lists it: another device of its member signs that,
a signer if none of them is left, or the recovery key if the backup holds it. The very device needs nobody; its generation is
far above any that the lost one can have reached, so the broker refuses that one from then on (crypto design 2.5, 2.16).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from mesh_protocol.ids import MeshId
from mesh_protocol.io.sqlite import Database
from mesh_protocol.keys import CryptoError, SigningKey
from mesh_protocol.members import ChainState
from mesh_protocol.pae import lst, read_u64, u64, unlst_exactly
from mesh_protocol.seals import MeshKeys
from mesh_protocol.tip import TipRef
from mesh_protocol.wire.errors import MeshError
from meshd.audit import COPY_NAME
from meshd.backup import Backup, BackupMesh, BadBackup
from meshd.columns import open_column
from meshd.keys.file_backend import KeyDirectory
from meshd.keys.identity import Identity
from meshd.keys.store import KeyStore
from meshd.log import get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.prekeys import make_prekey
from meshd.recovery import recovery_row
from meshd.store import meshes as store
from meshd.store.audit import forget_all
from meshd.store.meshes import MeshRow
from meshd.store.recovery import put_recovery
from meshd.store.trust import TrustRow, put_standing
from meshd.store.verified import put_pin
from meshd.verified import Pin

log = get_logger("restoring")

RESTORING: Final = "restoring"
"""The row that makes the next start take over the backed-up device: its seed and generation, sealed."""
FAR_ABOVE: Final = 2**32
"""Starts that the lost device cannot have had since its backup. Usually the clock gives more: 2**40 milliseconds."""


class Planted(NamedTuple):
    """A mesh as it will be in memory, and what stores it."""

    mesh: Mesh
    store: Callable[[apsw.Connection], None]


class Genuine(NamedTuple):
    """A mesh of a backup whose chain and keys were verified."""

    entry: BackupMesh
    state: ChainState


def verify_backup(backup: Backup) -> list[Genuine]:
    """Every mesh of a backup. Blocks, 60 µs a record. Raises BadBackup."""
    found: list[Genuine] = []
    for entry in backup.meshes:
        try:
            found.append(Genuine(entry, entry.verify()))
        except CryptoError as error:
            raise BadBackup(f"what the backup holds of {entry.slug} is not genuine: {error}") from None
    return found


def plant(node: Node, genuine: Genuine, made_ms: int, key: SigningKey, prekey_id: int) -> Planted:
    """Everything of a mesh for the device that holds `key`, with a new prekey."""
    entry, state = genuine
    row = MeshRow(
        mesh=entry.mesh_id,
        slug=node.free_slug(entry.slug),
        state="active",
        me=entry.me,
        member=entry.member,
        broker_url=entry.broker_url,
        broker_key=entry.broker_key,
        secret=node.seal("mesh", "secret", entry.mesh_id, entry.keys.name_key),
        created_ms=node.now(),
        next_mseq=0,
        trouble="",
    )
    mesh = Mesh(row, keys=MeshKeys(entry.keys.name_key, entry.keys.epochs), link_since_ms=node.now())
    mesh.adopt(state, entry.records)
    mesh.tip = TipRef(state.seq, state.head, 0, bytes(32))
    prekey = make_prekey(node, mesh, prekey_id, key)
    mesh.prekeys[prekey_id], mesh.prekey = prekey.private, prekey.signed
    records = [(record.seq, record.encode()) for record in entry.records]
    epochs = {
        epoch: node.seal("epoch_key", "sealed", mesh.id + epoch.to_bytes(8, "little"), key)
        for epoch, key in entry.keys.epochs.items()
    }
    recovery = recovery_row(node, mesh, entry.recovery, made_ms) if entry.recovery else None

    def work(tx: apsw.Connection) -> None:
        store.put_mesh(tx, row)
        store.add_records(tx, mesh.id, records)
        for epoch, sealed in epochs.items():
            store.put_epoch_key(tx, mesh.id, epoch, sealed)
        store.put_prekey(tx, mesh.id, prekey.row)
        for pin in pins_of(entry):
            put_pin(tx, pin, ())
        for each in entry.trust:
            put_standing(tx, TrustRow(mesh.id, each.member, each.policy, each.withheld, each.at_ms))
        if recovery is not None:
            put_recovery(tx, mesh.id, recovery)

    return Planted(mesh, work)


def pins_of(entry: BackupMesh) -> list[Pin]:
    """The verified peers of a mesh in a backup."""
    return [Pin(entry.mesh_id, pin.member, pin.name, pin.devices, pin.at_ms) for pin in entry.pins]


def require_staying(node: Node) -> None:
    """Raises `not_allowed` on a machine that is another one at its next start: what it entered now would be lost."""
    if store.get_meta(node.db.reader, RESTORING) is not None:
        raise MeshError(
            "not_allowed", why="this machine is the restored one from its next start on: mesh down && mesh up"
        )


async def plant_as_new(node: Node, genuine: Genuine, made_ms: int, *, default: bool) -> Mesh:
    """A mesh of a backup on this machine, which its chain does not list yet. Durable, and in memory."""
    require_staying(node)
    mesh, work = plant(node, genuine, made_ms, node.key, 1)
    first = node.default_mesh is None or default

    def write(tx: apsw.Connection) -> None:
        work(tx)
        if first:
            store.set_meta(tx, "default_mesh", mesh.id)

    node.seams.reached("FP-25")
    await node.db.write(write)
    node.meshes[mesh.id] = mesh
    node.pins.load(pins_of(genuine.entry))
    if first:
        node.default_mesh = mesh.id
    node.events.publish("mesh", mesh=mesh.slug)
    return mesh


async def plant_as_same(node: Node, backup: Backup, meshes: list[Genuine]) -> None:
    """Everything for the backed-up device, in one commit: the next start of this daemon is that device.

    Raises `not_allowed` on a machine that is in a mesh already: that one's keys would be lost.
    """
    require_staying(node)
    if node.meshes:
        raise MeshError(
            "not_allowed",
            why="this machine is in a mesh already, and would stop being its device: restore into a new MESH_HOME,"
            " or leave --same-device out",
        )
    key = SigningKey.from_seed(backup.seed)
    generation = max(backup.generation + FAR_ABOVE, node.now())
    sealed = node.seal("meta", RESTORING, b"", lst(backup.seed, u64(generation)))
    planted = [plant(node, each, backup.made_ms, key, node.now()) for each in meshes]

    def write(tx: apsw.Connection) -> None:
        for each in planted:
            each.store(tx)
        known = [each.mesh.id for each in planted]
        if known:
            store.set_meta(tx, "default_mesh", backup.default if backup.default in known else known[0])
        store.set_meta(tx, RESTORING, sealed)

    node.seams.reached("FP-25")
    await node.db.write(write)
    log.info("the next start is the restored device")


def restored_identity(keystore: KeyStore, db: Database, identity: Identity) -> tuple[Identity, int]:
    """The identity of this start, and the generation that the database must know of it: 0 where nothing is to be restored.

    A death anywhere leaves the row that makes the next start go on here.
    """
    sealed = store.get_meta(db.reader, RESTORING)
    if sealed is None:
        return identity, 0
    plain = open_column(bytes(identity.store_key), "meta", RESTORING, b"", sealed)
    seed, packed = unlst_exactly(plain, 2)
    generation = read_u64(packed)
    if identity.device_id != SigningKey.from_seed(seed).public:
        identity = keystore.replace_device(seed, generation)
    return identity, generation


async def finish_restore(db: Database, keys: Path, identity: Identity) -> None:
    """The database follows the keys. The audit begins anew: what is in it was signed by the device that this one was."""
    KeyDirectory(keys).remove(COPY_NAME)

    def work(tx: apsw.Connection) -> None:
        forget_all(tx)
        store.set_meta(tx, "device", identity.device_id)
        store.set_meta(tx, "generation", identity.generation.to_bytes(8, "little"))
        tx.execute("DELETE FROM meta WHERE key=?", (RESTORING,))

    await db.write(work)
    log.info("the restored device is here")


def known_as_device(node: Node, mesh_id: MeshId) -> bool:
    """Whether this machine is a device of that mesh, or waits to be one by an invite."""
    mesh = node.meshes.get(mesh_id)
    return mesh is not None and (not mesh.active or mesh.state.is_active(node.device))
