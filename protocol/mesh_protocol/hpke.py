"""HPKE base mode (RFC 9180), single shot: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.

That is the suite of RFC 9180 A.2. `cryptography` computes it and makes the ephemeral key itself, so equal inputs give
different ciphertexts of equal length. There is no aad: whatever must be bound goes into `info`, always a PAE.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from mesh_protocol.keys import AEAD_TAG_SIZE, KEY_SIZE, BadCiphertext, BadPeerKey, PrekeyPrivate

ENC_SIZE = 32
"""Bytes of the encapsulated key."""
OVERHEAD = ENC_SIZE + AEAD_TAG_SIZE
"""Bytes that sealing adds: the encapsulated key and the tag."""

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def seal(public: bytes, info: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
    """(enc, ct) for the holder of the 32-byte X25519 key `public`. Raises BadPeerKey for a low-order or odd key."""
    if len(public) != KEY_SIZE:
        raise BadPeerKey("a public key must have 32 bytes")
    try:
        sealed = _SUITE.encrypt(plaintext, X25519PublicKey.from_public_bytes(public), info=info)
    except ValueError:
        raise BadPeerKey("the public key is of low order") from None
    return sealed[:ENC_SIZE], sealed[ENC_SIZE:]


def open(private: PrekeyPrivate, info: bytes, enc: bytes, ct: bytes) -> bytes:  # noqa: A001 - RFC 9180's own word
    """The plaintext. Raises BadCiphertext when key, info, enc or ct is not the one of the seal."""
    if len(enc) != ENC_SIZE or len(ct) < AEAD_TAG_SIZE:
        raise BadCiphertext("a sealed text is shorter than its key and tag")
    try:
        return _SUITE.decrypt(enc + ct, private.x25519, info=info)
    except InvalidTag:
        raise BadCiphertext("a sealed text does not open under this key and these fields") from None
