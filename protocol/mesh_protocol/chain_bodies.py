"""Bodies of the records that make a mesh and let people in: genesis, epoch, add_member, add_device, invite_open."""

from dataclasses import dataclass

from mesh_protocol.chain_fields import (
    MAX_BROKER_URLS,
    flag_bytes,
    pack_texts,
    read_flag,
    read_texts,
    require_broker_urls,
    require_sealed_name,
)
from mesh_protocol.ids import DEVICE_ID_SIZE, INVITE_ID_SIZE, MEMBER_ID_SIZE, DeviceId, MemberId
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
    unlst_exactly,
)
from mesh_protocol.rights import rank
from mesh_protocol.tip import HASH_SIZE

SALT_SIZE = 16
MAX_INVITE_USES = 1_000


@dataclass(frozen=True, slots=True)
class Genesis:
    """The body of the first record: the first member and device, the recovery key, the broker, the sealed names."""

    salt: bytes
    member_id: MemberId
    device: DeviceId
    recovery_pub: bytes
    broker_key: bytes
    broker_urls: tuple[str, ...]
    sealed_mesh_name: bytes
    sealed_member_name: bytes

    def __post_init__(self) -> None:
        require_size(self.salt, SALT_SIZE, "salt")
        require_size(self.member_id, MEMBER_ID_SIZE, "member_id")
        require_size(self.device, DEVICE_ID_SIZE, "device")
        require_size(self.recovery_pub, KEY_SIZE, "recovery_pub")
        require_size(self.broker_key, KEY_SIZE, "broker_key")
        require_broker_urls(self.broker_urls)
        require_sealed_name(self.sealed_mesh_name)
        require_sealed_name(self.sealed_member_name)

    def encode(self) -> bytes:
        """The body's bytes."""
        return lst(
            self.salt,
            self.member_id,
            self.device,
            self.recovery_pub,
            self.broker_key,
            lst(*pack_texts(self.broker_urls)),
            self.sealed_mesh_name,
            self.sealed_member_name,
        )

    @classmethod
    def decode(cls, body: bytes) -> "Genesis":
        """Raises BadEncoding."""
        salt, member_id, device, recovery, broker, urls, mesh_name, member_name = unlst_exactly(body, 8)
        texts = read_texts(urls, MAX_BROKER_URLS)
        return cls(salt, MemberId(member_id), DeviceId(device), recovery, broker, texts, mesh_name, member_name)


@dataclass(frozen=True, slots=True)
class Epoch:
    """A new epoch key begins; `kc` is its commitment (`epoch_kc`), 32 bytes."""

    epoch: int
    kc: bytes

    def __post_init__(self) -> None:
        require_number(self.epoch, 1, MAX_INT, "epoch")
        require_size(self.kc, HASH_SIZE, "kc")

    def encode(self) -> bytes:
        """The body's bytes."""
        return lst(u64(self.epoch), self.kc)

    @classmethod
    def decode(cls, body: bytes) -> "Epoch":
        """Raises BadEncoding."""
        epoch, kc = unlst_exactly(body, 2)
        return cls(read_u64(epoch), kc)


@dataclass(frozen=True, slots=True)
class AddMember:
    """A member and his first device. `invite_id` is the invite it uses up, or empty when a signer adds him directly."""

    member_id: MemberId
    role: str
    device: DeviceId
    sealed_name: bytes
    invite_id: bytes

    def __post_init__(self) -> None:
        require_size(self.member_id, MEMBER_ID_SIZE, "member_id")
        rank(self.role)
        require_size(self.device, DEVICE_ID_SIZE, "device")
        require_sealed_name(self.sealed_name)
        if self.invite_id:
            require_size(self.invite_id, INVITE_ID_SIZE, "invite_id")

    def encode(self) -> bytes:
        """The body's bytes."""
        return lst(self.member_id, text_bytes(self.role), self.device, self.sealed_name, self.invite_id)

    @classmethod
    def decode(cls, body: bytes) -> "AddMember":
        """Raises BadEncoding."""
        member_id, role, device, sealed_name, invite_id = unlst_exactly(body, 5)
        return cls(MemberId(member_id), read_text(role), DeviceId(device), sealed_name, invite_id)


@dataclass(frozen=True, slots=True)
class AddDevice:
    """One more device of a member; an epoch record follows in the same append."""

    member_id: MemberId
    device: DeviceId

    def __post_init__(self) -> None:
        require_size(self.member_id, MEMBER_ID_SIZE, "member_id")
        require_size(self.device, DEVICE_ID_SIZE, "device")

    def encode(self) -> bytes:
        """The body's bytes."""
        return lst(self.member_id, self.device)

    @classmethod
    def decode(cls, body: bytes) -> "AddDevice":
        """Raises BadEncoding."""
        member_id, device = unlst_exactly(body, 2)
        return cls(MemberId(member_id), DeviceId(device))


@dataclass(frozen=True, slots=True)
class InviteOpen:
    """An invite: whoever holds the private half of `invite_pub` may ask for `role`, `max_uses` times in all.

    `expires_ms` (epoch ms) is judged by the admitting signer's clock, never by the chain. With `approve` a person
    says yes to each request.
    """

    invite_pub: bytes
    role: str
    max_uses: int
    expires_ms: int
    approve: bool

    def __post_init__(self) -> None:
        require_size(self.invite_pub, KEY_SIZE, "invite_pub")
        rank(self.role)
        require_number(self.max_uses, 1, MAX_INVITE_USES, "max_uses")
        require_number(self.expires_ms, 0, MAX_INT, "expires_ms")

    def encode(self) -> bytes:
        """The body's bytes."""
        flag = flag_bytes(self.approve)
        return lst(self.invite_pub, text_bytes(self.role), u64(self.max_uses), u64(self.expires_ms), flag)

    @classmethod
    def decode(cls, body: bytes) -> "InviteOpen":
        """Raises BadEncoding."""
        invite_pub, role, max_uses, expires_ms, flag = unlst_exactly(body, 5)
        return cls(invite_pub, read_text(role), read_u64(max_uses), read_u64(expires_ms), read_flag(flag))
