"""The frozen vectors of asks, witnesses and standings, read by the product and made once more by the reference."""

import json

import pytest

import make_vectors
import mesh_reference as ref
from mesh_protocol.pae import CryptoError
from mesh_protocol.standing import decode_standings
from mesh_protocol.tip import verify_tip
from mesh_protocol.witness import Witness, decode_ask
from vectors_shown import tip_json

H = bytes.fromhex


def load(name):
    return json.loads((make_vectors.VECTORS / f"{name}.json").read_text())


WITNESS, STANDING = load("witness"), load("standing")


def rows(found):
    return pytest.mark.parametrize("row", found, ids=lambda row: row.get("name") or row["why"])


@rows(WITNESS["asks"])
def test_an_ask_is_read(row):
    assert decode_ask(H(row["hex"])) == (row["chain_seq"], H(row["chain_hash"]))
    assert ref.lst(ref.u64(row["chain_seq"]), H(row["chain_hash"])) == H(row["hex"])


@rows(WITNESS["witnesses"])
def test_a_witness_is_read(row):
    found = Witness.decode(H(row["hex"]))
    verify_tip(found.tip, H(WITNESS["mesh_id"]), H(WITNESS["broker"]))
    assert tip_json(found.tip.ref) == row["tip"]
    assert [record.encode().hex() for record in found.records] == row["records"]
    assert ref.lst(found.tip.encode(), ref.lst(*map(H, row["records"]))) == H(row["hex"])


@rows(STANDING["standings"])
def test_standings_are_read(row):
    found = [
        (each.member_id.hex(), each.policy, list(each.withheld), each.at_ms) for each in decode_standings(H(row["hex"]))
    ]
    assert found == [tuple(each.values()) for each in row["decoded"]]
    made = [
        ref.lst(
            H(each["member_id"]),
            each["policy"].encode(),
            ref.lst(*(word.encode() for word in each["withheld"])),
            ref.u64(each["at_ms"]),
        )
        for each in row["decoded"]
    ]
    assert ref.lst(*made) == H(row["hex"])


@rows(WITNESS["asks_refused"])
def test_what_is_no_ask_is_refused(row):
    with pytest.raises(CryptoError):
        decode_ask(H(row["hex"]))


@rows(WITNESS["witnesses_refused"])
def test_what_is_no_witness_is_refused(row):
    with pytest.raises(CryptoError):
        Witness.decode(H(row["hex"]))


@rows(STANDING["refused"])
def test_what_is_no_standing_is_refused(row):
    with pytest.raises(CryptoError):
        decode_standings(H(row["hex"]))
