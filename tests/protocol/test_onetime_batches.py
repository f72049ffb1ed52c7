"""A batch of one-time prekeys: no bit of it may be changed, and it counts for its own mesh and device only."""

from dataclasses import replace

import pytest

from mesh_protocol.envelope import open_envelope, parse_outer, seal_envelope, sign_message
from mesh_protocol.keys import BadCiphertext, BadEncoding, BadPeerKey, BadSignature, CryptoError, PrekeyPrivate
from mesh_protocol.prekeys import (
    BATCH_BYTES,
    FIRST_ONETIME,
    MAX_AGE_MS,
    MAX_BATCH,
    OneTimeBatch,
    is_onetime,
    is_too_old,
    verify_batch,
)
from mesh_samples import ELSEWHERE, HERE, NOW_MS
from vectors_onetime import batch_of

GOOD = batch_of("bob", FIRST_ONETIME, 3)


def check(data: bytes) -> None:
    verify_batch(OneTimeBatch.decode(data), HERE.mesh_id, HERE.key("bob").public)


def test_a_batch_of_ones_own_is_taken():
    check(GOOD.encode())
    assert len(batch_of("bob", FIRST_ONETIME, MAX_BATCH).encode()) <= BATCH_BYTES


def test_no_bit_of_it_may_be_changed_and_no_byte_cut():
    data = GOOD.encode()
    for place in range(len(data)):
        for bit in (1, 128):
            with pytest.raises(CryptoError):
                check(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
        with pytest.raises(CryptoError):
            check(data[:place])


def test_keys_may_not_be_exchanged_doubled_or_left_out():
    one, two, three = GOOD.pubs
    for pubs in ((two, one, three), (one, two), (one, two, three, three), (one, one, three)):
        with pytest.raises(BadSignature):
            check(replace(GOOD, pubs=pubs).encode())


def test_it_counts_for_its_own_mesh_and_device_only():
    with pytest.raises(BadPeerKey):
        check(batch_of("alice", FIRST_ONETIME, 3).encode())
    with pytest.raises(BadPeerKey):
        check(batch_of("bob", FIRST_ONETIME, 3, ELSEWHERE).encode())
    with pytest.raises(BadSignature):
        check(replace(batch_of("alice", FIRST_ONETIME, 3), device=HERE.key("bob").public).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"pubs": ()},
        {"pubs": (bytes(32),) * (MAX_BATCH + 1)},
        {"pubs": (bytes(31),)},
        {"first_id": FIRST_ONETIME - 1},
        {"first_id": 2**63 - 1 - MAX_BATCH + 1},
        {"made_ms": -1},
        {"mesh_id": bytes(31)},
        {"device": bytes(33)},
        {"sig": bytes(63)},
    ],
    ids=str,
)
def test_what_lies_outside_the_limits_is_no_batch(change):
    with pytest.raises(BadEncoding):
        replace(GOOD, **change)


def test_a_batch_that_ends_inside_of_a_key_is_refused():
    data = GOOD.encode()
    place = data.index(b"".join(GOOD.pubs))
    cut = data[: place - 8] + (95).to_bytes(8, "little") + data[place : place + 95] + data[-64:]
    with pytest.raises(BadEncoding, match="inside of a key"):
        OneTimeBatch.decode(cut)


def test_a_message_sealed_to_a_one_time_prekey_opens_with_its_private_half_alone():
    key = batch_of("bob", FIRST_ONETIME, 3).key(1)
    signed = sign_message(HERE.message(), HERE.key("alice"))
    outer = parse_outer(seal_envelope(signed, attempt=1, spk=key))
    assert is_onetime(outer.prekey_id)
    assert outer.prekey_id == FIRST_ONETIME + 1
    assert open_envelope(outer, PrekeyPrivate.from_seed(HERE.seed("bob onetime 1"))).raw == signed.raw
    with pytest.raises(BadCiphertext):
        open_envelope(outer, PrekeyPrivate.from_seed(HERE.seed("bob onetime 0")))
    with pytest.raises(BadPeerKey):
        seal_envelope(signed, attempt=1, spk=batch_of("alice", FIRST_ONETIME, 1).key(0))
    with pytest.raises(BadPeerKey):
        seal_envelope(signed, attempt=1, spk=batch_of("bob", FIRST_ONETIME, 1, ELSEWHERE).key(0))


def test_45_days_are_the_oldest_that_is_sealed_to():
    assert not is_too_old(NOW_MS, NOW_MS + MAX_AGE_MS)
    assert is_too_old(NOW_MS, NOW_MS + MAX_AGE_MS + 1)
    assert not is_onetime(FIRST_ONETIME - 1)
