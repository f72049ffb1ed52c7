"""Curve25519 in plain integers, slow and simple: what the edge cases of Ed25519 and X25519 come from (RFC 8032, RFC 7748).

Points of edwards25519 are (x, y); `None` stands for no point. It shares no code with any library.
"""

import hashlib
from typing import TypeAlias

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT = pow(2, (P - 1) // 4, P)

Point: TypeAlias = tuple[int, int]

ZERO: Point = (0, 1)


def add(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P)
    return x % P, y % P


def multiply(number: int, point: Point) -> Point:
    total = ZERO
    while number:
        if number & 1:
            total = add(total, point)
        point = add(point, point)
        number >>= 1
    return total


def negate(point: Point) -> Point:
    return -point[0] % P, point[1]


def recover(y: int, sign: int) -> Point | None:
    """The point with this y coordinate and this lowest bit of x."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P:
        return None
    return (-x % P if x & 1 != sign else x), y


BASE = recover(4 * pow(5, -1, P) % P, 0) or ZERO


def encode(point: Point) -> bytes:
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def torsion() -> list[Point]:
    """The eight points whose order divides 8."""
    y = 2
    while True:
        found = recover(y, 0)
        generator = multiply(ORDER, found) if found else ZERO
        if multiply(4, generator) != ZERO:
            return [multiply(number, generator) for number in range(8)]
        y += 1


def secret(seed: bytes) -> tuple[int, bytes]:
    """The scalar and the prefix of a seed (RFC 8032 5.1.5)."""
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & ~7 & ~(1 << 255) | 1 << 254
    return scalar, digest[32:]


def challenge(r: bytes, public: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + public + message).digest(), "little") % ORDER


def sign_with(scalar: int, nonce: int, public: bytes, message: bytes, shift: Point = ZERO) -> bytes:
    """A signature with the nonce given, `shift` added to its R. It holds for the public key of `scalar`, if unshifted."""
    r = encode(add(multiply(nonce, BASE), shift))
    s = (nonce + challenge(r, public, message) * scalar) % ORDER
    return r + s.to_bytes(32, "little")


def x25519(scalar: bytes, u: bytes) -> bytes:
    """RFC 7748 section 5, the Montgomery ladder; all zeros for points of small order."""
    number = int.from_bytes(scalar, "little") & ~7 & ~(1 << 255) | 1 << 254
    x1 = (int.from_bytes(u, "little") & ~(1 << 255)) % P
    x2, z2, x3, z3 = 1, 0, x1, 1
    for bit in range(254, -1, -1):
        if number >> bit & 1:
            x2, z2, x3, z3 = _step(x3, z3, x2, z2, x1, swapped=True)
        else:
            x2, z2, x3, z3 = _step(x2, z2, x3, z3, x1, swapped=False)
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def _step(x2: int, z2: int, x3: int, z3: int, x1: int, *, swapped: bool) -> tuple[int, int, int, int]:
    a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
    aa, bb, da, cb = a * a % P, b * b % P, d * a % P, c * b % P
    e = aa - bb
    doubled = aa * bb % P, e * (aa + 121665 * e) % P
    added = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
    return (*added, *doubled) if swapped else (*doubled, *added)
