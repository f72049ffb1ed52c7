"""The primitives at their edges: points of small order, other spellings, altered tags, odd sizes (see make_edges.py)."""

import hmac
import json

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

import curve25519_reference as curve
import make_edges
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

EDGES = json.loads(make_edges.PATH.read_text())
H = bytes.fromhex


def raw(row, *names):
    return tuple(H(row[name]) for name in names)


def rows(section):
    return pytest.mark.parametrize("row", EDGES[section], ids=lambda row: row["why"])


def test_the_edge_cases_are_those_that_the_reference_makes():
    assert make_edges.PATH.read_text() == make_edges.render()


def test_there_are_as_many_edge_cases_as_are_promised():
    assert sum(map(len, EDGES.values())) >= 1_000
    assert sum(row["holds"] for row in EDGES["ed25519"]) == len(make_edges.SIZES)
    assert sum(not row["out"] for row in EDGES["x25519"]) >= 14


def test_the_reference_curve_signs_as_rfc_8032_says():
    vector = json.loads((make_edges.PATH.parent / "rfc.json").read_text())["ed25519"]["vectors"][1]
    seed, message = raw(vector, "seed", "message")
    scalar, prefix = curve.secret(seed)
    public = curve.encode(curve.multiply(scalar, curve.BASE))
    nonce = int.from_bytes(curve.hashlib.sha512(prefix + message).digest(), "little") % curve.ORDER
    assert public == H(vector["public"])
    assert curve.sign_with(scalar, nonce, public, message) == H(vector["signature"])


@rows("ed25519")
def test_a_signature_at_an_edge_holds_or_is_refused(row):
    public, message, signature = raw(row, "public", "message", "signature")
    if row["holds"]:
        verify(public, message, signature)
        return
    with pytest.raises(BadSignature):
        verify(public, message, signature)


@rows("x25519")
def test_a_point_at_an_edge_gives_the_product_or_is_refused(row):
    scalar, u, out = raw(row, "scalar", "u", "out")
    private = PrekeyPrivate.from_seed(scalar)
    if out:
        assert private.x25519.exchange(X25519PublicKey.from_public_bytes(u)) == out
        return
    with pytest.raises(BadPeerKey):
        hpke.seal(u, b"info", b"text")
    with pytest.raises(BadCiphertext):
        hpke.open(private, b"info", u, bytes(32))


@rows("xchacha20poly1305")
def test_a_text_under_xchacha20_poly1305_opens_or_is_refused(row):
    key, nonce, aad, ciphertext = raw(row, "key", "nonce", "aad", "ciphertext")
    if row["plaintext"] is None:
        with pytest.raises(BadCiphertext):
            aead_open(key, nonce, aad, ciphertext)
        return
    assert aead_open(key, nonce, aad, ciphertext) == H(row["plaintext"])
    assert aead_seal(key, nonce, aad, H(row["plaintext"])) == ciphertext


@rows("chacha20poly1305")
def test_a_text_under_the_librarys_chacha20_poly1305_opens_or_is_refused(row):
    key, nonce, aad, ciphertext = raw(row, "key", "nonce", "aad", "ciphertext")
    if row["plaintext"] is None:
        with pytest.raises(InvalidTag):
            ChaCha20Poly1305(key).decrypt(nonce, ciphertext, aad)
        return
    assert ChaCha20Poly1305(key).encrypt(nonce, H(row["plaintext"]), aad) == ciphertext


@rows("hkdf")
def test_a_key_is_derived_as_from_sha_256_alone(row):
    ikm, salt, info, okm = raw(row, "ikm", "salt", "info", "okm")
    assert HKDF(SHA256(), row["length"], salt, info).derive(ikm) == okm
    if not salt:
        assert hkdf(ikm, info, row["length"]) == okm


@rows("hmac")
def test_a_code_is_made_as_from_sha_256_alone(row):
    key, data, mac = raw(row, "key", "data", "mac")
    assert hmac.digest(key, data, "sha256") == mac
