"""Asking a message's author for the broker's word on the history that his message names, and his answer.

```
ask     = lst(u64(chain_seq), chain_hash)       the content of a `tip_ask` message: what the author's message named
witness = lst(Tip, lst(record ..))              the content of a `tip` message: the newest tip that the broker signed for the author,
                                                and the records that lead to it, as many as fit
```

Only the broker's signature makes the claim evidence (crypto design 2.4). Neither carries a signature of its own: the
message's signature covers kind and content.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from mesh_protocol.chain import Record
from mesh_protocol.pae import (
    MAX_INT,
    BadEncoding,
    lst,
    read_u64,
    require_number,
    require_size,
    u64,
    unlst,
    unlst_exactly,
)
from mesh_protocol.tip import HASH_SIZE, Tip

MAX_RECORDS = 64
MAX_BYTES = 32 * 1024
"""Of the records in one witness."""


def encode_ask(chain_seq: int, chain_hash: bytes) -> bytes:
    """The content of a `tip_ask` message. Raises BadEncoding for a number or hash that no record has."""
    require_number(chain_seq, 1, MAX_INT, "chain_seq")
    require_size(chain_hash, HASH_SIZE, "chain_hash")
    return lst(u64(chain_seq), chain_hash)


def decode_ask(content: bytes) -> tuple[int, bytes]:
    """Number and hash. Raises BadEncoding."""
    seq, digest = unlst_exactly(content, 2)
    number = read_u64(seq)
    require_number(number, 1, MAX_INT, "chain_seq")
    require_size(digest, HASH_SIZE, "chain_hash")
    return number, digest


@dataclass(frozen=True, slots=True)
class Witness:
    """What a broker signed for the author, not verified yet, and linked records, the last of which it names."""

    tip: Tip
    records: tuple[Record, ...]

    def encode(self) -> bytes:
        """The content of a `tip` message."""
        return lst(self.tip.encode(), lst(*(record.encode() for record in self.records)))

    @classmethod
    def decode(cls, content: bytes) -> "Witness":
        """Raises BadEncoding also when the records are not linked, or end with another one than the tip names."""
        encoded, items = unlst_exactly(content, 2)
        if len(items) > MAX_BYTES + 8 * (MAX_RECORDS + 1):
            raise BadEncoding("more records than a witness brings")
        records = tuple(Record.decode(item) for item in unlst(items, max_items=MAX_RECORDS))
        tip = Tip.decode(encoded)
        if any(record.hash != after.prev_hash for record, after in pairwise(records)):
            raise BadEncoding("records of a witness that do not follow each other")
        if records and records[-1].hash != tip.ref.chain_hash:
            raise BadEncoding("a witness whose tip names another record than its last")
        return cls(tip, records)


def witness(tip: Tip, chain: Sequence[Record]) -> Witness:
    """The witness of an author whose chain is `chain` and has the record that `tip` names."""
    records: list[Record] = []
    room = MAX_BYTES
    for record in reversed(chain[: tip.ref.chain_seq]):
        room -= len(record.encode())
        if room < 0 or len(records) == MAX_RECORDS:
            break
        records.append(record)
    return Witness(tip, tuple(reversed(records)))
