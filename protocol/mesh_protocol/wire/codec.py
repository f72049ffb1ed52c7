"""Bounded msgpack. The bytes are walked once, without building anything, before the library sees them.

A megabyte of empty maps decodes to 70 MB of objects (measured), and the library keeps the last of two equal keys
silently; so size, depth, element count, string and binary lengths, extension types and duplicate keys are checked on
the raw bytes first.
"""

from typing import Final, NamedTuple, TypeAlias

import msgpack

JsonValue: TypeAlias = "None | bool | int | float | str | bytes | list[JsonValue] | dict[str, JsonValue]"
"""What travels in a header: JSON's values and byte strings."""


class CodecError(ValueError):
    """The bytes are not one bounded msgpack value; the text names the rule that was broken."""


class Limits(NamedTuple):
    """Bounds of one value: bytes in all, nesting, elements in all, and bytes of one string or binary."""

    size: int = 64 * 1024
    depth: int = 16
    elements: int = 4096
    string: int = 64 * 1024


DEFAULT: Final = Limits()

_packer = msgpack.Packer(use_bin_type=True, strict_types=False, autoreset=True)


def encode(value: JsonValue) -> bytes:
    """The msgpack bytes of `value`."""
    packed: bytes = _packer.pack(value)
    return packed


def decode(data: bytes, limits: Limits = DEFAULT) -> JsonValue:
    """The one value in `data`. Raises `CodecError` for anything outside `limits` or not exactly one value."""
    check(data, limits)
    try:
        value: JsonValue = msgpack.unpackb(data, raw=False, strict_map_key=True, max_ext_len=0)
    except (ValueError, msgpack.UnpackException) as error:  # includes invalid UTF-8
        raise CodecError(f"not msgpack: {type(error).__name__}") from None
    return value


# For each first byte: (extra header bytes that hold a length, payload bytes known from the first byte alone).
_FIXED: Final = {
    0xC0: 0,
    0xC2: 0,
    0xC3: 0,
    0xCA: 4,
    0xCB: 8,
    0xCC: 1,
    0xCD: 2,
    0xCE: 4,
    0xCF: 8,
    0xD0: 1,
    0xD1: 2,
    0xD2: 4,
    0xD3: 8,
}
_STRING: Final = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_BINARY: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_ARRAY: Final = {0xDC: 2, 0xDD: 4}
_MAP: Final = {0xDE: 2, 0xDF: 4}


def check(data: bytes, limits: Limits = DEFAULT) -> None:
    """Walk `data` without allocating per element. Raises `CodecError`."""
    size = len(data)
    if size > limits.size:
        raise CodecError(f"{size} bytes, the limit is {limits.size}")
    position = _walk(data, 0, limits, 0, [limits.elements])
    if position != size:
        raise CodecError("bytes after the value" if position < size else "cut off")


def _length(data: bytes, position: int, width: int) -> int:
    field = data[position : position + width]
    if len(field) != width:
        raise CodecError("cut off")
    return int.from_bytes(field, "big")


def _walk(data: bytes, position: int, limits: Limits, depth: int, budget: list[int]) -> int:
    """Position after the value that starts at `position`; `budget[0]` counts the elements that are left."""
    budget[0] -= 1
    if budget[0] < 0:
        raise CodecError(f"more than {limits.elements} elements")
    if position >= len(data):
        raise CodecError("cut off")
    first = data[position]
    position += 1
    if first <= 0x7F or first >= 0xE0:  # small integers
        return position
    if 0xA0 <= first <= 0xBF:
        return position + (first & 0x1F)
    if first <= 0x8F:
        return _walk_map(data, position, first & 0x0F, limits, depth, budget)
    if first <= 0x9F:
        return _walk_array(data, position, first & 0x0F, limits, depth, budget)
    if first in _FIXED:
        return position + _FIXED[first]
    width = _STRING.get(first) or _BINARY.get(first)
    if width:
        length = _length(data, position, width)
        if length > limits.string:
            raise CodecError(f"a string of {length} bytes, the limit is {limits.string}")
        return position + width + length
    width = _ARRAY.get(first)
    if width:
        return _walk_array(data, position + width, _length(data, position, width), limits, depth, budget)
    width = _MAP.get(first)
    if width:
        return _walk_map(data, position + width, _length(data, position, width), limits, depth, budget)
    raise CodecError(f"type 0x{first:02x} is not allowed")


def _enter(count: int, limits: Limits, depth: int, budget: list[int]) -> None:
    if depth >= limits.depth:
        raise CodecError(f"nested deeper than {limits.depth}")
    if count > budget[0]:  # before walking: a length of four billion costs nothing
        raise CodecError(f"more than {limits.elements} elements")


def _walk_array(data: bytes, position: int, count: int, limits: Limits, depth: int, budget: list[int]) -> int:
    _enter(count, limits, depth, budget)
    for _ in range(count):
        position = _walk(data, position, limits, depth + 1, budget)
    return position


def _walk_map(data: bytes, position: int, count: int, limits: Limits, depth: int, budget: list[int]) -> int:
    _enter(count, limits, depth, budget)
    seen: set[bytes] = set()
    for _ in range(count):
        start = position
        position = _walk(data, position, limits, depth + 1, budget)
        key = _key_text(data[start:position])
        if key in seen:
            raise CodecError("a map with two equal keys")
        seen.add(key)
        position = _walk(data, position, limits, depth + 1, budget)
    return position


def _key_text(encoded: bytes) -> bytes:
    """The text of an encoded map key: the same key in a longer encoding is still the same key."""
    first = encoded[0]
    if 0xA0 <= first <= 0xBF:
        return encoded[1:]
    width = _STRING.get(first)
    if width is None:
        raise CodecError("a map key that is not text")
    return encoded[1 + width :]
