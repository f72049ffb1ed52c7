"""A new epoch with what brings it about, in one append: records, commitment, and a seal for each remaining device.

Crypto design 2.12: whatever a device writes once it holds the removal is unreadable to the removed, because it writes
under a key that was never sealed to them, and wraps to the devices of this chain only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mesh_protocol.chain import Body, Epoch, Record, epoch_kc, make_record, type_of
from mesh_protocol.ids import DeviceId
from mesh_protocol.keys import BadPeerKey, SignedPrekey, SigningKey
from mesh_protocol.members import ChainState, extend
from mesh_protocol.seals import EpochSeal, MeshKeys, seal_keys
from mesh_protocol.tip import TipRef


@dataclass(frozen=True, slots=True)
class Rotation:
    """What to append, the state after it, and the signer's keys with the new one.

    `unsealed` are the devices that have no usable prekey here, in rising order: they ask with a key request.
    """

    records: tuple[Record, ...]
    seals: tuple[EpochSeal, ...]
    unsealed: tuple[DeviceId, ...]
    state: ChainState
    keys: MeshKeys


def rotate(
    before: ChainState,
    last: Record,
    changes: Sequence[Body],
    *,
    key: SigningKey,
    keys: MeshKeys,
    new_key: bytes,
    prekeys: Mapping[DeviceId, SignedPrekey],
    tip: TipRef,
) -> Rotation:
    """`changes` (none: only a new key) and the epoch of `new_key` (32 random bytes) after `last`, signed by `key`.

    `prekeys` are verified; `tip` is the signer's own. With a prekey of its own the signer is sealed to as well: it may
    die between the append and its own disk. Raises ChainError when the chain does not allow it.
    """
    epoch = before.epoch + 1
    bodies: list[Body] = [*changes, Epoch(epoch, epoch_kc(before.mesh_id, epoch, new_key))]
    records: list[Record] = []
    for body in bodies:
        records.append(make_record(records[-1] if records else last, type_of(body), body.encode(), key, before.mesh_id))
    after = extend(before, records)
    renewed = MeshKeys(keys.name_key, {epoch: new_key})
    whole = MeshKeys(keys.name_key, {**keys.epochs, epoch: new_key})
    seals: list[EpochSeal] = []
    unsealed: list[DeviceId] = []
    for device in sorted(device for device in after.devices if after.is_active(device)):
        prekey = prekeys.get(device)
        if prekey is None and device == key.public:
            continue
        try:
            if prekey is None or prekey.device != device:
                raise BadPeerKey("no prekey of this device is at hand")
            # Who comes in with this append holds no older key yet.
            content = renewed if before.is_active(device) else whole
            seals.append(seal_keys(before.mesh_id, epoch, prekey, content, tip))
        except BadPeerKey:
            unsealed.append(device)
    return Rotation(tuple(records), tuple(seals), tuple(unsealed), after, whole)
