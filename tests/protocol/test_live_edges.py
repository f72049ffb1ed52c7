"""Live frames at their edges: what somebody with the epoch's key seals, but its device did not sign or pad as it must."""

from dataclasses import replace

import pytest

from mesh_protocol.keys import BadEncoding, BadSignature, aead_open, aead_seal, hkdf
from mesh_protocol.live import MAX_LIVE, open_live, peek_live, seal_live
from mesh_protocol.padding import pad
from mesh_protocol.pae import lst, pae, split_pae, unlst
from mesh_samples import HERE

KEY, NONCE = HERE.seed("epoch 2"), HERE.seed("live nonce", 24)
GOOD = seal_live(HERE.live_frame, KEY, HERE.key("bob"), NONCE)


def resealed(change):
    """The good frame with its padded inner bytes changed, by a member who holds the epoch's key."""
    *routing, nonce, ct = unlst(GOOD, max_items=8)
    key = hkdf(KEY, pae("live-key", *routing))
    padded = aead_open(key, nonce, b"", ct)
    end = split_pae(padded, "live-sig", 11)[1]
    return lst(*routing, nonce, aead_seal(key, nonce, b"", change(padded, end)))


def test_a_frame_that_is_sealed_again_unchanged_is_the_same():
    assert resealed(lambda padded, end: padded) == GOOD


def test_a_frame_that_its_device_did_not_sign_is_refused():
    def forged(padded, end):
        return pad(padded[:end] + HERE.key("mallory").sign(padded[:end]))

    with pytest.raises(BadSignature):
        open_live(resealed(forged), KEY)


def test_a_frame_with_another_padding_than_its_size_asks_for_is_refused():
    for change in (
        lambda padded, end: padded[:-1] + b"\x01",
        lambda padded, end: padded[: end + 64] + b"\x01" + padded[end + 65 :],
        lambda padded, end: pad(padded + b"\0"),
        lambda padded, end: padded[: end + 64],
    ):
        with pytest.raises(BadEncoding):
            open_live(resealed(change), KEY)


def test_a_content_may_be_as_large_as_a_frame_but_such_a_frame_is_not_made():
    largest = replace(HERE.live_frame, content=bytes(MAX_LIVE))
    with pytest.raises(BadEncoding, match="allowed"):
        seal_live(largest, KEY, HERE.key("bob"), NONCE)
    with pytest.raises(BadEncoding):
        replace(HERE.live_frame, content=bytes(MAX_LIVE + 1))
    with pytest.raises(BadEncoding, match="allowed"):
        peek_live(bytes(MAX_LIVE + 1))


def test_a_frame_by_another_devices_key_or_under_another_nonce_is_not_made():
    for nonce in (NONCE[:-1], NONCE + b"\0"):
        with pytest.raises(BadEncoding):
            seal_live(HERE.live_frame, KEY, HERE.key("bob"), nonce)
