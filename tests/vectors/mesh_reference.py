"""A second, slow implementation of the bytes of SPEC.md. It imports nothing of `mesh_protocol` and shares no code with it.

Signatures come from `cryptography` (the product verifies with libsodium), HPKE and XChaCha20 are written out from
RFC 9180 and the xchacha draft over the primitives; so the frozen vectors are held by two implementations.
"""

import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

AEADS = {"AES-128-GCM": (1, 16, AESGCM), "ChaCha20-Poly1305": (3, 32, ChaCha20Poly1305)}


def u64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def lst(*fields: bytes) -> bytes:
    out = u64(len(fields))
    for field in fields:
        out += u64(len(field)) + field
    return out


def pae(purpose: str, *fields: bytes) -> bytes:
    return lst(("meshd/v1/" + purpose).encode(), *fields)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def sign(seed: bytes, message: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def ed25519_public(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def x25519_public(seed: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def verify(public: bytes, message: bytes, signature: bytes) -> None:
    Ed25519PublicKey.from_public_bytes(public).verify(signature, message)


def padme(data: bytes) -> bytes:
    """Grow to the least size of at least 256 whose binary form has no more significant bits than Padmé allows."""
    size = max(len(data), 256)
    while True:
        exponent = size.bit_length() - 1
        free = exponent - exponent.bit_length()
        if size == 256 or size % (1 << free) == 0:
            return data + bytes(size - len(data))
        size += 1


def extract(salt: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), ikm, "sha256")


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    out = block = b""
    counter = 1
    while len(out) < length:
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        out += block
        counter += 1
    return out[:length]


def hkdf(key: bytes, info: bytes, length: int = 32, salt: bytes = b"") -> bytes:
    return expand(extract(salt, key), info, length)


def _hpke_context(aead: str, shared: bytes, enc: bytes, pk_r: bytes, info: bytes) -> tuple[bytes, bytes]:
    aead_id, key_size, _ = AEADS[aead]
    kem = b"KEM" + (0x20).to_bytes(2, "big")
    suite = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (0x20, 1, aead_id))

    def labeled_extract(of: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return extract(salt, b"HPKE-v1" + of + label + ikm)

    def labeled_expand(of: bytes, prk: bytes, label: bytes, data: bytes, length: int) -> bytes:
        return expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + of + label + data, length)

    eae = labeled_extract(kem, b"", b"eae_prk", shared)
    secret = labeled_expand(kem, eae, b"shared_secret", enc + pk_r, 32)
    context = b"\0" + labeled_extract(suite, b"", b"psk_id_hash", b"") + labeled_extract(suite, b"", b"info_hash", info)
    prk = labeled_extract(suite, secret, b"secret", b"")
    return labeled_expand(suite, prk, b"key", context, key_size), labeled_expand(suite, prk, b"base_nonce", context, 12)


def hpke_seal(
    sk_e: bytes,
    pk_r: bytes,
    info: bytes,
    plaintext: bytes,
    aad: bytes = b"",
    aead: str = "ChaCha20-Poly1305",
) -> tuple[bytes, bytes]:
    """(enc, ct) with the given ephemeral private key, so that a vector is the same each time."""
    ephemeral = X25519PrivateKey.from_private_bytes(sk_e)
    enc = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(pk_r))
    key, nonce = _hpke_context(aead, shared, enc, pk_r, info)
    return enc, AEADS[aead][2](key).encrypt(nonce, plaintext, aad)


def hpke_open(
    sk_r: bytes, info: bytes, enc: bytes, ct: bytes, aad: bytes = b"", aead: str = "ChaCha20-Poly1305"
) -> bytes:
    private = X25519PrivateKey.from_private_bytes(sk_r)
    shared = private.exchange(X25519PublicKey.from_public_bytes(enc))
    key, nonce = _hpke_context(aead, shared, enc, private.public_key().public_bytes_raw(), info)
    return AEADS[aead][2](key).decrypt(nonce, ct, aad)


def _quarter(state: list[int], a: int, b: int, c: int, d: int) -> None:
    for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[x] = (state[x] + state[y]) & 0xFFFFFFFF
        mixed = state[z] ^ state[x]
        state[z] = ((mixed << turn) | (mixed >> (32 - turn))) & 0xFFFFFFFF


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    state = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))
    for _ in range(10):
        for column in range(4):
            _quarter(state, column, 4 + column, 8 + column, 12 + column)
        for diagonal in range(4):
            _quarter(
                state,
                diagonal,
                4 + (diagonal + 1) % 4,
                8 + (diagonal + 2) % 4,
                12 + (diagonal + 3) % 4,
            )
    return struct.pack("<8I", *state[:4], *state[12:])


def xchacha_seal(key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> bytes:
    subkey = hchacha20(key, nonce[:16])
    return ChaCha20Poly1305(subkey).encrypt(bytes(4) + nonce[16:], plaintext, aad)


def xchacha_open(key: bytes, nonce: bytes, aad: bytes, ciphertext: bytes) -> bytes:
    subkey = hchacha20(key, nonce[:16])
    return ChaCha20Poly1305(subkey).decrypt(bytes(4) + nonce[16:], ciphertext, aad)
