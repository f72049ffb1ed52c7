"""The file that `mesh backup` writes: what a person needs to come back when this machine is gone (crypto design 2.16).

```
file      = MAGIC || salt (16) || nonce (24) || XChaCha20-Poly1305(key, nonce, aad, content)
key       = Argon2id(passphrase, salt, 256 MiB, 3 passes)
aad       = PAE("backup", MAGIC, salt)
content   = lst(u64(made_ms), device, device seed or empty, u64(generation), default mesh or empty, lst(mesh ..))
mesh      = lst(mesh_id, slug, name, member, broker_url, broker_key, name_key, epoch keys, recovery seed or empty,
                lst(record ..), lst(pin ..), lst(trust ..))
```

It holds the whole verified chain, so that a restored machine knows the history and no broker can show it another. It holds no
message, no prekey and nothing that is queued: a copy of those would be older than what it stands for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from mesh_protocol.chain import Record, mesh_id_of
from mesh_protocol.ids import DEVICE_ID_SIZE, MEMBER_ID_SIZE, MESH_ID_SIZE, DeviceId, MemberId, MeshId
from mesh_protocol.keys import KEY_SIZE, NONCE_SIZE, BadCiphertext, SigningKey, aead_open, aead_seal
from mesh_protocol.members import ChainState, extend
from mesh_protocol.pae import (
    BadEncoding,
    lst,
    pae,
    read_text,
    read_u64,
    require_size,
    text_bytes,
    u64,
    unlst,
    unlst_exactly,
)
from mesh_protocol.seals import MeshKeys, check_epoch_keys
from meshd.keys.argon2 import BACKUP_MEMORY, stretch

MAGIC: Final = b"meshd-backup-1\n"
SALT_SIZE: Final = 16
MAX_BACKUP: Final = 64 * 1024 * 1024
"""Bytes of a whole file: six meshes with chains of ten thousand records."""
MAX_MESHES: Final = 1_000
MAX_RECORDS: Final = 100_000
MAX_ROWS: Final = 10_000
_HEAD: Final = len(MAGIC) + SALT_SIZE + NONCE_SIZE
_ENTRY: Final = 8 + KEY_SIZE

Stretch = Callable[[bytes, bytes], bytes]


class BadBackup(Exception):
    """The file is no backup, was changed, or the passphrase is wrong. The text says which, as far as that can be told."""


@dataclass(frozen=True, slots=True)
class BackupPin:
    """A member whose keys were compared: his name and devices then, and when (Unix epoch milliseconds)."""

    member: MemberId
    name: str
    devices: tuple[DeviceId, ...]
    at_ms: int


@dataclass(frozen=True, slots=True)
class BackupTrust:
    """What was decided of a sender, and when (Unix epoch milliseconds): the policy, and the grants that he does not have."""

    member: MemberId
    policy: str
    withheld: frozenset[str]
    at_ms: int


@dataclass(frozen=True, slots=True)
class BackupMesh:
    """One mesh, with everything that opens its past. `recovery` is the recovery key's seed, empty where it is not held."""

    mesh_id: MeshId
    slug: str
    me: str
    member: MemberId
    broker_url: str
    broker_key: bytes
    keys: MeshKeys
    recovery: bytes = field(repr=False)
    records: tuple[Record, ...]
    pins: tuple[BackupPin, ...]
    trust: tuple[BackupTrust, ...]

    def verify(self) -> ChainState:
        """The chain's state. Raises CryptoError unless all of it belongs together. 60 µs a record."""
        if not self.records or mesh_id_of(self.records[0]) != self.mesh_id:
            raise BadEncoding("the chain is another mesh's")
        state = extend(None, self.records)
        check_epoch_keys(state, self.keys)
        if self.recovery and SigningKey.from_seed(self.recovery).public != state.genesis.recovery_pub:
            raise BadEncoding("the recovery key is another mesh's")
        return state

    def encode(self) -> bytes:
        epochs = self.keys.epochs
        return lst(
            self.mesh_id,
            text_bytes(self.slug),
            text_bytes(self.me),
            self.member,
            text_bytes(self.broker_url),
            self.broker_key,
            self.keys.name_key,
            b"".join(u64(epoch) + epochs[epoch] for epoch in sorted(epochs)),
            self.recovery,
            lst(*(record.encode() for record in self.records)),
            lst(*(lst(p.member, text_bytes(p.name), b"".join(p.devices), u64(p.at_ms)) for p in self.pins)),
            lst(*(_pack_trust(t) for t in self.trust)),
        )

    @classmethod
    def decode(cls, data: bytes) -> "BackupMesh":
        """Raises BadEncoding."""
        fields = unlst_exactly(data, 12)
        mesh_id, slug, me, member, url, broker_key, name_key, epochs, recovery, records, pins, trust = fields
        for value, size in ((mesh_id, MESH_ID_SIZE), (member, MEMBER_ID_SIZE), (broker_key, KEY_SIZE)):
            require_size(value, size, "a field of a backup")
        if recovery:
            require_size(recovery, KEY_SIZE, "a recovery key")
        return cls(
            mesh_id=MeshId(mesh_id),
            slug=read_text(slug),
            me=read_text(me),
            member=MemberId(member),
            broker_url=read_text(url),
            broker_key=broker_key,
            keys=MeshKeys(name_key, _read_epochs(epochs)),
            recovery=recovery,
            records=tuple(Record.decode(each) for each in unlst(records, max_items=MAX_RECORDS)),
            pins=tuple(_read_pin(each) for each in unlst(pins, max_items=MAX_ROWS)),
            trust=tuple(_read_trust(each) for each in unlst(trust, max_items=MAX_ROWS)),
        )


@dataclass(frozen=True, slots=True)
class Backup:
    """What a file holds. `seed` is the device key's, empty unless it was asked for; `generation` what it had reached."""

    made_ms: int
    device: DeviceId
    seed: bytes = field(repr=False)
    generation: int
    default: bytes
    meshes: tuple[BackupMesh, ...]

    def encode(self) -> bytes:
        meshes = lst(*(mesh.encode() for mesh in self.meshes))
        return lst(u64(self.made_ms), self.device, self.seed, u64(self.generation), self.default, meshes)

    @classmethod
    def decode(cls, data: bytes) -> "Backup":
        """Raises BadEncoding."""
        made_ms, device, seed, generation, default, meshes = unlst_exactly(data, 6)
        require_size(device, DEVICE_ID_SIZE, "a device")
        if seed and SigningKey.from_seed(seed).public != device:
            raise BadEncoding("the device key of the backup is another device's")
        items = unlst(meshes, max_items=MAX_MESHES)
        read = tuple(BackupMesh.decode(each) for each in items)
        return cls(read_u64(made_ms), DeviceId(device), seed, read_u64(generation), default, read)


def stretch_backup(passphrase: bytes, salt: bytes) -> bytes:
    """The key of a backup. Blocks for a second. Raises KeysNotReady when the memory cannot be had."""
    return stretch(passphrase, salt, BACKUP_MEMORY)


def seal_backup(backup: Backup, passphrase: bytes, stretched: Stretch, salt: bytes, nonce: bytes) -> bytes:
    """The file's bytes. `salt` (16) and `nonce` (24) are random. Blocks for a second. Raises KeysNotReady."""
    require_size(salt, SALT_SIZE, "a salt")
    return MAGIC + salt + nonce + aead_seal(stretched(passphrase, salt), nonce, _aad(salt), backup.encode())


def open_backup(data: bytes, passphrase: bytes, stretched: Stretch) -> Backup:
    """What a file holds, not verified yet. Blocks for a second. Raises BadBackup, or KeysNotReady."""
    if not data.startswith(MAGIC) or len(data) <= _HEAD:
        raise BadBackup("this file is no backup of meshd, or one of another version")
    salt, nonce = data[len(MAGIC) : len(MAGIC) + SALT_SIZE], data[_HEAD - NONCE_SIZE : _HEAD]
    try:
        return Backup.decode(aead_open(stretched(passphrase, salt), nonce, _aad(salt), data[_HEAD:]))
    except BadCiphertext:
        raise BadBackup("the backup does not open: another passphrase, or the file was changed") from None
    except BadEncoding as error:
        raise BadBackup(f"the backup holds what this version does not understand: {error}") from None


def _aad(salt: bytes) -> bytes:
    return pae("backup", MAGIC, salt)


def _read_epochs(entries: bytes) -> dict[int, bytes]:
    if len(entries) % _ENTRY:
        raise BadEncoding("the epoch keys of a backup are cut off")
    places = range(0, len(entries), _ENTRY)
    return {read_u64(entries[place : place + 8]): entries[place + 8 : place + _ENTRY] for place in places}


def _read_pin(data: bytes) -> BackupPin:
    member, name, devices, at_ms = unlst_exactly(data, 4)
    require_size(member, MEMBER_ID_SIZE, "a member")
    if len(devices) % DEVICE_ID_SIZE:
        raise BadEncoding("the devices of a pin are cut off")
    places: Sequence[int] = range(0, len(devices), DEVICE_ID_SIZE)
    listed = tuple(DeviceId(devices[place : place + DEVICE_ID_SIZE]) for place in places)
    return BackupPin(MemberId(member), read_text(name), listed, read_u64(at_ms))


def _pack_trust(trust: BackupTrust) -> bytes:
    withheld = text_bytes(" ".join(sorted(trust.withheld)))
    return lst(trust.member, text_bytes(trust.policy), withheld, u64(trust.at_ms))


def _read_trust(data: bytes) -> BackupTrust:
    member, policy, withheld, at_ms = unlst_exactly(data, 4)
    require_size(member, MEMBER_ID_SIZE, "a member")
    return BackupTrust(MemberId(member), read_text(policy), frozenset(read_text(withheld).split()), read_u64(at_ms))
