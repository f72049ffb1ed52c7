"""Bounded msgpack. The bytes are walked once, without building anything, before the library sees them.

A megabyte of empty maps decodes to 70 MB of objects (measured), and the library keeps the last of two equal keys
silently; so size, depth, element count, string and binary lengths, extension types and duplicate keys are checked on
the raw bytes first.
"""

from __future__ import annotations

import msgpack

from mesh_protocol.wire.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, TypeAlias

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
    """The msgpack bytes of `value`. Raises `CodecError` for what msgpack cannot hold (half a surrogate pair, 2**64)."""
    try:
        packed: bytes = _packer.pack(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise CodecError(f"not packable: {type(error).__name__}") from None
    return packed


def decode(data: bytes, limits: Limits = DEFAULT) -> JsonValue:
    """The one value in `data`. Raises `CodecError` for anything outside `limits` or not exactly one value."""
    check(data, limits)
    try:
        value: JsonValue = msgpack.unpackb(data, raw=False, strict_map_key=True, max_ext_len=0)
    except (ValueError, msgpack.UnpackException) as error:  # includes invalid UTF-8
        raise CodecError(f"not msgpack: {type(error).__name__}") from None
    return value


# What a first byte begins, and the number beside it: bytes to skip; a length; or, sized, the width of the length field.
_SKIP, _BINARY, _TEXT, _ARRAY, _MAP, _BINARY_SIZED, _TEXT_SIZED, _ARRAY_SIZED, _MAP_SIZED, _REFUSED = range(10)
_SIZED: Final = _BINARY_SIZED - _BINARY


def _table() -> tuple[tuple[int, int], ...]:
    """For each of the 256 first bytes what it begins, and the number. Extension types and 0xC1 stay refused."""
    table = [(_REFUSED, 0)] * 256
    for small in (*range(0x80), *range(0xE0, 0x100)):
        table[small] = (_SKIP, 0)
    for nibble in range(16):
        table[0x80 + nibble] = (_MAP, nibble)
        table[0x90 + nibble] = (_ARRAY, nibble)
    for length in range(32):
        table[0xA0 + length] = (_TEXT, length)
    for first in (0xC0, 0xC2, 0xC3):  # nil, false, true
        table[first] = (_SKIP, 0)
    for first, size in ((0xCA, 4), (0xCB, 8)):  # floats
        table[first] = (_SKIP, size)
    for power in range(4):  # unsigned and signed integers of 1, 2, 4, 8 bytes
        table[0xCC + power] = table[0xD0 + power] = (_SKIP, 1 << power)
    for power in range(3):
        table[0xC4 + power] = (_BINARY_SIZED, 1 << power)
        table[0xD9 + power] = (_TEXT_SIZED, 1 << power)
    for power in (1, 2):
        table[0xDB + power] = (_ARRAY_SIZED, 1 << power)
        table[0xDD + power] = (_MAP_SIZED, 1 << power)
    return tuple(table)


_TABLE: Final = _table()


def check(data: bytes, limits: Limits = DEFAULT) -> None:
    """Walk `data` once, without building any of it. Raises `CodecError`."""
    end = len(data)
    if end > limits.size:
        raise CodecError(f"{end} bytes, the limit is {limits.size}")
    position = 0
    left = limits.elements
    outer: list[tuple[int, set[bytes] | None]] = []  # the containers around: values to come, keys seen
    values = 1  # to come in the container at hand
    keys: set[bytes] | None = None  # seen, when it is a map
    while True:
        while not values:
            if not outer:
                if position != end:
                    raise CodecError("bytes after the value" if position < end else "cut off")
                return
            values, keys = outer.pop()
        values -= 1
        left -= 1
        if left < 0:
            raise CodecError(f"more than {limits.elements} elements")
        if position >= end:
            raise CodecError("cut off")
        kind, number = _TABLE[data[position]]
        position += 1
        if kind >= _BINARY_SIZED:
            if kind == _REFUSED:
                raise CodecError(f"type 0x{data[position - 1]:02x} is not allowed")
            start = position + number
            if start > end:
                raise CodecError("cut off")
            kind, number, position = kind - _SIZED, int.from_bytes(data[position:start], "big"), start
        if keys is not None and values & 1:  # pairs: an odd number to come means that this one is a key
            if kind != _TEXT:
                raise CodecError("a map key that is not text")
            key = data[position : position + number]  # the text alone: in a longer encoding it is the same key
            if key in keys:
                raise CodecError("a map with two equal keys")
            keys.add(key)
        if kind == _SKIP:
            position += number
        elif kind <= _TEXT:
            if number > limits.string:
                raise CodecError(f"a string of {number} bytes, the limit is {limits.string}")
            position += number
        else:
            if len(outer) >= limits.depth:
                raise CodecError(f"nested deeper than {limits.depth}")
            if number > left:  # before walking: a length of four billion costs nothing
                raise CodecError(f"more than {limits.elements} elements")
            outer.append((values, keys))
            values, keys = (2 * number, set()) if kind == _MAP else (number, None)
