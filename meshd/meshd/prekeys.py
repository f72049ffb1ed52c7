"""This device's own prekeys: making them, opening with them, and deleting them in time (crypto design 2.2).

A private half is on the disk before its public half leaves this machine. A signed prekey is replaced daily and its private
half deleted after 48 hours of connected time, or when it is 45 days old; a one-time prekey goes with the message that it
opened.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import apsw

from mesh_protocol.envelope import Outer
from mesh_protocol.fan import GroupOuter
from mesh_protocol.keys import BadPeerKey, PrekeyPrivate, SignedPrekey, SigningKey, sign_prekey
from mesh_protocol.prekeys import FIRST_ONETIME, MAX_AGE_MS, MAX_BATCH, OneTimeBatch, is_onetime, is_too_old, sign_batch
from mesh_protocol.wire.errors import MeshError
from meshd.log import Id, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.store import prekeys as store
from meshd.store.meshes import PrekeyRow, put_prekey
from meshd.store.prekeys import Age, OneTimeRow, Use

log = get_logger("prekeys")

HOUR_MS: Final = 3_600_000
ROTATE_MS: Final = 24 * HOUR_MS
KEEP_CONNECTED_MS: Final = 48 * HOUR_MS
"""Connected time after which nobody can still mean a signed prekey: others fetch it anew every twelve hours."""
REPLACE_ONETIME_MS: Final = 30 * 24 * HOUR_MS
"""One-time prekeys that lie at the broker for so long are replaced, well before they are refused for their age."""
MAX_KEPT: Final = 1000
"""One-time prekeys whose private half is kept: who takes many and uses none must not fill the disk."""


class NewPrekey(NamedTuple):
    """A signed prekey that is not stored yet."""

    row: PrekeyRow
    private: PrekeyPrivate
    signed: SignedPrekey


def make_prekey(node: Node, mesh: Mesh, prekey_id: int, key: SigningKey | None = None) -> NewPrekey:
    """A signed prekey of this device, or of the one that holds `key`."""
    seed = node.seams.rng(32)
    private = PrekeyPrivate.from_seed(seed)
    signed = sign_prekey(key or node.key, mesh.id, prekey_id, private.public, node.now())
    sealed = node.seal("prekey", "sealed", _place(mesh, prekey_id), seed)
    return NewPrekey(PrekeyRow(prekey_id, sealed, signed.encode(), signed.made_ms), private, signed)


def is_due(node: Node, mesh: Mesh) -> bool:
    """Whether the newest signed prekey is a day old, or was made by a clock that was ahead. A clock that is off makes none:
    others would refuse it for its age."""
    if mesh.prekey is None or node.clock_is_off:
        return False
    return not -HOUR_MS <= node.now() - mesh.prekey.made_ms < ROTATE_MS


async def rotate(node: Node, mesh: Mesh) -> None:
    """Make the next signed prekey. Raises `storage_full`, and then the one before stays the newest."""
    assert mesh.prekey is not None
    made = make_prekey(node, mesh, max(mesh.prekey.prekey_id + 1, node.now()))
    node.seams.reached("FP-18")
    await node.db.write(lambda tx: put_prekey(tx, mesh.id, made.row))
    mesh.prekeys[made.row.prekey_id] = made.private
    mesh.prekey = made.signed
    log.info("a new signed prekey", mesh=Id(mesh.id))


async def make_batch(node: Node, mesh: Mesh) -> OneTimeBatch:
    """A hundred one-time prekeys, whose private halves are on the disk. Raises `storage_full`, or `no_mesh` when the mesh
    is being left."""
    rng = node.seams.rng
    first = FIRST_ONETIME + int.from_bytes(rng(6), "little") * MAX_BATCH
    seeds = [rng(32) for _ in range(MAX_BATCH)]
    now = node.now()
    pubs = await node.seams.threads(lambda: [PrekeyPrivate.from_seed(seed).public for seed in seeds])  # 5 ms
    if mesh.leaving:  # meanwhile
        raise MeshError("no_mesh")
    rows = [
        OneTimeRow(first + place, node.seal("onetime", "sealed", _place(mesh, first + place), seed), now)
        for place, seed in enumerate(seeds)
    ]
    batch = sign_batch(node.key, mesh.id, first, now, pubs)
    node.seams.reached("FP-18")
    await node.db.write(lambda tx: store.add_onetime(tx, mesh.id, rows))
    return batch


async def drop_batch(node: Node, mesh: Mesh, batch: OneTimeBatch) -> None:
    """Forget a batch that the broker has refused."""
    last = batch.first_id + len(batch.pubs) - 1
    await node.db.write(lambda tx: store.drop_onetime(tx, mesh.id, batch.first_id, last))


def hands_out_again(node: Node, mesh: Mesh, following: int) -> bool:
    """Whether a broker that hands out one-time prekey `following` next, and then the rest of its batch, is about to hand out
    one that is used or gone: it was restored from a backup. Keys of a batch are handed out in rising order."""
    if not is_onetime(following):
        return False
    last = following - (following - FIRST_ONETIME) % MAX_BATCH + MAX_BATCH - 1
    reader = node.db.reader
    return store.is_used(reader, mesh.id, following, last) or store.read_onetime(reader, mesh.id, following) is None


def require_fresh(node: Node, made_ms: int) -> None:
    """Raises BadPeerKey for a prekey of another device that is too old to be sealed to, if our clock can tell."""
    if not node.clock_is_off and is_too_old(made_ms, node.now()):
        raise BadPeerKey("the prekey is too old: its owner's machine has not been online for long")


def find_private(node: Node, mesh: Mesh, outer: Outer | GroupOuter) -> PrekeyPrivate | None:
    """The key that an envelope was sealed to. None: it is gone, or it is a one-time key that another message has used,
    which is noted: then the broker has given it out twice, or its sender is in error."""
    if not is_onetime(outer.prekey_id):
        return mesh.prekeys.get(outer.prekey_id)
    if isinstance(outer, GroupOuter):
        return None
    use = Use(outer.from_device, outer.msg_id)
    other = mesh.claims.get(outer.prekey_id) or store.read_use(node.db.reader, mesh.id, outer.prekey_id)
    if other is not None and other != use:
        log.warning("a one-time prekey was used twice", mesh=Id(mesh.id), device=Id(outer.from_device))
        mesh.doubts.used_twice(other.from_device, outer.from_device, node.now())
        mesh.replace_onetime = True
        return None
    sealed = store.read_onetime(node.db.reader, mesh.id, outer.prekey_id)
    if sealed is None:
        return None
    return PrekeyPrivate.from_seed(node.open("onetime", "sealed", _place(mesh, outer.prekey_id), sealed))


def spending(node: Node, mesh: Mesh, outer: Outer | GroupOuter) -> Callable[[apsw.Connection], None]:
    """What belongs into the transaction that makes a message ours: its one-time prekey, if it has one, goes."""
    if not is_onetime(outer.prekey_id):
        return lambda _tx: None
    use, now = Use(outer.from_device, outer.msg_id), node.now()
    return lambda tx: store.spend_onetime(tx, mesh.id, outer.prekey_id, use, now)


def too_old(ages: Sequence[Age], newest: int, now_ms: int, *, by_clock: bool) -> list[int]:
    """The signed prekeys whose private half is to be deleted; never the newest. Pure."""
    return [
        age.prekey_id
        for age in ages
        if age.prekey_id != newest
        and (age.connected_ms >= KEEP_CONNECTED_MS or (by_clock and now_ms - age.made_ms > MAX_AGE_MS))
    ]


async def retire(node: Node, mesh: Mesh, connected_ms: int) -> None:
    """Count `connected_ms` more of connected time, and delete what has had its time. Raises `storage_full`."""
    if mesh.prekey is None:  # the mesh is being left
        return
    now, newest = node.now(), mesh.prekey.prekey_id
    by_clock = node.clock_is_known and not node.clock_is_off
    ages = [
        age._replace(connected_ms=age.connected_ms + connected_ms) for age in store.read_ages(node.db.reader, mesh.id)
    ]
    gone = too_old(ages, newest, now, by_clock=by_clock)

    def work(tx: apsw.Connection) -> int:
        store.add_connected(tx, mesh.id, connected_ms)
        store.drop_prekeys(tx, mesh.id, gone)
        return store.forget_onetime(tx, mesh.id, now - MAX_AGE_MS if by_clock else 0, MAX_KEPT)

    forgotten = await node.db.write(work)
    for prekey_id in gone:
        mesh.prekeys.pop(prekey_id, None)
    if gone or forgotten or mesh.spent:
        mesh.spent = False
        node.db.cut_log()


def _place(mesh: Mesh, prekey_id: int) -> bytes:
    return mesh.id + prekey_id.to_bytes(8, "little")
