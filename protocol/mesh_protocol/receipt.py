"""The contents of receipts and bounces, as lists inside a signed message of that kind (crypto design 2.19, 2.6).

They carry no signature of their own: the message's signature covers kind and content.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mesh_protocol.envelope import MAX_ATTEMPT, MAX_SESSION
from mesh_protocol.ids import MSG_ID_SIZE, MsgId
from mesh_protocol.keys import SignedPrekey
from mesh_protocol.pae import (
    MAX_INT,
    BadEncoding,
    lst,
    read_text,
    read_u64,
    require_number,
    require_size,
    require_text,
    text_bytes,
    u64,
    unlst,
    unlst_exactly,
)
from mesh_protocol.tip import HASH_SIZE

MAX_ROWS = 64
MAX_REASON = 64
MAX_EVIDENCE = 64
STATES = frozenset({"stored", "shown", "turn_started", "held", "refused", "expired", "no_such_session"})
"""What a recipient's device may say of a message. `accepted` is the broker's word and never in a receipt."""
BOUNCE_REASONS = frozenset({"prekey_gone", "unreadable", "removed", "too_large"})

_ROW_FIELDS = 9
_BOUNCE_FIELDS = 5


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """One fact about one message: `message_hash` is the SHA-256 of the signed message it answers.

    `reason` and `evidence` are short codes or empty, `session` the session it was shown to or empty, `at_ms` epoch ms,
    `n` rises with each fact this device states about this message.
    """

    msg_id: MsgId
    attempt: int
    message_hash: bytes
    state: str
    reason: str
    session: str
    evidence: str
    at_ms: int
    n: int

    def __post_init__(self) -> None:
        require_size(self.msg_id, MSG_ID_SIZE, "msg_id")
        require_number(self.attempt, 0, MAX_ATTEMPT, "attempt")
        require_size(self.message_hash, HASH_SIZE, "message_hash")
        if self.state not in STATES:
            raise BadEncoding("a receipt states something that is no recipient's to state")
        require_text(self.reason, 0, MAX_REASON, "reason")
        require_text(self.session, 0, MAX_SESSION, "session")
        require_text(self.evidence, 0, MAX_EVIDENCE, "evidence")
        require_number(self.at_ms, 0, MAX_INT, "at_ms")
        require_number(self.n, 0, MAX_INT, "n")

    def encode(self) -> bytes:
        """One row, nested in the list."""
        return lst(
            self.msg_id,
            u64(self.attempt),
            self.message_hash,
            text_bytes(self.state),
            text_bytes(self.reason),
            text_bytes(self.session),
            text_bytes(self.evidence),
            u64(self.at_ms),
            u64(self.n),
        )

    @classmethod
    def decode(cls, data: bytes) -> "ReceiptRow":
        """Raises BadEncoding."""
        msg_id, attempt, message_hash, state, reason, session, evidence, at_ms, n = unlst_exactly(data, _ROW_FIELDS)
        return cls(
            MsgId(msg_id),
            read_u64(attempt),
            message_hash,
            read_text(state),
            read_text(reason),
            read_text(session),
            read_text(evidence),
            read_u64(at_ms),
            read_u64(n),
        )


def encode_receipts(rows: Sequence[ReceiptRow]) -> bytes:
    """The content of a `receipt` message: 1 to 64 rows. Raises BadEncoding for another number."""
    require_number(len(rows), 1, MAX_ROWS, "the number of receipt rows")
    return lst(*(row.encode() for row in rows))


def decode_receipts(content: bytes) -> tuple[ReceiptRow, ...]:
    """The rows, in order. Raises BadEncoding."""
    items = unlst(content, max_items=MAX_ROWS)
    require_number(len(items), 1, MAX_ROWS, "the number of receipt rows")
    return tuple(ReceiptRow.decode(item) for item in items)


@dataclass(frozen=True, slots=True)
class Bounce:
    """An envelope that could not be opened, named by message id, attempt and SHA-256 of its outer bytes.

    With `prekey_gone` comes the device's newest signed prekey, with any other reason none. The prekey is parsed, not
    verified.
    """

    msg_id: MsgId
    attempt: int
    outer_hash: bytes
    reason: str
    spk: SignedPrekey | None

    def __post_init__(self) -> None:
        require_size(self.msg_id, MSG_ID_SIZE, "msg_id")
        require_number(self.attempt, 0, MAX_ATTEMPT, "attempt")
        require_size(self.outer_hash, HASH_SIZE, "outer_hash")
        if self.reason not in BOUNCE_REASONS:
            raise BadEncoding("a bounce for an unknown reason")
        if (self.reason == "prekey_gone") != (self.spk is not None):
            raise BadEncoding("a bounce carries a prekey exactly when the reason is prekey_gone")

    def encode(self) -> bytes:
        """The content of a `bounce` message."""
        spk = b"" if self.spk is None else self.spk.encode()
        return lst(self.msg_id, u64(self.attempt), self.outer_hash, text_bytes(self.reason), spk)

    @classmethod
    def decode(cls, content: bytes) -> "Bounce":
        """Raises BadEncoding."""
        msg_id, attempt, outer_hash, reason, spk = unlst_exactly(content, _BOUNCE_FIELDS)
        prekey = SignedPrekey.decode(spk) if spk else None
        return cls(MsgId(msg_id), read_u64(attempt), outer_hash, read_text(reason), prekey)
