"""Bodies of the records that change a mesh: removals, roles, signers, names, and what is said of broker, log and forks."""

from dataclasses import dataclass
from typing import Self

from mesh_protocol.chain_fields import (
    MAX_BROKER_URLS,
    flag_bytes,
    pack_texts,
    read_flag,
    read_texts,
    require_broker_urls,
    require_rising,
    require_sealed_name,
)
from mesh_protocol.ids import DEVICE_ID_SIZE, INVITE_ID_SIZE, MEMBER_ID_SIZE, DeviceId, InviteId, MemberId
from mesh_protocol.keys import KEY_SIZE
from mesh_protocol.pae import (
    MAX_INT,
    lst,
    read_text,
    read_u64,
    require_number,
    require_size,
    text_bytes,
    u64,
    unlst,
    unlst_exactly,
)
from mesh_protocol.rights import PERMISSIONS, rank, require_permissions
from mesh_protocol.tip import HASH_SIZE

MAX_KEPT = 90
"""Devices that one revocation may keep by name; they fit a record."""


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """A member goes with all his devices; an epoch record ends the append. Banned, none of them may come back."""

    member_id: MemberId
    ban: bool

    def __post_init__(self) -> None:
        require_size(self.member_id, MEMBER_ID_SIZE, "member_id")

    def encode(self) -> bytes:
        """The body's bytes."""
        return lst(self.member_id, flag_bytes(self.ban))

    @classmethod
    def decode(cls, body: bytes) -> "RemoveMember":
        """Raises BadEncoding."""
        member_id, ban = unlst_exactly(body, 2)
        return cls(MemberId(member_id), read_flag(ban))


@dataclass(frozen=True, slots=True)
class Unban:
    """The devices of a removed and banned member may be admitted again; he himself stays removed."""

    member_id: MemberId

    def __post_init__(self) -> None:
        require_size(self.member_id, MEMBER_ID_SIZE, "member_id")

    def encode(self) -> bytes:
        """The body's bytes."""
        return lst(self.member_id)

    @classmethod
    def decode(cls, body: bytes) -> "Unban":
        """Raises BadEncoding."""
        (member_id,) = unlst_exactly(body, 1)
        return cls(MemberId(member_id))


@dataclass(frozen=True, slots=True)
class RevokeDevice:
    """A device goes for good, with every device it added but those in `kept`; an epoch record ends the append.

    Added means signed an `add_device` for, also by a device that goes along. `kept` stands in rising order.
    """

    device: DeviceId
    kept: tuple[DeviceId, ...]

    def __post_init__(self) -> None:
        require_size(self.device, DEVICE_ID_SIZE, "device")
        require_number(len(self.kept), 0, MAX_KEPT, "the number of devices kept")
        require_rising(self.kept)

    def encode(self) -> bytes:
        """The body's bytes."""
        return lst(self.device, lst(*self.kept))

    @classmethod
    def decode(cls, body: bytes) -> "RevokeDevice":
        """Raises BadEncoding."""
        device, kept = unlst_exactly(body, 2)
        return cls(DeviceId(device), tuple(DeviceId(item) for item in unlst(kept, max_items=MAX_KEPT)))


@dataclass(frozen=True, slots=True)
class SetRole:
    """A member gets another role, or the same one anew: either way his policy ends."""

    member_id: MemberId
    role: str

    def __post_init__(self) -> None:
        require_size(self.member_id, MEMBER_ID_SIZE, "member_id")
        rank(self.role)

    def encode(self) -> bytes:
        """The body's bytes."""
        return lst(self.member_id, text_bytes(self.role))

    @classmethod
    def decode(cls, body: bytes) -> "SetRole":
        """Raises BadEncoding."""
        member_id, role = unlst_exactly(body, 2)
        return cls(MemberId(member_id), read_text(role))


@dataclass(frozen=True, slots=True)
class Policy:
    """A member may do exactly this, whatever his role's permissions are. `permissions` stand in rising order."""

    member_id: MemberId
    permissions: tuple[str, ...]

    def __post_init__(self) -> None:
        require_size(self.member_id, MEMBER_ID_SIZE, "member_id")
        require_permissions(self.permissions)

    def encode(self) -> bytes:
        """The body's bytes."""
        return lst(self.member_id, lst(*pack_texts(self.permissions)))

    @classmethod
    def decode(cls, body: bytes) -> "Policy":
        """Raises BadEncoding."""
        member_id, permissions = unlst_exactly(body, 2)
        return cls(MemberId(member_id), read_texts(permissions, len(PERMISSIONS)))


@dataclass(frozen=True, slots=True)
class SetName:
    """A member's name, sealed anew under the mesh's name key."""

    member_id: MemberId
    sealed_name: bytes

    def __post_init__(self) -> None:
        require_size(self.member_id, MEMBER_ID_SIZE, "member_id")
        require_sealed_name(self.sealed_name)

    def encode(self) -> bytes:
        """The body's bytes."""
        return lst(self.member_id, self.sealed_name)

    @classmethod
    def decode(cls, body: bytes) -> "SetName":
        """Raises BadEncoding."""
        member_id, sealed_name = unlst_exactly(body, 2)
        return cls(MemberId(member_id), sealed_name)


@dataclass(frozen=True, slots=True)
class _OneDevice:
    """A body that names one device and nothing else."""

    device: DeviceId

    def __post_init__(self) -> None:
        require_size(self.device, DEVICE_ID_SIZE, "device")

    def encode(self) -> bytes:
        """The body's bytes."""
        return lst(self.device)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Raises BadEncoding."""
        (device,) = unlst_exactly(body, 1)
        return cls(DeviceId(device))


@dataclass(frozen=True, slots=True)
class AddSigner(_OneDevice):
    """An active device becomes a signer of the mesh."""


@dataclass(frozen=True, slots=True)
class RemoveSigner(_OneDevice):
    """A device is a signer no more; it stays a device."""


@dataclass(frozen=True, slots=True)
class InviteClose:
    """Nobody is let in by this invite any more."""

    invite_id: InviteId

    def __post_init__(self) -> None:
        require_size(self.invite_id, INVITE_ID_SIZE, "invite_id")

    def encode(self) -> bytes:
        """The body's bytes."""
        return lst(self.invite_id)

    @classmethod
    def decode(cls, body: bytes) -> "InviteClose":
        """Raises BadEncoding."""
        (invite_id,) = unlst_exactly(body, 1)
        return cls(InviteId(invite_id))


@dataclass(frozen=True, slots=True)
class BrokerKey:
    """The mesh lives at the broker with this Ed25519 key from here on, reached by these URLs."""

    key: bytes
    urls: tuple[str, ...]

    def __post_init__(self) -> None:
        require_size(self.key, KEY_SIZE, "a broker key")
        require_broker_urls(self.urls)

    def encode(self) -> bytes:
        """The body's bytes."""
        return lst(self.key, lst(*pack_texts(self.urls)))

    @classmethod
    def decode(cls, body: bytes) -> "BrokerKey":
        """Raises BadEncoding."""
        key, urls = unlst_exactly(body, 2)
        return cls(key, read_texts(urls, MAX_BROKER_URLS))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the log came to at `log_seq` (crypto design 2.8): `views_hash` under `fold_version`, stored as `blob`."""

    log_seq: int
    log_head: bytes
    fold_version: int
    views_hash: bytes
    blob: bytes

    def __post_init__(self) -> None:
        require_number(self.log_seq, 1, MAX_INT, "log_seq")
        require_size(self.log_head, HASH_SIZE, "log_head")
        require_number(self.fold_version, 1, MAX_INT, "fold_version")
        require_size(self.views_hash, HASH_SIZE, "views_hash")
        require_size(self.blob, HASH_SIZE, "blob")

    def encode(self) -> bytes:
        """The body's bytes."""
        return lst(u64(self.log_seq), self.log_head, u64(self.fold_version), self.views_hash, self.blob)

    @classmethod
    def decode(cls, body: bytes) -> "Snapshot":
        """Raises BadEncoding."""
        log_seq, log_head, fold_version, views_hash, blob = unlst_exactly(body, 5)
        return cls(read_u64(log_seq), log_head, read_u64(fold_version), views_hash, blob)


@dataclass(frozen=True, slots=True)
class Resolve:
    """This branch counts (crypto design 2.4): `head` is the hash of the record before this one.

    `log_seq` and `log_head` name the log's end that counts; 0 and zero bytes where the log was not split.
    """

    head: bytes
    log_seq: int
    log_head: bytes

    def __post_init__(self) -> None:
        require_size(self.head, HASH_SIZE, "head")
        require_number(self.log_seq, 0, MAX_INT, "log_seq")
        require_size(self.log_head, HASH_SIZE, "log_head")

    def encode(self) -> bytes:
        """The body's bytes."""
        return lst(self.head, u64(self.log_seq), self.log_head)

    @classmethod
    def decode(cls, body: bytes) -> "Resolve":
        """Raises BadEncoding."""
        head, log_seq, log_head = unlst_exactly(body, 3)
        return cls(head, read_u64(log_seq), log_head)
