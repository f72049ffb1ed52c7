"""The frozen batches of one-time prekeys: read, verified, made again, made by the reference; and what is refused."""

import json

import pytest

import make_vectors
import mesh_reference as ref
from mesh_protocol.keys import BadEncoding
from mesh_protocol.prekeys import OneTimeBatch, pack_given, unpack_given, verify_batch

DOCUMENT = json.loads((make_vectors.VECTORS / "onetime.json").read_text())
H = bytes.fromhex


@pytest.mark.parametrize("row", DOCUMENT["batches"], ids=lambda row: row["name"])
def test_a_frozen_batch_is_read_verified_and_made_again(row):
    batch = OneTimeBatch.decode(H(row["hex"]))
    verify_batch(batch, H(row["mesh_id"]), H(row["device"]))
    assert (batch.first_id, batch.made_ms) == (row["first_id"], row["made_ms"])
    assert [pub.hex() for pub in batch.pubs] == row["pubs"]
    assert batch.encode() == H(row["hex"])


@pytest.mark.parametrize("row", DOCUMENT["batches"], ids=lambda row: row["name"])
def test_the_reference_makes_every_batch(row):
    fields = ref.pae(
        "prekey-opk-batch",
        H(row["mesh_id"]),
        H(row["device"]),
        ref.u64(row["first_id"]),
        ref.u64(row["made_ms"]),
        b"".join(map(H, row["pubs"])),
    )
    assert fields + ref.sign(H(row["signer_seed"]), fields) == H(row["hex"])


@pytest.mark.parametrize("row", DOCUMENT["given"], ids=lambda row: str(row["place"]))
def test_a_key_that_was_handed_out_is_found_in_its_batch(row):
    place, batch = unpack_given(H(row["hex"]))
    key = batch.key(place)
    assert (place, batch.encode()) == (row["place"], H(row["batch"]))
    assert (key.prekey_id, key.pub) == (batch.first_id + place, batch.pubs[place])
    assert pack_given(place, batch.encode()) == H(row["hex"])


@pytest.mark.parametrize("row", DOCUMENT["given_refused"], ids=lambda row: row["why"])
def test_a_key_that_is_not_there_is_refused(row):
    with pytest.raises(BadEncoding):
        place, batch = unpack_given(H(row["hex"]))
        batch.key(place)


@pytest.mark.parametrize("row", DOCUMENT["refused"], ids=lambda row: row["why"])
def test_a_batch_frozen_as_refused_is_refused(row):
    with pytest.raises(BadEncoding):
        OneTimeBatch.decode(H(row["hex"]))
