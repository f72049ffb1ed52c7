"""What a person has decided of other members, as one of his devices tells it to the others: the content of a `standing`
message.

```
standings = lst(entry ..)
entry     = lst(member_id, policy, lst(word ..), u64(at_ms))
```

Of two decisions on a member the later one counts. It carries no signature of its own: the message's signature covers kind
and content, and whoever receives it takes it from devices of his own member alone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from mesh_protocol.chain_fields import pack_texts, read_texts
from mesh_protocol.ids import MEMBER_ID_SIZE, MemberId
from mesh_protocol.pae import (
    MAX_INT,
    BadEncoding,
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

POLICIES = frozenset({"allow", "hold", "refuse", "block"})
MAX_ENTRIES = 256
"""Of one message."""
MAX_WORDS = 16
_WORD = re.compile(r"[a-z][a-z-]{0,31}")


@dataclass(frozen=True, slots=True)
class Standing:
    """What is decided of a member: a policy, and the grants that are `withheld` from him, in rising order. `at_ms`: when,
    in epoch ms by the deciding device's clock."""

    member_id: MemberId
    policy: str
    withheld: tuple[str, ...]
    at_ms: int

    def __post_init__(self) -> None:
        require_size(self.member_id, MEMBER_ID_SIZE, "member_id")
        if self.policy not in POLICIES:
            raise BadEncoding("a policy must be allow, hold, refuse or block")
        require_number(len(self.withheld), 0, MAX_WORDS, "the number of grants")
        if not all(_WORD.fullmatch(word) for word in self.withheld):
            raise BadEncoding("a grant is a word of small letters")
        if any(first >= second for first, second in pairwise(self.withheld)):
            raise BadEncoding("grants must stand in rising order, each once")
        require_number(self.at_ms, 0, MAX_INT, "at_ms")

    def encode(self) -> bytes:
        """One entry, nested in the list."""
        return lst(self.member_id, text_bytes(self.policy), lst(*pack_texts(self.withheld)), u64(self.at_ms))

    @classmethod
    def decode(cls, data: bytes) -> "Standing":
        """Raises BadEncoding."""
        member_id, policy, withheld, at_ms = unlst_exactly(data, 4)
        return cls(MemberId(member_id), read_text(policy), read_texts(withheld, MAX_WORDS), read_u64(at_ms))


def encode_standings(rows: Sequence[Standing]) -> bytes:
    """The content of a `standing` message: 1 to 256 entries. Raises BadEncoding for another number."""
    require_number(len(rows), 1, MAX_ENTRIES, "the number of entries")
    return lst(*(row.encode() for row in rows))


def decode_standings(content: bytes) -> tuple[Standing, ...]:
    """The entries, in order. Raises BadEncoding."""
    items = unlst(content, max_items=MAX_ENTRIES)
    require_number(len(items), 1, MAX_ENTRIES, "the number of entries")
    return tuple(Standing.decode(item) for item in items)
