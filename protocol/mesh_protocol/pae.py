"""Pre-authentication encoding: the one way in which anything signed, MACed or authenticated is made into bytes.

`PAE(label, f1..fn) = u64le(n + 1) || for each of label, f1..fn: u64le(len) || bytes` (crypto design 2.3). There is
no delimiter to smuggle and no optional part, so two different lists of fields never give the same bytes. Integers
are u64le, an absent field has length zero, a list is a nested encoding without a label (`lst`).
"""

import struct

# Every integer of the protocol fits a signed 64-bit column: a larger one is refused here, once, so that no hostile
# number reaches a database or a msgpack integer that cannot hold it.
MAX_INT = 2**63 - 1

_U64 = struct.Struct("<Q")
_WORD = 8

# fmt: off
PURPOSES = (
    "genesis", "chain-record", "chain-sig", "tip", "hello-client", "hello-broker", "prekey-spk",
    "prekey-opk-batch", "dm-info", "dm-sig", "group-aad", "group-sig", "group-kc", "wrap-info",
    "epoch-seal", "epoch-kc", "key-request", "log-key", "log-aad", "log-sig", "log-head", "snapshot-key",
    "live-key", "live-chan", "live-sig", "file-key", "file-wrap", "file-manifest", "file-payload",
    "vault-aad", "vault-grant", "name", "invite-key", "join-request", "join-name", "audit-entry",
    "action-request", "action-approval", "remote-open", "runner-attest", "backup", "safety-number",
    "store-column", "link-commit", "link-words", "meet-key", "meet-frame",
)
# fmt: on
LABELS = frozenset(PURPOSES)
"""Every purpose bytes may be signed, MACed or sealed for. The label of a purpose is `"meshd/v1/" + purpose`."""


class CryptoError(Exception):
    """Something that came from outside is not what it must be. Nothing of it may be used or shown."""


class BadEncoding(CryptoError, ValueError):
    """Bytes or values that no conforming party would make: wrong size, count, range, character or padding."""


def u64(number: int) -> bytes:
    """Eight bytes, little endian. Raises BadEncoding outside 0 .. 2**63 - 1."""
    if not 0 <= number <= MAX_INT:
        raise BadEncoding("a number lies outside 0 .. 2**63 - 1")
    return _U64.pack(number)


def read_u64(data: bytes) -> int:
    """The number in exactly eight bytes. Raises BadEncoding for another size or a number above 2**63 - 1."""
    if len(data) != _WORD:
        raise BadEncoding("a number must have exactly 8 bytes")
    number: int = _U64.unpack(data)[0]
    if number > MAX_INT:
        raise BadEncoding("a number lies above 2**63 - 1")
    return number


def _chunk(data: bytes) -> bytes:
    return _U64.pack(len(data)) + data


_LABEL_CHUNKS = {purpose: _chunk(b"meshd/v1/" + purpose.encode("ascii")) for purpose in LABELS}


def _label_chunk(purpose: str) -> bytes:
    try:
        return _LABEL_CHUNKS[purpose]
    except KeyError:
        raise ValueError(f"{purpose!r} is not in the label registry; add it to LABELS first") from None


def pae(purpose: str, *fields: bytes) -> bytes:
    """The encoding of `fields` under the label of `purpose`. Raises ValueError for a purpose not registered."""
    parts = [_U64.pack(len(fields) + 1), _label_chunk(purpose)]
    for field in fields:
        parts.append(_U64.pack(len(field)))
        parts.append(field)
    return b"".join(parts)


def lst(*fields: bytes) -> bytes:
    """A list of byte strings: `u64le(count) || for each: u64le(len) || bytes`."""
    parts = [_U64.pack(len(fields))]
    for field in fields:
        parts.append(_U64.pack(len(field)))
        parts.append(field)
    return b"".join(parts)


def unlst(data: bytes, *, max_items: int) -> list[bytes]:
    """The items of a list that fills `data` exactly. Raises BadEncoding for anything else, or for too many items."""
    if len(data) < _WORD:
        raise BadEncoding("a list is cut off before its count")
    count: int = _U64.unpack_from(data)[0]
    if count > max_items:
        raise BadEncoding(f"a list has more than {max_items} items")
    items, end = _read_items(data, _WORD, count)
    if end != len(data):
        raise BadEncoding("a list is followed by bytes that belong to nothing")
    return items


def unlst_exactly(data: bytes, count: int) -> list[bytes]:
    """The items of a list that has exactly `count` of them and fills `data`. Raises BadEncoding otherwise."""
    items = unlst(data, max_items=count)
    if len(items) != count:
        raise BadEncoding(f"a record has {len(items)} fields where {count} belong")
    return items


def split_items(data: bytes, count: int) -> tuple[list[bytes], int]:
    """Parse a list of exactly `count` items at the start of `data`: the items and the bytes it took.

    Raises BadEncoding; what follows the list is the caller's.
    """
    if not data.startswith(_U64.pack(count)):
        raise BadEncoding(f"a list does not have {count} items")
    return _read_items(data, _WORD, count)


def split_pae(data: bytes, purpose: str, count: int) -> tuple[list[bytes], int]:
    """Parse the PAE at the start of `data`: its `count` fields (without the label) and the bytes it took.

    Raises BadEncoding when the count, the label or a length does not fit; what follows the PAE is the caller's.
    """
    prefix = _U64.pack(count + 1) + _label_chunk(purpose)
    if not data.startswith(prefix):
        raise BadEncoding(f"this is not a {purpose} object")
    return _read_items(data, len(prefix), count)


def split_signed(data: bytes, purpose: str, count: int, tail: int) -> tuple[list[bytes], bytes, bytes]:
    """Parse `PAE || tail bytes` that fill `data` exactly: the fields, the PAE itself, the tail. Raises BadEncoding."""
    fields, end = split_pae(data, purpose, count)
    if len(data) - end != tail:
        raise BadEncoding(f"a {purpose} object has {len(data) - end} bytes after its fields where {tail} belong")
    return fields, data[:end], data[end:]


def _read_items(data: bytes, offset: int, count: int) -> tuple[list[bytes], int]:
    size = len(data)
    items: list[bytes] = []
    for _ in range(count):
        start = offset + _WORD
        if start > size:
            raise BadEncoding("a list is cut off before a length")
        offset = start + _U64.unpack_from(data, offset)[0]
        if offset > size:
            raise BadEncoding("a length points behind the end")
        items.append(data[start:offset])
    return items, offset


def read_text(data: bytes) -> str:
    """UTF-8 text; its length is checked by the record it belongs to. Raises BadEncoding for invalid UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        # The bytes may be a secret: `from None` keeps them off the exception.
        raise BadEncoding("a text is not valid UTF-8") from None


def text_bytes(text: str) -> bytes:
    """UTF-8 of `text`. Raises BadEncoding for lone surrogates, which have none."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadEncoding("a text holds a lone surrogate") from None


def require_size(data: bytes, size: int, name: str) -> None:
    """Raises BadEncoding unless `data` has exactly `size` bytes; `name` goes into the message."""
    if len(data) != size:
        raise BadEncoding(f"{name} has {len(data)} bytes where {size} belong")


def require_text(text: str, low: int, high: int, name: str) -> None:
    """Raises BadEncoding unless the UTF-8 of `text` has `low` to `high` bytes."""
    # A character takes at least one byte and at most four, so most texts are judged without encoding them.
    if len(text) > high or not low <= len(text_bytes(text)) <= high:
        raise BadEncoding(f"{name} must have {low} to {high} bytes of UTF-8")


def require_number(number: int, low: int, high: int, name: str) -> None:
    """Raises BadEncoding unless `low <= number <= high`."""
    if not low <= number <= high:
        raise BadEncoding(f"{name} must lie in {low} .. {high}")
