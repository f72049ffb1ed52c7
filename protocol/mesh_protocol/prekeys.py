"""One-time prekeys: keys that each open one message and are deleted with it (crypto design 2.2), and how old a prekey may be.

```
batch = PAE("prekey-opk-batch", mesh_id, device, u64(first_id), u64(made_ms), pub_0 || pub_1 || ..) || sig by device
```

Key `i` of a batch has the id `first_id + i`. Ids of one-time prekeys are at or above `FIRST_ONETIME`, those of signed
prekeys below it. A broker hands each key out once, with the whole batch, so that whoever takes it checks the one signature.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from mesh_protocol.ids import DEVICE_ID_SIZE, MESH_ID_SIZE, DeviceId, MeshId
from mesh_protocol.keys import KEY_SIZE, SIGNATURE_SIZE, BadPeerKey, SigningKey, verify
from mesh_protocol.pae import (
    MAX_INT,
    BadEncoding,
    lst,
    pae,
    read_u64,
    require_number,
    require_size,
    split_signed,
    u64,
    unlst_exactly,
)

FIRST_ONETIME: Final = 2**62
"""The lowest id of a one-time prekey."""
MAX_BATCH: Final = 100
LOW: Final = 30
"""With fewer left at the broker than this a device adds a batch."""
BATCH_BYTES: Final = 4096
"""More than the encoding of a whole batch."""
MAX_AGE_MS: Final = 45 * 24 * 3600 * 1000
"""A prekey made longer ago than this is not sealed to, and its private half is gone."""

_FIELDS: Final = 5


class OneTimePrekey(NamedTuple):
    """One key of a verified batch, as a sender keeps it until it seals one message to it. `made_ms` is epoch ms."""

    mesh_id: MeshId
    device: DeviceId
    prekey_id: int
    pub: bytes
    made_ms: int


@dataclass(frozen=True, slots=True)
class OneTimeBatch:
    """1 to 100 one-time prekeys of a device in one mesh, under one signature. `made_ms` is epoch ms."""

    mesh_id: MeshId
    device: DeviceId
    first_id: int
    made_ms: int
    pubs: tuple[bytes, ...]
    sig: bytes

    def __post_init__(self) -> None:
        require_size(self.mesh_id, MESH_ID_SIZE, "mesh_id")
        require_size(self.device, DEVICE_ID_SIZE, "device")
        require_number(len(self.pubs), 1, MAX_BATCH, "the number of one-time prekeys")
        require_number(self.first_id, FIRST_ONETIME, MAX_INT - MAX_BATCH, "first_id")
        require_number(self.made_ms, 0, MAX_INT, "made_ms")
        for pub in self.pubs:
            require_size(pub, KEY_SIZE, "a prekey")
        require_size(self.sig, SIGNATURE_SIZE, "a signature")

    def encode(self) -> bytes:
        """The signed PAE and the signature after it; 3,370 bytes at most."""
        return _batch_pae(self.mesh_id, self.device, self.first_id, self.made_ms, self.pubs) + self.sig

    @classmethod
    def decode(cls, data: bytes) -> "OneTimeBatch":
        """Parse only; `verify_batch` judges it. Raises BadEncoding."""
        if len(data) > BATCH_BYTES:
            raise BadEncoding("a batch of one-time prekeys is too large")
        fields, _, sig = split_signed(data, "prekey-opk-batch", _FIELDS, SIGNATURE_SIZE)
        mesh_id, device, first_id, made_ms, pubs = fields
        if len(pubs) % KEY_SIZE:
            raise BadEncoding("a batch of one-time prekeys ends inside of a key")
        keys = tuple(pubs[place : place + KEY_SIZE] for place in range(0, len(pubs), KEY_SIZE))
        return cls(MeshId(mesh_id), DeviceId(device), read_u64(first_id), read_u64(made_ms), keys, sig)

    def key(self, place: int) -> OneTimePrekey:
        """The key at `place`, counted from 0. Raises BadEncoding for one that is not there."""
        require_number(place, 0, len(self.pubs) - 1, "the place in a batch")
        return OneTimePrekey(self.mesh_id, self.device, self.first_id + place, self.pubs[place], self.made_ms)


def sign_batch(key: SigningKey, mesh_id: MeshId, first_id: int, made_ms: int, pubs: Sequence[bytes]) -> OneTimeBatch:
    """The one-time prekeys `pubs` (32 bytes each) of the device that holds `key`, signed for `mesh_id`."""
    sig = key.sign(_batch_pae(mesh_id, key.public, first_id, made_ms, pubs))
    return OneTimeBatch(mesh_id, key.public, first_id, made_ms, tuple(pubs), sig)


def verify_batch(batch: OneTimeBatch, mesh_id: MeshId, device: DeviceId) -> None:
    """Raises BadPeerKey for another mesh's or device's batch, BadSignature for a forged one."""
    if batch.mesh_id != mesh_id or batch.device != device:
        raise BadPeerKey("the one-time prekeys belong to another device or mesh")
    verify(device, _batch_pae(batch.mesh_id, batch.device, batch.first_id, batch.made_ms, batch.pubs), batch.sig)


def pack_given(place: int, batch: bytes) -> bytes:
    """A key as a broker hands it out: its place in its encoded batch."""
    return lst(u64(place), batch)


def unpack_given(data: bytes) -> tuple[int, OneTimeBatch]:
    """The place and the batch, which `verify_batch` has to judge. Raises BadEncoding."""
    place, batch = unlst_exactly(data, 2)
    return read_u64(place), OneTimeBatch.decode(batch)


def is_onetime(prekey_id: int) -> bool:
    """Whether an id names a one-time prekey."""
    return prekey_id >= FIRST_ONETIME


def is_too_old(made_ms: int, now_ms: int) -> bool:
    """Whether a prekey must not be sealed to any more."""
    return now_ms - made_ms > MAX_AGE_MS


def _batch_pae(mesh_id: MeshId, device: DeviceId, first_id: int, made_ms: int, pubs: Sequence[bytes]) -> bytes:
    return pae("prekey-opk-batch", mesh_id, device, u64(first_id), u64(made_ms), b"".join(pubs))
