"""The mesh's keys on their way to a device: one HPKE seal for each, beside the chain (crypto design 2.12).

Base mode names no sender, so a device takes epoch keys from anyone and believes them only when each matches the
commitment on its verified chain: `check_epoch_keys`.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh_protocol import hpke
from mesh_protocol.chain import epoch_kc
from mesh_protocol.ids import DEVICE_ID_SIZE, DeviceId, MeshId
from mesh_protocol.keys import (
    AEAD_TAG_SIZE,
    KEY_SIZE,
    SUITE,
    BadPeerKey,
    CryptoError,
    PrekeyPrivate,
    SignedPrekey,
)
from mesh_protocol.members import ChainState
from mesh_protocol.names import open_name
from mesh_protocol.padding import pad, require_padding
from mesh_protocol.pae import (
    MAX_INT,
    BadEncoding,
    lst,
    pae,
    read_u64,
    require_number,
    require_size,
    split_items,
    u64,
    unlst_exactly,
)
from mesh_protocol.tip import TipRef

MAX_EPOCHS = 16_384
"""Epoch keys in one seal; with their padding they stay below a megabyte, a frame's body."""
MAX_SEAL = 1024 * 1024

_SEAL_FIELDS = 6
_KEYS_FIELDS = 3
_ENTRY = 8 + KEY_SIZE


class BadEpochKey(CryptoError):
    """Keys that are not the ones the verified chain commits to. Ask another member for them."""


@dataclass(frozen=True, slots=True)
class MeshKeys:
    """The name key and the epoch keys by epoch number, 32 bytes each. Prints nothing of them."""

    name_key: bytes = field(repr=False)
    epochs: Mapping[int, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        require_size(self.name_key, KEY_SIZE, "a name key")
        require_number(len(self.epochs), 1, MAX_EPOCHS, "the number of epoch keys")
        for epoch, key in self.epochs.items():
            require_number(epoch, 1, MAX_INT, "epoch")
            require_size(key, KEY_SIZE, "an epoch key")


@dataclass(frozen=True, slots=True)
class EpochSeal:
    """Mesh keys up to `epoch`, sealed to prekey `prekey_id` of `to_device`."""

    to_device: DeviceId
    epoch: int
    prekey_id: int
    enc: bytes
    ct: bytes

    def __post_init__(self) -> None:
        require_size(self.to_device, DEVICE_ID_SIZE, "to_device")
        require_number(self.epoch, 1, MAX_INT, "epoch")
        require_number(self.prekey_id, 0, MAX_INT, "prekey_id")
        require_size(self.enc, hpke.ENC_SIZE, "enc")
        if not AEAD_TAG_SIZE <= len(self.ct) <= MAX_SEAL:
            raise BadEncoding("a seal has a size that none has")

    def encode(self) -> bytes:
        """The seal as it travels."""
        return lst(SUITE, self.to_device, u64(self.epoch), u64(self.prekey_id), self.enc, self.ct)

    @classmethod
    def decode(cls, data: bytes) -> "EpochSeal":
        """Raises BadEncoding."""
        suite, to_device, epoch, prekey_id, enc, ct = unlst_exactly(data, _SEAL_FIELDS)
        if suite != SUITE:
            raise BadEncoding("a seal of an unknown suite: this build knows suite 1")
        return cls(DeviceId(to_device), read_u64(epoch), read_u64(prekey_id), enc, ct)

    def info(self, mesh_id: MeshId, prekey_pub: bytes) -> bytes:
        """The HPKE info that binds mesh, device, epoch and prekey to the ciphertext."""
        return _seal_info(mesh_id, self.epoch, self.to_device, self.prekey_id, prekey_pub)


def _seal_info(mesh_id: MeshId, epoch: int, to: DeviceId, prekey_id: int, prekey_pub: bytes) -> bytes:
    return pae("epoch-seal", SUITE, mesh_id, u64(epoch), to, u64(prekey_id), prekey_pub)


def seal_keys(mesh_id: MeshId, epoch: int, to: SignedPrekey, keys: MeshKeys, tip: TipRef) -> EpochSeal:
    """Seal `keys`, the newest of which is `epoch`'s, to the device whose verified prekey `to` is.

    `tip` is the sealer's own: a newcomer accepts nothing older. Raises BadPeerKey for another mesh's or a low-order prekey.
    """
    if to.mesh_id != mesh_id:
        raise BadPeerKey("the prekey belongs to another mesh")
    _require_newest(keys, epoch)
    info = _seal_info(mesh_id, epoch, to.device, to.prekey_id, to.pub)
    enc, ct = hpke.seal(to.pub, info, pad(pack_keys(keys, tip)))
    return EpochSeal(to.device, epoch, to.prekey_id, enc, ct)


def open_keys(seal: EpochSeal, prekey: PrekeyPrivate, mesh_id: MeshId) -> tuple[MeshKeys, TipRef]:
    """The keys and the sealer's tip, both unproven until `check_epoch_keys`. Raises BadCiphertext or BadEncoding."""
    padded = hpke.open(prekey, seal.info(mesh_id, prekey.public), seal.enc, seal.ct)
    (name_key, entries, tip), used = split_items(padded, _KEYS_FIELDS)
    require_padding(padded, used)
    keys = MeshKeys(name_key, _unpack_epochs(entries))
    _require_newest(keys, seal.epoch)
    return keys, TipRef.decode(tip)


def check_epoch_keys(state: ChainState, keys: MeshKeys) -> None:
    """Raises BadEpochKey unless every epoch key matches its commitment on the verified chain `state`.

    The name key has no commitment, but it must open the mesh's own name in genesis.
    """
    for epoch, key in keys.epochs.items():
        kc = state.kcs.get(epoch)
        if kc is None or not hmac.compare_digest(epoch_kc(state.mesh_id, epoch, key), kc):
            raise BadEpochKey(f"the key of epoch {epoch} is not the one the chain commits to")
    try:
        open_name(keys.name_key, state.genesis.salt, state.genesis.sealed_mesh_name)
    except CryptoError:
        raise BadEpochKey("the name key does not open the mesh's name") from None


def pack_keys(keys: MeshKeys, tip: TipRef) -> bytes:
    """The sealed content before padding: name key, epoch keys by rising epoch, tip."""
    entries = b"".join(u64(epoch) + keys.epochs[epoch] for epoch in sorted(keys.epochs))
    return lst(keys.name_key, entries, tip.encode())


def _unpack_epochs(entries: bytes) -> dict[int, bytes]:
    if len(entries) % _ENTRY or len(entries) > MAX_EPOCHS * _ENTRY:
        raise BadEncoding("the epoch keys of a seal have a size that none have")
    epochs: dict[int, bytes] = {}
    last = 0
    for start in range(0, len(entries), _ENTRY):
        epoch = read_u64(entries[start : start + 8])
        if epoch <= last:
            raise BadEncoding("the epoch keys of a seal are not in rising order")
        epochs[epoch] = entries[start + 8 : start + _ENTRY]
        last = epoch
    return epochs


def _require_newest(keys: MeshKeys, epoch: int) -> None:
    if max(keys.epochs) != epoch:
        raise BadEncoding("a seal must hold its own epoch's key and none newer")
