"""Key objects keep their secrets to themselves; verification, AEAD and prekeys refuse what they must."""

import copy
import pickle

import pytest

from mesh_protocol.ids import DeviceId, MeshId
from mesh_protocol.keys import (
    BadCiphertext,
    BadEncoding,
    BadPeerKey,
    BadSignature,
    PrekeyPrivate,
    SignedPrekey,
    SigningKey,
    aead_open,
    aead_seal,
    sign_prekey,
    verify,
    verify_prekey,
)
from mesh_samples import ELSEWHERE, HERE

SEED = bytes(range(32))


@pytest.mark.parametrize("kind", [SigningKey, PrekeyPrivate])
class TestAPrivateKey:
    def test_shows_nothing_of_itself(self, kind):
        key = kind.from_seed(SEED)
        for text in (repr(key), str(key), f"{key}"):
            assert SEED.hex() not in text
            assert SEED.hex()[:16] not in text
            assert key.public.hex()[:16] in text

    def test_is_not_pickled_or_copied(self, kind):
        key = kind.from_seed(SEED)
        for take in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="not copied"):
                take(key)

    def test_is_equal_to_nothing_but_itself(self, kind):
        assert kind.from_seed(SEED) != kind.from_seed(SEED)

    def test_has_no_place_for_further_attributes(self, kind):
        with pytest.raises(AttributeError):
            kind.from_seed(SEED).extra = 1

    @pytest.mark.parametrize("size", [0, 31, 33, 64])
    def test_is_made_of_32_bytes_only(self, kind, size):
        with pytest.raises(BadEncoding):
            kind.from_seed(bytes(size))

    def test_takes_a_bytearray_that_may_be_wiped_afterwards(self, kind):
        seed = bytearray(SEED)
        key = kind.from_seed(seed)
        seed[:] = bytes(32)
        assert key.public == kind.from_seed(SEED).public


def test_a_prekeys_seed_can_be_stored():
    assert PrekeyPrivate.from_seed(SEED).seed() == SEED


@pytest.mark.parametrize(("key", "signature"), [(31, 64), (33, 64), (32, 63), (32, 65), (0, 0)])
def test_a_key_or_signature_of_another_size_never_reaches_the_library(key, signature):
    with pytest.raises(BadSignature):
        verify(bytes(key), b"message", bytes(signature))


def test_the_borders_between_key_signature_and_message_are_fixed():
    key = SigningKey.from_seed(SEED)
    signature = key.sign(b"message")
    for public, message, given in (
        (key.public + b"\0", b"message", signature),
        (key.public, b"essage", signature + b"m"),
        (key.public, signature[63:] + b"message", signature[:63]),
    ):
        with pytest.raises(BadSignature):
            verify(public, message, given)


# Points of small order on edwards25519, as listed in "Taming the many EdDSAs" (Chalkias et al., 2020), table 6.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_a_small_order_key_signs_nothing(point):
    """With A of small order the equation S*B = R + k*A holds for S = 0, R = -k*A: a key whose signatures anyone makes."""
    for r in SMALL_ORDER:
        for message in (b"", b"one", b"two", b"three"):
            with pytest.raises(BadSignature):
                verify(bytes.fromhex(point), message, bytes.fromhex(r) + bytes(32))


def test_a_signature_with_s_beyond_the_group_order_is_refused():
    key = SigningKey.from_seed(SEED)
    signature = key.sign(b"message")
    order = 2**252 + 27742317777372353535851937790883648493
    s = (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    verify(key.public, b"message", signature)
    with pytest.raises(BadSignature):
        verify(key.public, b"message", signature[:32] + s)


def test_the_aead_refuses_another_key_nonce_aad_or_text():
    key, nonce = bytes(32), bytes(24)
    sealed = aead_seal(key, nonce, b"aad", b"text")
    assert aead_open(key, nonce, b"aad", sealed) == b"text"
    other = b"\x01" * 32
    for call in (
        lambda: aead_open(other, nonce, b"aad", sealed),
        lambda: aead_open(key, other[:24], b"aad", sealed),
        lambda: aead_open(key, nonce, b"", sealed),
        lambda: aead_open(key, nonce, b"aad", sealed[:-1]),
        lambda: aead_open(key, nonce, b"aad", b""),
        lambda: aead_open(key, nonce, b"aad", bytes(15)),
    ):
        with pytest.raises(BadCiphertext):
            call()


@pytest.mark.parametrize(("key", "nonce"), [(31, 24), (33, 24), (32, 12), (32, 23), (0, 0)])
def test_the_aead_takes_keys_and_nonces_of_one_size_only(key, nonce):
    for call in (aead_seal, aead_open):
        with pytest.raises(BadEncoding):
            call(bytes(key), bytes(nonce), b"", bytes(32))


def test_a_prekey_of_another_device_or_mesh_is_refused():
    spk = HERE.spk("bob")
    verify_prekey(spk, HERE.mesh_id, HERE.key("bob").public)
    with pytest.raises(BadPeerKey):
        verify_prekey(spk, HERE.mesh_id, HERE.key("alice").public)
    with pytest.raises(BadPeerKey):
        verify_prekey(spk, ELSEWHERE.mesh_id, HERE.key("bob").public)


def test_a_prekey_claimed_for_another_mesh_does_not_verify():
    spk = HERE.spk("bob")
    moved = SignedPrekey(ELSEWHERE.mesh_id, spk.device, spk.prekey_id, spk.pub, spk.made_ms, spk.sig)
    with pytest.raises(BadSignature):
        verify_prekey(moved, ELSEWHERE.mesh_id, spk.device)


def test_a_signed_prekey_of_wrong_sizes_cannot_be_built():
    good = HERE.spk("bob")
    for mesh_id, device, prekey_id, pub, made_ms in (
        (b"short", good.device, 1, good.pub, 1),
        (good.mesh_id, b"short", 1, good.pub, 1),
        (good.mesh_id, good.device, -1, good.pub, 1),
        (good.mesh_id, good.device, 1, b"short", 1),
        (good.mesh_id, good.device, 1, good.pub, 2**63),
    ):
        with pytest.raises(BadEncoding):
            SignedPrekey(MeshId(mesh_id), DeviceId(device), prekey_id, pub, made_ms, good.sig)
    with pytest.raises(BadEncoding):
        SignedPrekey(good.mesh_id, good.device, 1, good.pub, 1, bytes(63))


def test_signing_a_prekey_of_the_wrong_size_is_refused():
    with pytest.raises(BadEncoding):
        sign_prekey(HERE.key("bob"), HERE.mesh_id, 1, b"short", 1)
