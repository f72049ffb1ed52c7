"""The frozen voids: read to the numbers written beside them, made again, and made by the reference."""

import json

import pytest

import make_vectors
import mesh_reference as ref
from mesh_protocol.keys import BadEncoding
from mesh_protocol.void import decode_void, encode_void

DOCUMENT = json.loads((make_vectors.VECTORS / "void.json").read_text())


@pytest.mark.parametrize("row", DOCUMENT["voids"], ids=lambda row: row["name"])
def test_a_frozen_void_is_read_and_made_again(row):
    assert list(decode_void(bytes.fromhex(row["hex"]))) == row["numbers"]
    assert encode_void(row["numbers"]).hex() == row["hex"]


@pytest.mark.parametrize("row", DOCUMENT["voids"], ids=lambda row: row["name"])
def test_the_reference_makes_every_void(row):
    assert ref.lst(*(ref.u64(number) for number in row["numbers"])).hex() == row["hex"]


@pytest.mark.parametrize("row", DOCUMENT["refused"], ids=lambda row: row["why"])
def test_a_void_frozen_as_refused_is_refused(row):
    with pytest.raises(BadEncoding):
        decode_void(bytes.fromhex(row["hex"]))
