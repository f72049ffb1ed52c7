"""What the broker handles of one message to many devices: the fan-out as it comes in, one recipient's envelope as it goes out.

```
shared = lst(nonce, ct)
fan    = lst(v, suite, mesh_id, from_device, msg_id, lane, expires_ms, shared, wraps)              from the sender
outer  = lst(v, suite, mesh_id, from_device, to_device, msg_id, attempt, lane, expires_ms, prekey_id, enc, wrapped,
             nonce, ct)                                                                            to one recipient
```

An `outer` is `Fan.head` of its wrap and `tail_of` the shared part, one behind the other: the ciphertext is kept once.
How they are sealed and opened is in `group_envelope`.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mesh_protocol import hpke
from mesh_protocol.envelope import MAX_ATTEMPT, MAX_ENVELOPE, require_lane
from mesh_protocol.ids import DEVICE_ID_SIZE, MESH_ID_SIZE, MSG_ID_SIZE, DeviceId, MeshId, MsgId
from mesh_protocol.keys import AEAD_TAG_SIZE, KEY_SIZE, NONCE_SIZE, SIGNATURE_SIZE, SUITE
from mesh_protocol.padding import bucket
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

VERSION = b"\x02"
MAX_RECIPIENTS = 2048
WRAPPED_SIZE = KEY_SIZE + SIGNATURE_SIZE + AEAD_TAG_SIZE
MAX_SHARED = MAX_ENVELOPE - 1024
"""Bytes of the shared part: with the rest of it no recipient's envelope is larger than any other."""
MAX_FAN = MAX_SHARED + 256 * MAX_RECIPIENTS
"""Bytes of a fan-out: a wrap takes 248 with its length. It fits the body of a frame."""

_FAN_FIELDS = 9
_WRAP_FIELDS = 5
_OUTER_FIELDS = 14
_COUNT_SIZE = 8
_OUTCOME_SIZE = 24
MAX_CODE = 64
"""Bytes of a refusal's code."""


class Wrap(NamedTuple):
    """The secret of a message for one device."""

    to_device: DeviceId
    attempt: int
    prekey_id: int
    enc: bytes
    wrapped: bytes

    def encode(self) -> bytes:
        return lst(self.to_device, u64(self.attempt), u64(self.prekey_id), self.enc, self.wrapped)


@dataclass(frozen=True, slots=True)
class GroupOuter:
    """What the broker sees of one recipient's envelope."""

    mesh_id: MeshId
    from_device: DeviceId
    to_device: DeviceId
    msg_id: MsgId
    attempt: int
    lane: str
    expires_ms: int
    prekey_id: int
    enc: bytes
    wrapped: bytes
    nonce: bytes
    ct: bytes

    def __post_init__(self) -> None:
        _require_routing(self.mesh_id, self.from_device, self.msg_id, self.lane, self.expires_ms)
        _require_wrap(Wrap(self.to_device, self.attempt, self.prekey_id, self.enc, self.wrapped))
        _require_shared(self.nonce, self.ct)


@dataclass(frozen=True, slots=True)
class Fan:
    """One message to many as its sender gives it to the broker. `shared` is encoded, `wraps` are sorted by device."""

    mesh_id: MeshId
    from_device: DeviceId
    msg_id: MsgId
    lane: str
    expires_ms: int
    shared: bytes
    wraps: tuple[Wrap, ...]

    def __post_init__(self) -> None:
        _require_routing(self.mesh_id, self.from_device, self.msg_id, self.lane, self.expires_ms)
        require_number(len(self.wraps), 1, MAX_RECIPIENTS, "the number of recipients")
        devices = [wrap.to_device for wrap in self.wraps]
        if any(one >= other for one, other in itertools.pairwise(devices)):
            raise BadEncoding("the recipients are not in order, or one is there twice")

    def encode(self) -> bytes:
        """The body of a fan-out."""
        return lst(
            VERSION,
            SUITE,
            self.mesh_id,
            self.from_device,
            self.msg_id,
            text_bytes(self.lane),
            u64(self.expires_ms),
            self.shared,
            lst(*(wrap.encode() for wrap in self.wraps)),
        )

    def head(self, wrap: Wrap) -> bytes:
        """What stands before the shared part in one recipient's envelope: `head + tail_of(shared)` is that envelope."""
        return (
            u64(_OUTER_FIELDS)
            + lst(
                VERSION,
                SUITE,
                self.mesh_id,
                self.from_device,
                wrap.to_device,
                self.msg_id,
                u64(wrap.attempt),
                text_bytes(self.lane),
                u64(self.expires_ms),
                u64(wrap.prekey_id),
                wrap.enc,
                wrap.wrapped,
            )[_COUNT_SIZE:]
        )


class Outcome(NamedTuple):
    """The broker's answer for one recipient: when it was accepted, or the code of a refusal and the seconds to wait."""

    seq: int
    at_ms: int
    code: str = ""
    retry_after: float = 0.0


def pack_outcomes(outcomes: Sequence[Outcome]) -> bytes:
    """The body of the answer to a fan-out, in the order of its wraps."""
    return lst(*(u64(o.seq) + u64(o.at_ms) + u64(round(o.retry_after * 1000)) + text_bytes(o.code) for o in outcomes))


def unpack_outcomes(data: bytes, count: int) -> list[Outcome]:
    """Raises BadEncoding unless there are `count` of them."""
    outcomes = []
    for item in unlst_exactly(data, count):
        if len(item) < _OUTCOME_SIZE or len(item) > _OUTCOME_SIZE + MAX_CODE:
            raise BadEncoding("an answer to a fan-out has another size")
        seq, at_ms, wait_ms = (read_u64(item[i : i + 8]) for i in (0, 8, 16))
        outcomes.append(Outcome(seq, at_ms, read_text(item[_OUTCOME_SIZE:]), wait_ms / 1000))
    return outcomes


def tail_of(shared: bytes) -> bytes:
    """The shared part as it stands in each recipient's envelope."""
    return shared[_COUNT_SIZE:]


def is_wrap(data: bytes) -> bool:
    """Whether bytes are a wrap's, by their first count; an envelope has more fields."""
    return data[:8] == u64(_WRAP_FIELDS)


def is_group_envelope(data: bytes) -> bool:
    """Whether an envelope is of this form, by its version; nothing else of it is looked at."""
    return data[8:17] == u64(1) + VERSION


def parse_fan(data: bytes) -> Fan:
    """Parse a fan-out without opening it. Raises BadEncoding for any other version, suite, size or shape."""
    if len(data) > MAX_FAN:
        raise BadEncoding(f"a fan-out of {len(data)} bytes is above the {MAX_FAN} allowed")
    version, suite, mesh_id, sender, msg_id, lane, expires, shared, wraps = unlst_exactly(data, _FAN_FIELDS)
    if version != VERSION or suite != SUITE:
        raise BadEncoding("a fan-out of an unknown version or suite: this build knows version 2 and suite 1")
    if len(shared) > MAX_SHARED:
        raise BadEncoding("the ciphertext of a fan-out is larger than an envelope may be")
    _require_shared(*unlst_exactly(shared, 2))
    parsed = tuple(read_wrap(item) for item in unlst(wraps, max_items=MAX_RECIPIENTS))
    return Fan(MeshId(mesh_id), DeviceId(sender), MsgId(msg_id), read_text(lane), read_u64(expires), shared, parsed)


def parse_group_outer(data: bytes) -> GroupOuter:
    """Parse one recipient's envelope without opening it. Raises BadEncoding."""
    if len(data) > MAX_ENVELOPE:
        raise BadEncoding(f"an envelope of {len(data)} bytes is above the {MAX_ENVELOPE} allowed")
    version, suite, mesh_id, sender, to, msg_id, attempt, lane, expires, prekey_id, enc, wrapped, nonce, ct = (
        unlst_exactly(data, _OUTER_FIELDS)
    )
    if version != VERSION or suite != SUITE:
        raise BadEncoding("an envelope of an unknown version or suite: this build knows version 2 and suite 1")
    return GroupOuter(
        MeshId(mesh_id),
        DeviceId(sender),
        DeviceId(to),
        MsgId(msg_id),
        read_u64(attempt),
        read_text(lane),
        read_u64(expires),
        read_u64(prekey_id),
        enc,
        wrapped,
        nonce,
        ct,
    )


def read_wrap(item: bytes) -> Wrap:
    """A wrap as `Wrap.encode` made it. Raises BadEncoding."""
    to, attempt, prekey_id, enc, wrapped = unlst_exactly(item, _WRAP_FIELDS)
    wrap = Wrap(DeviceId(to), read_u64(attempt), read_u64(prekey_id), enc, wrapped)
    _require_wrap(wrap)
    return wrap


def _require_routing(mesh_id: bytes, sender: bytes, msg_id: bytes, lane: str, expires_ms: int) -> None:
    require_size(mesh_id, MESH_ID_SIZE, "mesh_id")
    require_size(sender, DEVICE_ID_SIZE, "from_device")
    require_size(msg_id, MSG_ID_SIZE, "msg_id")
    require_lane(lane)
    require_number(expires_ms, 0, MAX_INT, "expires_ms")


def _require_wrap(wrap: Wrap) -> None:
    require_size(wrap.to_device, DEVICE_ID_SIZE, "to_device")
    require_number(wrap.attempt, 0, MAX_ATTEMPT, "attempt")
    require_number(wrap.prekey_id, 0, MAX_INT, "prekey_id")
    require_size(wrap.enc, hpke.ENC_SIZE, "enc")
    require_size(wrap.wrapped, WRAPPED_SIZE, "a wrapped key")


def _require_shared(nonce: bytes, ct: bytes) -> None:
    require_size(nonce, NONCE_SIZE, "nonce")
    if bucket(len(ct) - AEAD_TAG_SIZE) != len(ct) - AEAD_TAG_SIZE:
        raise BadEncoding("a ciphertext has a size that no padding gives")
