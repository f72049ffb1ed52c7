"""The encoding is injective, strict, and bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol import pae
from mesh_protocol.pae import BadEncoding, CryptoError, lst, split_pae, unlst

FIELDS = st.lists(st.binary(max_size=40), max_size=8)
PURPOSE = st.sampled_from(sorted(pae.LABELS))


@given(FIELDS)
def test_a_list_is_read_back_as_it_was_written(fields):
    assert unlst(lst(*fields), max_items=8) == fields


@given(PURPOSE, FIELDS, PURPOSE, FIELDS)
def test_different_fields_or_labels_never_encode_alike(purpose, fields, other_purpose, other_fields):
    same = (purpose, fields) == (other_purpose, other_fields)
    assert (pae.pae(purpose, *fields) == pae.pae(other_purpose, *other_fields)) == same


@given(FIELDS, st.integers(0, 8), st.integers(0, 40))
def test_moving_the_border_between_two_fields_changes_the_bytes(fields, index, by):
    index %= max(1, len(fields) - 1)
    if len(fields) < 2 or not 0 < by <= len(fields[index]):
        return
    moved = list(fields)
    moved[index], moved[index + 1] = fields[index][:-by], fields[index][-by:] + fields[index + 1]
    assert lst(*moved) != lst(*fields)


@given(PURPOSE, FIELDS, st.binary(max_size=100))
def test_a_pae_is_found_at_the_start_of_anything(purpose, fields, tail):
    data = pae.pae(purpose, *fields)
    assert split_pae(data + tail, purpose, len(fields)) == (fields, len(data))


@given(st.binary(max_size=200), st.integers(0, 10))
def test_any_bytes_are_a_list_or_refused_and_a_list_has_one_spelling(data, max_items):
    try:
        items = unlst(data, max_items=max_items)
    except BadEncoding:
        return
    assert len(items) <= max_items
    assert lst(*items) == data


@given(st.integers(0, pae.MAX_INT))
def test_a_number_is_read_back(number):
    assert pae.read_u64(pae.u64(number)) == number


@pytest.mark.parametrize("number", [-1, 2**63, 2**64, 2**70])
def test_a_number_outside_the_range_is_not_written(number):
    with pytest.raises(BadEncoding):
        pae.u64(number)


@pytest.mark.parametrize("data", [b"", bytes(7), bytes(9), bytes(7) + b"\x80", b"\xff" * 8])
def test_a_number_of_another_size_or_range_is_not_read(data):
    with pytest.raises(BadEncoding):
        pae.read_u64(data)


def test_the_label_stands_in_front_with_its_prefix():
    assert pae.pae("tip", b"x") == lst(b"meshd/v1/tip", b"x")


def test_another_label_count_or_a_cut_is_refused():
    data = pae.pae("tip", b"one", b"two")
    for bad, purpose, count in ((data, "name", 2), (data, "tip", 1), (data, "tip", 3), (data[:-1], "tip", 2)):
        with pytest.raises(BadEncoding):
            split_pae(bad, purpose, count)


def test_a_huge_count_or_length_costs_nothing():
    for data in (b"\xff" * 8, pae.u64(2**40) + bytes(64), pae.u64(1) + pae.u64(2**40) + b"x"):
        with pytest.raises(BadEncoding):
            unlst(data, max_items=2**62)


def test_more_items_than_allowed_are_refused_before_they_are_read():
    with pytest.raises(BadEncoding, match="more than 2"):
        unlst(lst(b"a", b"b", b"c"), max_items=2)
    with pytest.raises(BadEncoding, match="3 belong"):
        pae.unlst_exactly(lst(b"a", b"b"), 3)


def test_what_follows_a_signed_object_must_be_the_signature():
    data = pae.pae("tip", b"x")
    assert pae.split_signed(data + bytes(64), "tip", 1, 64) == ([b"x"], data, bytes(64))
    for tail in (63, 65, 0):
        with pytest.raises(BadEncoding):
            pae.split_signed(data + bytes(tail), "tip", 1, 64)


def test_text_is_strict_utf8_and_its_bytes_stay_off_the_error():
    with pytest.raises(BadEncoding) as raised:
        pae.read_text(b"secret\xff")
    assert raised.value.__suppress_context__
    assert "secret" not in str(raised.value)
    with pytest.raises(BadEncoding):
        pae.text_bytes("\ud800")
    assert pae.read_text(pae.text_bytes("ä€😀\0")) == "ä€😀\0"


@pytest.mark.parametrize(
    ("text", "good"), [("", False), ("a", True), ("ä" * 2, True), ("ä" * 3, False), ("a" * 6, False)]
)
def test_the_length_of_a_text_counts_bytes(text, good):
    if good:
        pae.require_text(text, 1, 5, "a name")
    else:
        with pytest.raises(BadEncoding, match="a name"):
            pae.require_text(text, 1, 5, "a name")


def test_a_refusal_is_a_value_error_and_a_crypto_error():
    assert issubclass(BadEncoding, ValueError)
    assert issubclass(BadEncoding, CryptoError)
