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

from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import TypeAlias

from mesh_protocol.chain_bodies import SALT_SIZE, AddDevice, AddMember, Epoch, Genesis, InviteOpen
from mesh_protocol.chain_changes import (
    AddSigner,
    BrokerKey,
    InviteClose,
    Policy,
    RemoveMember,
    RemoveSigner,
    Resolve,
    RevokeDevice,
    SetName,
    SetRole,
    Snapshot,
    Unban,
)
from mesh_protocol.chain_fields import require_broker_url
from mesh_protocol.ids import DEVICE_ID_SIZE, DeviceId, InviteId, MeshId
from mesh_protocol.keys import KEY_SIZE, SIGNATURE_SIZE, SigningKey, verify
from mesh_protocol.pae import (
    MAX_INT,
    BadEncoding,
    pae,
    read_text,
    read_u64,
    require_number,
    require_size,
    require_text,
    split_signed,
    text_bytes,
    u64,
)
from mesh_protocol.rights import ROLES, rank
from mesh_protocol.tip import HASH_SIZE

__all__ = [
    "BODIES",
    "MAX_RECORD",
    "ROLES",
    "SALT_SIZE",
    "SYNC_STEP",
    "AddDevice",
    "AddMember",
    "AddSigner",
    "Body",
    "BrokerKey",
    "Epoch",
    "Genesis",
    "InviteClose",
    "InviteOpen",
    "Policy",
    "Record",
    "RemoveMember",
    "RemoveSigner",
    "Resolve",
    "RevokeDevice",
    "SetName",
    "SetRole",
    "Snapshot",
    "Unban",
    "decode_body",
    "epoch_kc",
    "invite_id_of",
    "make_record",
    "mesh_id_of",
    "rank",
    "require_broker_url",
    "type_of",
]

MAX_RECORD = 4 * 1024
"""Bytes of one encoded record."""
SYNC_STEP = 2_000
"""Records a daemon asks for and takes at a time (crypto design 2.4)."""

_RECORD_FIELDS = 6

Body: TypeAlias = (
    Genesis
    | Epoch
    | AddMember
    | AddDevice
    | InviteOpen
    | InviteClose
    | RemoveMember
    | Unban
    | RevokeDevice
    | AddSigner
    | RemoveSigner
    | SetRole
    | Policy
    | SetName
    | BrokerKey
    | Snapshot
    | Resolve
)

BODIES: MappingProxyType[str, type[Body]] = MappingProxyType(
    {
        "genesis": Genesis,
        "epoch": Epoch,
        "add_member": AddMember,
        "add_device": AddDevice,
        "invite_open": InviteOpen,
        "invite_close": InviteClose,
        "remove_member": RemoveMember,
        "unban": Unban,
        "revoke_device": RevokeDevice,
        "add_signer": AddSigner,
        "remove_signer": RemoveSigner,
        "set_role": SetRole,
        "policy": Policy,
        "set_name": SetName,
        "broker_key": BrokerKey,
        "snapshot": Snapshot,
        "resolve": Resolve,
    }
)
"""Every type of record, and the class of its body."""

_TYPES: dict[type[Body], str] = {body: kind for kind, body in BODIES.items()}


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
    body = BODIES.get(record.type)
    if body is None:
        raise BadEncoding("a chain record of a type this build does not know: update meshd")
    return body.decode(record.body)


def type_of(body: Body) -> str:
    """The type of the record that has this body."""
    return _TYPES[type(body)]


def epoch_kc(mesh_id: MeshId, epoch: int, gk: bytes) -> bytes:
    """The commitment to an epoch's key `gk` (32 bytes) that the chain carries: 32 bytes."""
    require_size(gk, KEY_SIZE, "an epoch key")
    return sha256(pae("epoch-kc", mesh_id, u64(epoch), gk)).digest()
