"""Edge cases of the primitives, in the manner of Wycheproof: `python tests/vectors/make_edges.py` writes edges.json.

Each expected value comes from other code than what the product calls: Ed25519 and X25519 from plain integers, the two
AEADs from the library that the product does not use for it, HKDF and HMAC from SHA-256 alone. What must be refused says so.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from nacl import bindings as sodium

import curve25519_reference as curve
import mesh_reference as ref
from curve25519_reference import BASE, ORDER, P, add, encode, multiply, sign_with, torsion

PATH = Path(__file__).parent / "edges.json"
Row = dict[str, object]
SIZES = (0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 1024)


def stream(name: str, size: int = 32) -> bytes:
    return hashlib.shake_256(b"edge " + name.encode()).digest(size)


def little(number: int) -> bytes:
    return number.to_bytes(32, "little")


def flipped(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data, "little") ^ 1 << bit).to_bytes(len(data), "little")


def signature(why: str, public: bytes, message: bytes, made: bytes, holds: bool = False) -> Row:
    return {"why": why, "public": public.hex(), "message": message.hex(), "signature": made.hex(), "holds": holds}


def ed25519_rows() -> Iterator[Row]:
    message = b"said by one key"
    scalar, _ = curve.secret(stream("signer"))
    public, nonce = encode(multiply(scalar, BASE)), int.from_bytes(stream("nonce", 64), "little") % ORDER
    good = sign_with(scalar, nonce, public, message)
    r, s = good[:32], int.from_bytes(good[32:], "little")
    for size in SIZES:
        text = stream("text", size)
        yield signature(f"{size} bytes are signed", public, text, sign_with(scalar, nonce + size, public, text), True)
    yield signature("S of zero", public, message, r + little(0))
    for times in (1, 2, 15):
        yield signature(f"S plus {times} times the order", public, message, r + little(s + times * ORDER))
    yield signature("S is the order", public, message, r + little(ORDER))
    yield signature("S is negated", public, message, r + little(ORDER - s))
    for size in (0, 1, 32, 63, 65, 96):
        yield signature(f"a signature of {size} bytes", public, message, (good + good)[:size])
    for size in (0, 31, 33):
        yield signature(f"a key of {size} bytes", (public + public)[:size], message, good)
    yield signature("R and S exchanged", public, message, good[32:] + r)
    yield signature("all zeros", public, message, bytes(64))
    yield signature("all ones", public, message, b"\xff" * 64)
    yield signature("another message", public, message + b"\0", good)
    yield signature("the message cut", public, message[:-1], good)
    yield signature("the negated key", encode(curve.negate(multiply(scalar, BASE))), message, good)
    for bit in range(0, 512, 8):
        yield signature(f"bit {bit} of the signature", public, message, flipped(good, bit))
    for bit in range(0, 256, 16):
        yield signature(f"bit {bit} of the key", flipped(public, bit), message, good)
    yield from small_order_rows(message, scalar, nonce)


def small_order_rows(message: bytes, scalar: int, nonce: int) -> Iterator[Row]:
    """Keys and R of small or of mixed order: equations that hold only with the cofactor, or for everybody."""
    for index, point in enumerate(torsion()):
        forged = encode(multiply(nonce, BASE))
        for key in spellings(point):
            yield signature(f"a key of small order, {index}", key, message, forged + little(nonce))
            yield signature(f"key and R of small order, {index}", key, message, key + little(0))
        public = encode(multiply(scalar, BASE))
        for small in spellings(point):
            made = curve.challenge(small, public, message) * scalar % ORDER
            yield signature(f"R of small order, {index}", public, message, small + little(made))
        if index:
            mixed = encode(add(multiply(scalar, BASE), point))
            shifted = sign_with(scalar, nonce, public, message, point)
            yield signature(f"R shifted by small order, {index}", public, message, shifted)
            yield signature(
                f"a key shifted by small order, {index}", mixed, message, uneven(scalar, nonce, mixed, message)
            )


def uneven(scalar: int, nonce: int, public: bytes, message: bytes) -> bytes:
    """A signature whose challenge is no multiple of 8, so that the key's part of small order does not fall away."""
    while True:
        made = sign_with(scalar, nonce, public, message)
        if curve.challenge(made[:32], public, message) % 8 == 1:
            return made
        nonce += 1


def spellings(point: curve.Point) -> list[bytes]:
    """Every 32 bytes that name the point to a reader who reduces y or ignores the sign of a zero x."""
    x, y = point
    ys = [y] if y >= 19 else [y, y + P]
    signs = [0, 1] if x == 0 else [x & 1]
    return [little(each | sign << 255) for each in ys for sign in signs]


def x25519_rows() -> Iterator[Row]:
    scalar = stream("scalar")
    low = {0, 1, P - 1, P, P + 1}
    for x, y in torsion():
        if (x, y) != curve.ZERO:
            low.add((1 + y) * pow(1 - y, -1, P) % P)
    for u in sorted(low):
        for top in (0, 1 << 255):
            yield product("low order", scalar, little(u | top))
    yield product("2P", scalar, little(2 * P & (2**255 - 1)))
    for u in (2, 3, 4, 5, 9, 16, 2**52 - 1, 2**128, 2**252, 2**254, P - 2, P - 3, P + 2, P + 9, 2**255 - 1):
        for top in (0, 1 << 255):
            yield product(f"u = {u if u < 20 else hex(u)}", scalar, little(u | top))
    for name, own in {
        "zeros": bytes(32),
        "ones": b"\xff" * 32,
        "the order": little(ORDER),
        "the order less one": little(ORDER - 1),
        "eight": little(8),
        "the lowest bits": little(7),
    }.items():
        yield product(f"a private key of {name}", own, little(9))
    for index in range(80):
        yield product(f"any point, {index}", stream(f"scalar {index}"), stream(f"point {index}"))


def product(why: str, scalar: bytes, u: bytes) -> Row:
    out = curve.x25519(scalar, u)
    return {"why": why, "scalar": scalar.hex(), "u": u.hex(), "out": out.hex() if any(out) else ""}


def chacha_seal(key: bytes, nonce: bytes, aad: bytes, text: bytes) -> bytes:
    return sodium.crypto_aead_chacha20poly1305_ietf_encrypt(text, aad, nonce, key)


def aead_rows(seal, size: int) -> Iterator[Row]:
    key, nonce = stream("key"), stream("nonce", size)

    def row(why: str, data: bytes, aad: bytes = b"", text: bytes | None = None, own=key, once=nonce) -> Row:
        fields = {"key": own, "nonce": once, "aad": aad, "ciphertext": data}
        return {
            "why": why,
            **{name: each.hex() for name, each in fields.items()},
            "plaintext": None if text is None else text.hex(),
        }

    for length in SIZES:
        text, aad = stream("text", length), stream("aad", length)
        yield row(f"{length} bytes", seal(key, nonce, b"", text), text=text)
        yield row(f"{length} bytes and as many aside", seal(key, nonce, aad, text), aad, text)
        yield row(f"{length} bytes aside", seal(key, nonce, aad, b""), aad, b"")
    for filler in (b"\0", b"\xff", b"\x80", b"\x7f"):
        own, once, text = filler * 32, filler * size, filler * 64
        yield row(f"all {filler.hex()}", seal(own, once, text, text), text, text, own, once)
    text, aad = stream("text", 40), stream("aad", 10)
    good = seal(key, nonce, aad, text)
    for bit in range(128):
        yield row(f"bit {bit} of the tag", good[:-16] + flipped(good[-16:], bit), aad)
    for bit in range(0, 320, 20):
        yield row(f"bit {bit} of the text", flipped(good[:-16], bit) + good[-16:], aad)
    for cut in (1, 8, 15, 16, 17, len(good)):
        yield row(f"cut by {cut}", good[:-cut], aad)
    yield row("a byte more", good + b"\0", aad)
    yield row("the tag of zeros", good[:-16] + bytes(16), aad)
    yield row("the tag negated", good[:-16] + bytes(255 - each for each in good[-16:]), aad)
    yield row("nothing aside", good)
    yield row("a byte more aside", good, aad + b"\0")
    yield row("aside cut", good, aad[:-1])
    yield row("what is aside in the text", good, aad + text)
    yield row("another nonce", good, aad, once=flipped(nonce, 3))
    yield row("another key", good, aad, own=flipped(key, 200))


def hkdf_rows() -> Iterator[Row]:
    for key in (0, 1, 16, 32, 64, 65, 200):
        for salt in (0, 1, 32, 64, 65):
            for info, length in ((0, 32), (10, 1), (80, 33), (200, 64)):
                yield derived(key, salt, info, length)
    for length in (1, 31, 32, 33, 255, 256, 8159, 8160):
        yield derived(32, 0, 8, length)


def derived(key: int, salt: int, info: int, length: int) -> Row:
    ikm, salted, named = stream("ikm", key), stream("salt", salt), stream("info", info)
    okm = ref.hkdf(ikm, named, length, salted)
    why = f"key {key}, salt {salt}, info {info}, {length} bytes"
    return {"why": why, "ikm": ikm.hex(), "salt": salted.hex(), "info": named.hex(), "length": length, "okm": okm.hex()}


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """RFC 2104 over SHA-256 alone."""
    block = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(each ^ 0x36 for each in block) + data).digest()
    return hashlib.sha256(bytes(each ^ 0x5C for each in block) + inner).digest()


def hmac_rows() -> Iterator[Row]:
    for size in (1, 16, 31, 32, 33, 63, 64, 65, 128, 131):
        for length in (0, 1, 16, 55, 56, 63, 64, 65, 119, 120, 500):
            key, data = stream("mac key", size), stream("data", length)
            why = f"key {size}, data {length}"
            yield {"why": why, "key": key.hex(), "data": data.hex(), "mac": hmac_sha256(key, data).hex()}


def make_edges() -> dict[str, list[Row]]:
    return {
        "ed25519": list(ed25519_rows()),
        "x25519": list(x25519_rows()),
        "chacha20poly1305": list(aead_rows(chacha_seal, 12)),
        "xchacha20poly1305": list(aead_rows(ref.xchacha_seal, 24)),
        "hkdf": list(hkdf_rows()),
        "hmac": list(hmac_rows()),
    }


def render() -> str:
    """A line for each case."""
    sections = []
    for name, rows in make_edges().items():
        lines = ",\n".join(json.dumps(row) for row in rows)
        sections.append(f"{json.dumps(name)}: [\n{lines}\n]")
    return "{\n" + ",\n".join(sections) + "\n}\n"


if __name__ == "__main__":
    PATH.write_text(render())
    sys.exit(0)
