"""The frozen profiles: read to the content written beside them, made again, and made by the reference."""

import json

import pytest

import make_vectors
import mesh_reference as ref
from mesh_protocol.keys import BadEncoding
from mesh_protocol.profile import Profile
from vectors_profile import profile_json

DOCUMENT = json.loads((make_vectors.VECTORS / "profile.json").read_text())


@pytest.mark.parametrize("row", DOCUMENT["profiles"], ids=lambda row: row["name"])
def test_a_frozen_profile_is_read_and_made_again(row):
    profile = Profile.decode(bytes.fromhex(row["hex"]))
    assert profile_json(profile) == row["decoded"]
    assert profile.encode().hex() == row["hex"]


@pytest.mark.parametrize("row", DOCUMENT["profiles"], ids=lambda row: row["name"])
def test_the_reference_makes_every_profile(row):
    sessions = [
        ref.lst(
            each["session"].encode(),
            ref.lst(*(ref.lst(group["name"].encode(), group["role"].encode()) for group in each["groups"])),
        )
        for each in row["decoded"]["sessions"]
    ]
    made = ref.lst(ref.u64(row["decoded"]["version"]), ref.lst(*sessions))
    assert made.hex() == row["hex"]


@pytest.mark.parametrize("row", DOCUMENT["refused"], ids=lambda row: row["why"])
def test_a_profile_frozen_as_refused_is_refused(row):
    with pytest.raises(BadEncoding):
        Profile.decode(bytes.fromhex(row["hex"]))
