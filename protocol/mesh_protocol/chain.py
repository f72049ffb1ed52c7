"""The records of a mesh's membership chain, as bytes (crypto design 2.4, 2.12); `members` judges them.

```
record  = PAE("chain-record", seq, prev_hash, type, body, signer, sig)      hash = SHA-256(record)
sig     = Ed25519 over PAE("chain-sig", mesh_id, seq, prev_hash, type, body, signer)
mesh_id = SHA-256(PAE("genesis", seq, prev_hash, type, body, signer, sig)) of the first record
```

Records are numbered from 1. The first has neither a previous hash nor a mesh id under its signature (both have length
zero there), because the mesh id is a hash over all of it. The first epoch's commitment binds the mesh id, so it is
the second record, in the same append.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

from mesh_protocol.ids import (
    DEVICE_ID_SIZE,
    INVITE_ID_SIZE,
    MEMBER_ID_SIZE,
    DeviceId,
    InviteId,
    MemberId,
    MeshId,
)
from mesh_protocol.keys import KEY_SIZE, SIGNATURE_SIZE, SigningKey, verify
from mesh_protocol.pae import (
    MAX_INT,
    BadEncoding,
    lst,
    pae,
    read_text,
    read_u64,
    require_number,
    require_size,
    require_text,
    split_signed,
    text_bytes,
    u64,
    unlst,
    unlst_exactly,
)
from mesh_protocol.tip import HASH_SIZE

MAX_RECORD = 4 * 1024
"""Bytes of one encoded record."""
SYNC_STEP = 2_000
"""Records a daemon asks for and takes at a time (crypto design 2.4)."""
MAX_SEALED_NAME = 512
"""Bytes of a sealed name: the 512 bytes of meta data of crypto design 2.4."""
SALT_SIZE = 16
MAX_BROKER_URLS = 8
MAX_BROKER_URL = 256
MAX_INVITE_USES = 1_000
ROLES = ("member", "admin", "owner")
"""From the least to the most."""

_RECORD_FIELDS = 6
_FLAGS = {b"\x00": False, b"\x01": True}


def rank(role: str) -> int:
    """The place of a role: 0 member, 1 admin, 2 owner. Raises BadEncoding for any other word."""
    try:
        return ROLES.index(role)
    except ValueError:
        raise BadEncoding("a role must be owner, admin or member") from None


def _require_sealed_name(sealed: bytes) -> None:
    if not 1 <= len(sealed) <= MAX_SEALED_NAME:
        raise BadEncoding(f"a sealed name must have 1 to {MAX_SEALED_NAME} bytes")


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
        if not 1 <= len(self.broker_urls) <= MAX_BROKER_URLS:
            raise BadEncoding(f"a mesh must name 1 to {MAX_BROKER_URLS} broker URLs")
        for url in self.broker_urls:
            require_broker_url(url)
        _require_sealed_name(self.sealed_mesh_name)
        _require_sealed_name(self.sealed_member_name)

    def encode(self) -> bytes:
        """The body's bytes."""
        return lst(
            self.salt,
            self.member_id,
            self.device,
            self.recovery_pub,
            self.broker_key,
            lst(*(text_bytes(url) for url in self.broker_urls)),
            self.sealed_mesh_name,
            self.sealed_member_name,
        )

    @classmethod
    def decode(cls, body: bytes) -> "Genesis":
        """Raises BadEncoding."""
        salt, member_id, device, recovery, broker, urls, mesh_name, member_name = unlst_exactly(body, 8)
        texts = tuple(read_text(url) for url in unlst(urls, max_items=MAX_BROKER_URLS))
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
        _require_sealed_name(self.sealed_name)
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
        flag = b"\x01" if self.approve else b"\x00"
        return lst(self.invite_pub, text_bytes(self.role), u64(self.max_uses), u64(self.expires_ms), flag)

    @classmethod
    def decode(cls, body: bytes) -> "InviteOpen":
        """Raises BadEncoding."""
        invite_pub, role, max_uses, expires_ms, flag = unlst_exactly(body, 5)
        if flag not in _FLAGS:
            raise BadEncoding("a flag must be one byte, 0 or 1")
        return cls(invite_pub, read_text(role), read_u64(max_uses), read_u64(expires_ms), _FLAGS[flag])


Body: TypeAlias = Genesis | Epoch | AddMember | AddDevice | InviteOpen

_BODIES: dict[str, Callable[[bytes], Body]] = {
    "genesis": Genesis.decode,
    "epoch": Epoch.decode,
    "add_member": AddMember.decode,
    "add_device": AddDevice.decode,
    "invite_open": InviteOpen.decode,
}


@dataclass(frozen=True, slots=True)
class Record:
    """One link of the chain. `prev_hash` is empty in the first record only; `signer` is an Ed25519 public key."""

    seq: int
    prev_hash: bytes
    type: str
    body: bytes
    signer: DeviceId
    sig: bytes

    def __post_init__(self) -> None:
        require_number(self.seq, 1, MAX_INT, "seq")
        require_size(self.prev_hash, 0 if self.seq == 1 else HASH_SIZE, "prev_hash")
        require_text(self.type, 1, 32, "type")
        require_size(self.signer, DEVICE_ID_SIZE, "signer")
        require_size(self.sig, SIGNATURE_SIZE, "a signature")
        if len(self.body) > MAX_RECORD:
            raise BadEncoding(f"a record is above {MAX_RECORD} bytes")

    def encode(self) -> bytes:
        """The record as it travels and as it is hashed, at most MAX_RECORD bytes. Raises BadEncoding above that."""
        data = pae("chain-record", *self._fields(), self.sig)
        if len(data) > MAX_RECORD:
            raise BadEncoding(f"a record of {len(data)} bytes is above the {MAX_RECORD} allowed")
        return data

    @classmethod
    def decode(cls, data: bytes) -> "Record":
        """Parse only; `members.extend` judges it. Raises BadEncoding."""
        if len(data) > MAX_RECORD:
            raise BadEncoding(f"a record of {len(data)} bytes is above the {MAX_RECORD} allowed")
        fields, _, _ = split_signed(data, "chain-record", _RECORD_FIELDS, 0)
        seq, prev_hash, kind, body, signer, sig = fields
        return cls(read_u64(seq), prev_hash, read_text(kind), body, DeviceId(signer), sig)

    @property
    def hash(self) -> bytes:
        """32 bytes: what the next record and every tip name. The hash of an `invite_open` is its invite id."""
        return sha256(self.encode()).digest()

    def verify(self, mesh_id: MeshId) -> None:
        """Raises BadSignature unless `signer` signed this record for this mesh. Says nothing about his right to."""
        verify(self.signer, _signed_pae(mesh_id, *self._fields()), self.sig)

    def _fields(self) -> tuple[bytes, bytes, bytes, bytes, bytes]:
        return u64(self.seq), self.prev_hash, text_bytes(self.type), self.body, self.signer


def make_record(previous: Record | None, kind: str, body: bytes, key: SigningKey, mesh_id: MeshId | None) -> Record:
    """The signed record that follows `previous`, with an encoded body. For genesis `previous` and `mesh_id` are None.

    It is well formed; whether the chain allows it, `members.extend` says. Raises BadEncoding when it grows too large.
    """
    if (previous is None) != (mesh_id is None):
        raise ValueError("only the first record has neither a previous record nor a mesh id")
    unsigned = Record(
        1 if previous is None else previous.seq + 1,
        b"" if previous is None else previous.hash,
        kind,
        body,
        key.public,
        bytes(SIGNATURE_SIZE),
    )
    message = _signed_pae(mesh_id or MeshId(b""), *unsigned._fields())
    record = Record(unsigned.seq, unsigned.prev_hash, kind, unsigned.body, key.public, key.sign(message))
    record.encode()
    return record


def _signed_pae(mesh_id: bytes, seq: bytes, prev_hash: bytes, kind: bytes, body: bytes, signer: bytes) -> bytes:
    # The first record is signed without the mesh id, which is a hash over the record and its signature.
    bound = b"" if seq == u64(1) else mesh_id
    return pae("chain-sig", bound, seq, prev_hash, kind, body, signer)


def mesh_id_of(genesis: Record) -> MeshId:
    """The id of the mesh that `genesis` begins: 32 bytes over the whole record, signature included."""
    if genesis.seq != 1 or genesis.type != "genesis":
        raise BadEncoding("a mesh begins with a genesis record, numbered 1")
    return MeshId(sha256(pae("genesis", *genesis._fields(), genesis.sig)).digest())


def invite_id_of(record: Record) -> InviteId:
    """The id of the invite that an `invite_open` record opens: the record's hash."""
    if record.type != "invite_open":
        raise BadEncoding("only an invite_open record has an invite id")
    return InviteId(record.hash)


def decode_body(record: Record) -> Body:
    """The body of a record of a known type. Raises BadEncoding for an unknown type or a malformed body."""
    decode = _BODIES.get(record.type)
    if decode is None:
        raise BadEncoding("a chain record of a type this build does not know: update meshd")
    return decode(record.body)


def epoch_kc(mesh_id: MeshId, epoch: int, gk: bytes) -> bytes:
    """The commitment to an epoch's key `gk` (32 bytes) that the chain carries: 32 bytes."""
    require_size(gk, KEY_SIZE, "an epoch key")
    return sha256(pae("epoch-kc", mesh_id, u64(epoch), gk)).digest()


def require_broker_url(url: str) -> None:
    """Raises BadEncoding unless `url` is `local:` or a ws(s) URL in printable ASCII, at most 256 bytes.

    That `ws` is used on loopback only is the connecting daemon's check, who knows what is loopback.
    """
    if url == "local:":
        return
    require_text(url, 6, MAX_BROKER_URL, "a broker URL")
    if not url.startswith(("wss://", "ws://")) or not all("!" <= char <= "~" for char in url):
        raise BadEncoding("a broker URL must be local:, ws://... or wss://... in printable ASCII")
