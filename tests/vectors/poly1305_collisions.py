"""What whoever knows the key can do to XChaCha20-Poly1305: its tag is a polynomial, and one free block makes it any number.

So a tag binds no text and no associated data against a holder of the key, and not even the key itself: one ciphertext can
be made to open under two (Len, Grubbs, Ristenpart, "Partitioning Oracle Attacks", 2021, 3.1).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

import mesh_reference

PRIME = 2**130 - 5
BLOCK = 16
TOP = 2**128
CLAMP = 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF


class OneTime(NamedTuple):
    """The Poly1305 key (RFC 8439, 2.5) of a key and a nonce."""

    r: int
    s: int


class Line(NamedTuple):
    """The polynomial's value as a function of the free block: `constant + factor * block`, modulo the prime."""

    constant: int
    factor: int


def one_time(key: bytes, nonce: bytes) -> OneTime:
    subkey = mesh_reference.hchacha20(key, nonce[:16])
    stream = Cipher(ChaCha20(subkey, bytes(8) + nonce[16:]), None).encryptor().update(bytes(32))
    return OneTime(int.from_bytes(stream[:16], "little") & CLAMP, int.from_bytes(stream[16:], "little"))


def authenticated(aad: bytes, ct: bytes) -> bytes:
    """What the tag of an AEAD is over (RFC 8439, 2.8)."""
    sizes = mesh_reference.u64(len(aad)) + mesh_reference.u64(len(ct))
    return aad + bytes(-len(aad) % BLOCK) + ct + bytes(-len(ct) % BLOCK) + sizes


def line(r: int, data: bytes, free: int) -> Line:
    """`data` is a whole number of blocks; the one numbered `free` is left out."""
    count = len(data) // BLOCK
    constant = 0
    for index in range(count):
        block = int.from_bytes(data[index * BLOCK :][:BLOCK], "little") + TOP
        if index != free:
            constant += block * pow(r, count - index, PRIME)
    return Line(constant % PRIME, pow(r, count - free, PRIME))


def blocks_of(values: Iterator[int]) -> bytes | None:
    """The first of the values that is a full block with its top bit."""
    found = next((value - TOP for value in values if TOP <= value < 2 * TOP), None)
    return None if found is None else found.to_bytes(BLOCK, "little")


def retag(key: bytes, nonce: bytes, aad: bytes, ct: bytes, at: int, tag: bytes) -> bytes:
    """`ct` without a tag, with one of its blocks from byte `at` on replaced, so that its tag is `tag`.

    The block before that one is counted up until there is a solution; most have one.
    """
    r, s = one_time(key, nonce)
    wanted = (int.from_bytes(tag, "little") - s) % TOP

    def solve(trial: bytes) -> bytes | None:
        constant, factor = line(r, authenticated(aad, trial), _free(aad, at))
        inverse = pow(factor, -1, PRIME)
        return blocks_of((wanted + carry * TOP - constant) * inverse % PRIME for carry in range(4))

    return _search(ct, at, solve)


def two_keys(keys: tuple[bytes, bytes], nonce: bytes, aad: bytes, ct: bytes, at: int) -> bytes:
    """`ct` with one of its blocks from byte `at` on replaced, and the tag that it has under both keys."""
    (r1, s1), (r2, s2) = one_time(keys[0], nonce), one_time(keys[1], nonce)

    def solve(trial: bytes) -> bytes | None:
        data, free = authenticated(aad, trial), _free(aad, at)
        one, other = line(r1, data, free), line(r2, data, free)
        inverse = pow(one.factor - other.factor, -1, PRIME)
        differences = ((s2 - s1) + carry * TOP for carry in range(-4, 5))
        values = ((each + other.constant - one.constant) * inverse % PRIME for each in differences)
        return blocks_of(value for value in values if TOP <= value < 2 * TOP and _tags_agree(value, one, other, s1, s2))

    made = _search(ct, at, solve)
    tag = (_value(line(r1, authenticated(aad, made), _free(aad, at)), made, at) + s1) % TOP
    return made + tag.to_bytes(BLOCK, "little")


def _tags_agree(value: int, one: Line, other: Line, s1: int, s2: int) -> bool:
    tags = [((each.constant + each.factor * value) % PRIME + s) % TOP for each, s in ((one, s1), (other, s2))]
    return tags[0] == tags[1]


def _value(of: Line, ct: bytes, at: int) -> int:
    return (of.constant + of.factor * (int.from_bytes(ct[at : at + BLOCK], "little") + TOP)) % PRIME


def _free(aad: bytes, at: int) -> int:
    return (len(aad) + -len(aad) % BLOCK + at) // BLOCK


def _search(ct: bytes, at: int, solve: Callable[[bytes], bytes | None]) -> bytes:
    before = at - BLOCK
    for count in range(64):
        trial = ct[:before] + count.to_bytes(BLOCK, "little") + ct[at:]
        block = solve(trial)
        if block is not None:
            return trial[:at] + block + trial[at + BLOCK :]
    raise AssertionError("no solution in 64 tries, of which most should do")
