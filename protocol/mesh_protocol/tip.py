"""How far a chain and a log have come: a bare reference (TipRef) and the broker's signed statement of it (Tip).

The broker signs `PAE("tip", mesh_id, chain_seq, chain_hash, log_seq, log_head)`; two signed tips that disagree prove
that it showed two histories (crypto design 2.4). The log head is a hash chain over everything in the log (2.8).
"""

from dataclasses import dataclass
from hashlib import sha256

from mesh_protocol.ids import MESH_ID_SIZE, MeshId
from mesh_protocol.keys import SIGNATURE_SIZE, BadPeerKey, SigningKey, verify
from mesh_protocol.pae import (
    MAX_INT,
    lst,
    pae,
    read_u64,
    require_number,
    require_size,
    split_signed,
    u64,
    unlst_exactly,
)

HASH_SIZE = 32
EMPTY_LOG_HEAD = bytes(HASH_SIZE)
"""The head of a log without entries, and the `previous` of its first entry."""

_REF_FIELDS = 4
_TIP_FIELDS = 5


@dataclass(frozen=True, slots=True)
class TipRef:
    """Number and hash of a chain's last record, number and head of a log's last entry. Unsigned: a claim."""

    chain_seq: int
    chain_hash: bytes
    log_seq: int
    log_head: bytes

    def __post_init__(self) -> None:
        require_number(self.chain_seq, 0, MAX_INT, "chain_seq")
        require_number(self.log_seq, 0, MAX_INT, "log_seq")
        require_size(self.chain_hash, HASH_SIZE, "chain_hash")
        require_size(self.log_head, HASH_SIZE, "log_head")

    def encode(self) -> bytes:
        """120 bytes, nested in other objects."""
        return lst(u64(self.chain_seq), self.chain_hash, u64(self.log_seq), self.log_head)

    @classmethod
    def decode(cls, data: bytes) -> "TipRef":
        """Raises BadEncoding."""
        chain_seq, chain_hash, log_seq, head = unlst_exactly(data, _REF_FIELDS)
        return cls(read_u64(chain_seq), chain_hash, read_u64(log_seq), head)


@dataclass(frozen=True, slots=True)
class Tip:
    """A broker's signed statement of how far its chain and log of one mesh have come."""

    mesh_id: MeshId
    ref: TipRef
    sig: bytes

    def __post_init__(self) -> None:
        require_size(self.mesh_id, MESH_ID_SIZE, "mesh_id")
        require_size(self.sig, SIGNATURE_SIZE, "a signature")

    def encode(self) -> bytes:
        """The signed PAE and the signature after it."""
        return _tip_pae(self.mesh_id, self.ref) + self.sig

    @classmethod
    def decode(cls, data: bytes) -> "Tip":
        """Parse only; `verify_tip` judges it. Raises BadEncoding."""
        fields, _, sig = split_signed(data, "tip", _TIP_FIELDS, SIGNATURE_SIZE)
        mesh_id, chain_seq, chain_hash, log_seq, head = fields
        return cls(MeshId(mesh_id), TipRef(read_u64(chain_seq), chain_hash, read_u64(log_seq), head), sig)


def sign_tip(broker_key: SigningKey, mesh_id: MeshId, ref: TipRef) -> Tip:
    """The tip `ref` of `mesh_id`, signed by the broker."""
    return Tip(mesh_id, ref, broker_key.sign(_tip_pae(mesh_id, ref)))


def verify_tip(tip: Tip, mesh_id: MeshId, broker_pub: bytes) -> None:
    """Raises BadPeerKey for another mesh's tip, BadSignature unless the broker of `broker_pub` (32 bytes) signed it."""
    if tip.mesh_id != mesh_id:
        raise BadPeerKey("the tip belongs to another mesh")
    verify(broker_pub, _tip_pae(tip.mesh_id, tip.ref), tip.sig)


def _tip_pae(mesh_id: MeshId, ref: TipRef) -> bytes:
    return pae("tip", mesh_id, u64(ref.chain_seq), ref.chain_hash, u64(ref.log_seq), ref.log_head)


def log_head(mesh_id: MeshId, n: int, previous: bytes, outer: bytes) -> bytes:
    """Head of the log after its `n`-th item (from 1): 32 bytes. `previous` is the head before it."""
    require_number(n, 1, MAX_INT, "a log number")
    require_size(previous, HASH_SIZE, "a log head")
    return sha256(pae("log-head", mesh_id, u64(n), previous, outer)).digest()


def marker(chain_seq: int, chain_hash: bytes) -> bytes:
    """The log item a broker writes in the transaction that appends a chain record (crypto design 2.8)."""
    require_number(chain_seq, 1, MAX_INT, "chain_seq")
    require_size(chain_hash, HASH_SIZE, "chain_hash")
    return lst(b"marker", u64(chain_seq), chain_hash)


def contradiction(one: Tip, other: Tip) -> str:
    """Why no single history has both tips (verified, of one mesh and broker): `chain`, `log`, `order`; else empty.

    Either tip, with the other, proves to anybody that the broker showed two histories.
    """
    first, second = sorted((one.ref, other.ref), key=lambda ref: (ref.chain_seq, ref.log_seq))
    if first.chain_seq == second.chain_seq and first.chain_hash != second.chain_hash:
        return "chain"
    if first.log_seq == second.log_seq and first.log_head != second.log_head:
        return "log"
    # A chain record has its marker in the log, so a log never gets shorter or stays behind as the chain grows.
    return "order" if second.log_seq - first.log_seq < second.chain_seq - first.chain_seq else ""
