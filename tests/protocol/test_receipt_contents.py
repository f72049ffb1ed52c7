"""Receipts and bounces: read back as written, within their limits."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol.keys import BadEncoding
from mesh_protocol.pae import lst
from mesh_protocol.receipt import (
    BOUNCE_REASONS,
    STATES,
    Bounce,
    ReceiptRow,
    decode_receipts,
    encode_receipts,
)
from mesh_samples import HERE

NUMBERS = st.integers(0, 2**63 - 1)
ROWS = st.builds(
    ReceiptRow,
    msg_id=st.binary(min_size=16, max_size=16),
    attempt=st.integers(0, 255),
    message_hash=st.binary(min_size=32, max_size=32),
    state=st.sampled_from(sorted(STATES)),
    reason=st.text(max_size=16),
    session=st.text(max_size=32),
    evidence=st.text(max_size=16),
    at_ms=NUMBERS,
    n=NUMBERS,
)


@given(st.lists(ROWS, min_size=1, max_size=64))
def test_receipts_are_read_back_as_they_were_written(rows):
    assert decode_receipts(encode_receipts(rows)) == tuple(rows)


@pytest.mark.parametrize("count", [0, 65])
def test_a_receipt_has_1_to_64_rows(count):
    rows = [HERE.receipt_row] * count
    with pytest.raises(BadEncoding):
        encode_receipts(rows)
    with pytest.raises(BadEncoding):
        decode_receipts(lst(*(row.encode() for row in rows)))


@pytest.mark.parametrize(
    "change",
    [
        {"state": "accepted"},
        {"state": ""},
        {"attempt": 256},
        {"reason": "r" * 65},
        {"session": "s" * 129},
        {"evidence": "e" * 65},
        {"message_hash": bytes(31)},
        {"msg_id": b""},
        {"at_ms": -1},
        {"n": 2**63},
    ],
    ids=str,
)
def test_a_row_outside_its_limits_cannot_be_built(change):
    with pytest.raises(BadEncoding):
        replace(HERE.receipt_row, **change)


@pytest.mark.parametrize("reason", sorted(BOUNCE_REASONS))
def test_a_bounce_is_read_back_as_it_was_written(reason):
    bounce = replace(HERE.bounce, reason=reason, spk=HERE.spk("bob") if reason == "prekey_gone" else None)
    assert Bounce.decode(bounce.encode()) == bounce


@pytest.mark.parametrize(
    "change",
    [
        {"reason": "bored", "spk": None},
        {"reason": "removed"},
        {"spk": None},
        {"outer_hash": bytes(33)},
        {"msg_id": bytes(15)},
        {"attempt": -1},
    ],
    ids=str,
)
def test_a_bounce_outside_its_limits_cannot_be_built(change):
    with pytest.raises(BadEncoding):
        replace(HERE.bounce, **change)
