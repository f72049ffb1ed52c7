"""HPKE and padding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol import hpke
from mesh_protocol.keys import BadCiphertext, BadEncoding, BadPeerKey, PrekeyPrivate
from mesh_protocol.padding import bucket, pad, require_padding

PRIVATE = PrekeyPrivate.from_seed(bytes(range(32)))
# Points of order 1, 2, 4 and 8 on curve25519 and its twist (https://cr.yp.to/ecdh.html#validate), and non-canonical ones.
LOW_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@given(st.binary(max_size=600), st.binary(max_size=80))
def test_what_is_sealed_opens_again(plaintext, info):
    enc, ct = hpke.seal(PRIVATE.public, info, plaintext)
    assert len(enc) + len(ct) == len(plaintext) + hpke.OVERHEAD
    assert hpke.open(PRIVATE, info, enc, ct) == plaintext


def test_sealing_twice_gives_different_texts():
    assert hpke.seal(PRIVATE.public, b"", b"same") != hpke.seal(PRIVATE.public, b"", b"same")


@pytest.mark.parametrize("point", LOW_ORDER)
def test_nothing_is_sealed_to_or_opened_from_a_low_order_key(point):
    with pytest.raises(BadPeerKey):
        hpke.seal(bytes.fromhex(point), b"", b"text")
    with pytest.raises(BadCiphertext):
        hpke.open(PRIVATE, b"", bytes.fromhex(point), bytes(32))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_public_key_of_another_size_is_refused(size):
    with pytest.raises(BadPeerKey):
        hpke.seal(bytes(size), b"", b"text")


def test_another_key_info_or_text_does_not_open():
    enc, ct = hpke.seal(PRIVATE.public, b"info", b"text")
    other = PrekeyPrivate.from_seed(bytes(32))
    for private, info, key, text in (
        (other, b"info", enc, ct),
        (PRIVATE, b"", enc, ct),
        (PRIVATE, b"info", enc[::-1], ct),
        (PRIVATE, b"info", enc[:31], ct),
        (PRIVATE, b"info", enc + b"\0", ct),
        (PRIVATE, b"info", enc, ct[:-1]),
        (PRIVATE, b"info", enc, b""),
        (PRIVATE, b"info", enc + ct[:1], ct[1:]),
        (PRIVATE, b"info", enc[:31], enc[31:] + ct),
    ):
        with pytest.raises(BadCiphertext):
            hpke.open(private, info, key, text)


@given(st.integers(0, 2**20))
def test_a_bucket_costs_at_most_an_eighth_and_is_a_bucket_itself(size):
    padded = bucket(size)
    assert padded >= max(size, 256)
    assert padded <= max(256, size * 1.12)
    assert bucket(padded) == padded


def test_buckets_grow_with_sizes():
    sizes = [bucket(size) for size in range(5_000)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) < 80


@given(st.binary(max_size=1_000))
def test_padding_is_checked_and_only_the_right_one_passes(data):
    padded = pad(data)
    require_padding(padded, len(data))
    assert padded.startswith(data)
    for bad in (padded + b"\0", padded[:-1], padded + bytes(256), data[:-1], b""):
        with pytest.raises(BadEncoding):
            require_padding(bad, len(data))
    if len(padded) > len(data):
        with pytest.raises(BadEncoding):
            require_padding(padded[:-1] + b"\x01", len(data))
