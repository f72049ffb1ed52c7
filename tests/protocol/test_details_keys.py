"""Keys for presence that not everybody may read, as they are mailed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol.details import DetailsKey, decode_key, encode_key
from mesh_protocol.pae import BadEncoding


@given(st.integers(0, 2**63 - 1), st.one_of(st.just(b""), st.binary(min_size=32, max_size=32)))
def test_it_is_read_back_as_it_was_written(version, key):
    assert decode_key(encode_key(DetailsKey(version, key))) == DetailsKey(version, key)


@given(st.binary(max_size=80))
def test_any_other_bytes_are_refused_as_such(data):
    try:
        key = decode_key(data)
    except BadEncoding:
        return
    assert encode_key(key) == data


@pytest.mark.parametrize("size", [1, 31, 33])
def test_a_key_has_its_size_or_is_none(size):
    with pytest.raises(BadEncoding):
        decode_key(encode_key(DetailsKey(7, bytes(size))))


def test_it_is_never_shown():
    assert "ff" not in repr(DetailsKey(7, b"\xff" * 32))
