"""The record of the audit: one signed entry, and the walk that finds the first one that is not as it was written.

```
fields = device, u64(seq), previous, u64(at_ms), who, tier, operation, mesh, lst(name, value ..), outcome, u64(began)
entry  = PAE("audit-entry", fields) || Ed25519 signature of the device key over the PAE
```

`previous` is the SHA-256 of the whole entry before (32 zeros for the first), so a signature is covered by what follows it
(crypto design 2.15). The newest entry is kept a second time beside the keys: that shows a log that was cut off.

A log that is full loses its oldest entries. In the place of the last one that goes stands a checkpoint: an entry of the same
number whose `previous` is the hash of the one it replaces, so that what follows still follows. It says since when there is
an audit, and if what it stands for was not whole, at which entry first and why.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple

from mesh_protocol.ids import DeviceId
from mesh_protocol.keys import SIGNATURE_SIZE, SigningKey, verify
from mesh_protocol.pae import (
    BadEncoding,
    CryptoError,
    lst,
    pae,
    read_text,
    read_u64,
    require_size,
    split_signed,
    text_bytes,
    u64,
    unlst,
)

HASH_SIZE: Final = 32
NOTHING: Final = bytes(HASH_SIZE)
"""What the first entry names as its predecessor."""
MAX_FIELDS: Final = 16
MAX_ENTRY: Final = 16_384
"""Bytes of an entry."""
MAX_VALUE: Final = 200
"""Characters kept of a field's value."""

BEGUN: Final = "begun"
"""The outcome of an entry that is written before its action; another one, which names it, follows."""
FIRST: Final = "audit.begin"
"""The operation of the first entry: since when there is an audit, and at which start of the daemon."""
CHECKPOINT: Final = "audit.checkpoint"
"""The operation of an entry that stands at the beginning for all that were dropped."""
DROPPED: Final = " (and was dropped since)"
"""Follows why an entry is wrong that is not there any more."""
GAP: Final = "audit.gap"
"""The operation of an entry with which the daemon itself says that entries were gone which it knew of."""


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody did, before it has a place in the log. `at_ms`: Unix epoch milliseconds by this machine's clock.

    `who` is a session's name, or "person"; `target` names what it was done to, by the request's own field names.
    `began` is the number of the entry written before the action, 0 for none.
    """

    at_ms: int
    who: str
    tier: str
    operation: str
    mesh: str
    target: tuple[tuple[str, str], ...]
    outcome: str
    began: int = 0


class Known(NamedTuple):
    """The newest entry that is known to have been written: its number and hash."""

    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as it is stored. `data` is all of it, signature included."""

    seq: int
    previous: bytes
    deed: Deed
    data: bytes

    @property
    def known(self) -> Known:
        return Known(self.seq, hash_entry(self.data))


def hash_entry(data: bytes) -> bytes:
    """What the next entry names this one by."""
    return sha256(data).digest()


def write_entry(key: SigningKey, last: Known | None, deed: Deed) -> Entry:
    """Sign `deed` as the entry that follows `last` (None: as the first)."""
    seq, previous = (1, NOTHING) if last is None else (last.seq + 1, last.hash)
    flat = [text_bytes(part) for name, value in deed.target for part in (name, value[:MAX_VALUE])]
    message = pae(
        "audit-entry",
        key.public,
        u64(seq),
        previous,
        u64(deed.at_ms),
        text_bytes(deed.who),
        text_bytes(deed.tier),
        text_bytes(deed.operation),
        text_bytes(deed.mesh),
        lst(*flat),
        text_bytes(deed.outcome),
        u64(deed.began),
    )
    return Entry(seq, previous, deed, message + key.sign(message))


def read_entry(data: bytes, device: DeviceId) -> Entry:
    """Parse an entry and check its signature by `device`. Raises CryptoError."""
    if len(data) > MAX_ENTRY:
        raise BadEncoding("an entry of the audit is longer than any that is written")
    fields, message, signature = split_signed(data, "audit-entry", 11, SIGNATURE_SIZE)
    if fields[0] != device:
        raise BadEncoding("an entry of the audit is another device's")
    verify(device, message, signature)
    require_size(fields[2], HASH_SIZE, "the hash of the entry before")
    parts = [read_text(part) for part in unlst(fields[8], max_items=2 * MAX_FIELDS)]
    if len(parts) % 2:
        raise BadEncoding("a field of the audit has no value")
    deed = Deed(
        at_ms=read_u64(fields[3]),
        who=read_text(fields[4]),
        tier=read_text(fields[5]),
        operation=read_text(fields[6]),
        mesh=read_text(fields[7]),
        target=tuple(zip(parts[::2], parts[1::2], strict=True)),
        outcome=read_text(fields[9]),
        began=read_u64(fields[10]),
    )
    return Entry(read_u64(fields[1]), fields[2], deed, data)


def write_checkpoint(
    key: SigningKey, replaced: Known, at_ms: int, since_ms: int, broken: "Broken | None" = None
) -> Entry:
    """Sign what stands for `replaced` and all entries before it; `broken`, what was found wrong with them."""
    found = () if broken is None else (("broken", str(broken.seq)), ("why", broken.why.removesuffix(DROPPED)))
    target = (("since", str(since_ms)), *found)
    deed = Deed(at_ms, "daemon", "daemon", CHECKPOINT, "", target, "done")
    return write_entry(key, Known(replaced.seq - 1, replaced.hash), deed)


class Broken(Exception):
    """The log is not what was written. `seq` is the number of the first entry that is wrong or missing."""

    def __init__(self, seq: int, why: str) -> None:
        super().__init__(f"entry {seq}: {why}")
        self.seq = seq
        self.why = why


class Walk:
    """Reads a log from its first entry on, in as many portions as one likes."""

    def __init__(self, device: DeviceId, kept: Entry | None, after: Known | None = None) -> None:
        """`kept`: the copy of the newest entry beside the keys, None where there is none. `after`: an entry that is taken
        to be right, behind which to begin."""
        self._device = device
        self._kept = kept
        self.last = after
        self.first = 1 if after is None else after.seq + 1
        """The number of the first entry that is there."""
        self.since_ms = 0
        """When the audit began."""

    @property
    def count(self) -> int:
        return self.last.seq if self.last is not None else 0

    def take(self, rows: Iterable[tuple[int, bytes]]) -> None:
        """The next rows, in order of their numbers. Raises Broken at the first that is wrong."""
        for number, data in rows:
            self._take(number, data)

    def _take(self, number: int, data: bytes) -> None:
        expected = self.count + 1
        begins = self.last is None and number > expected
        try:
            entry = read_entry(data, self._device)
        except CryptoError as error:
            why = f"it is missing, and {number} comes next" if number != expected else f"it was changed ({error})"
            raise Broken(expected, why) from None
        if begins and entry.deed.operation == CHECKPOINT and entry.seq == number:
            self._begin_at(entry)
            return
        if number != expected:
            raise Broken(expected, f"it is missing, and {number} comes next")
        if entry.seq != expected:
            raise Broken(expected, f"entry {entry.seq} stands in its place")
        if entry.previous != (self.last.hash if self.last is not None else NOTHING):
            raise Broken(expected, "it does not follow from the entry before")
        self._judge(entry)
        self.last = entry.known

    def _begin_at(self, entry: Entry) -> None:
        """A checkpoint: what it stands for was held against this same rule when it was dropped."""
        said = dict(entry.deed.target)
        if "broken" in said:
            raise Broken(int(said["broken"]), said.get("why", "") + DROPPED)
        self.last = Known(entry.seq, entry.previous)
        self.first = entry.seq + 1
        self.since_ms = int(said["since"])

    def _judge(self, entry: Entry) -> None:
        """What a genuine entry says of the log."""
        if entry.deed.operation == CHECKPOINT:
            raise Broken(entry.seq, "a checkpoint stands where nothing was dropped")
        if entry.deed.operation == GAP:
            raise Broken(entry.seq, f"the daemon found the log cut before it: {dict(entry.deed.target).get('why', '')}")
        if (entry.seq == 1) is not (entry.deed.operation == FIRST):
            raise Broken(entry.seq, "the audit does not begin where it should")
        if entry.seq == 1:
            self.since_ms = entry.deed.at_ms
        kept = self._kept
        if kept is not None and entry.seq == kept.seq and entry.data != kept.data:
            raise Broken(entry.seq, "it is another one than the copy beside the keys")

    def finish(self) -> None:
        """No row is left. Raises Broken if the end is missing."""
        if self._kept is None:
            raise Broken(self.count + 1, "the copy of the newest entry beside the keys is gone")
        if self.count < self._kept.seq:
            raise Broken(self.count + 1, f"the end is missing: {self._kept.seq} entries were written")
