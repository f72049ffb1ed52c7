"""Voids within their limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol.keys import BadEncoding
from mesh_protocol.void import MAX_NUMBERS, decode_void, encode_void

NUMBERS = st.sets(st.integers(1, 2**63 - 1), min_size=1, max_size=64).map(sorted)


@given(NUMBERS)
def test_a_void_is_read_back_as_it_was_written(numbers):
    assert decode_void(encode_void(numbers)) == tuple(numbers)


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused_as_such(data):
    try:
        numbers = decode_void(data)
    except BadEncoding:
        return
    assert encode_void(numbers) == data


@pytest.mark.parametrize("numbers", [(), (0,), (-1,), (2**63,), (2, 1), (1, 1), tuple(range(1, MAX_NUMBERS + 2))])
def test_a_void_outside_its_limits_cannot_be_built(numbers):
    with pytest.raises(BadEncoding):
        encode_void(numbers)
