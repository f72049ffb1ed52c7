"""The question for a broker's word on a history, and its answer, as they travel."""

import pytest

from chain_story import peopled
from mesh_protocol.keys import SigningKey
from mesh_protocol.pae import BadEncoding, lst
from mesh_protocol.tip import TipRef, sign_tip
from mesh_protocol.witness import MAX_BYTES, MAX_RECORDS, Witness, decode_ask, encode_ask, witness
from mesh_samples import HERE

BROKER = SigningKey.from_seed(bytes([9]) * 32)
TEAM = peopled()


def tip_at(seq: int):
    record = TEAM.records[seq - 1]
    return sign_tip(BROKER, HERE.mesh_id, TipRef(seq, record.hash, seq, bytes(32)))


def test_an_ask_names_one_record():
    assert decode_ask(encode_ask(7, bytes(32))) == (7, bytes(32))
    for bad in (b"", lst(), lst(b"1", bytes(32)), lst(bytes(8), bytes(32)), encode_ask(7, bytes(32))[:-1]):
        with pytest.raises(BadEncoding):
            decode_ask(bad)
    for seq, digest in ((0, bytes(32)), (1, bytes(31))):
        with pytest.raises(BadEncoding):
            encode_ask(seq, digest)


def test_a_witness_brings_the_records_that_lead_to_its_tip():
    for seq in (1, 4, len(TEAM.records)):
        made = witness(tip_at(seq), TEAM.records)
        assert made.records == TEAM.records[:seq][-MAX_RECORDS:]
        assert Witness.decode(made.encode()) == made


def test_a_witness_keeps_to_its_bounds():
    longest = TEAM
    while len(longest.records) <= MAX_RECORDS:
        longest = longest.tell("alice", longest.open_invite(f"invite {len(longest.records)}"))
    last = longest.last
    tip = sign_tip(BROKER, HERE.mesh_id, TipRef(last.seq, last.hash, 0, bytes(32)))
    made = witness(tip, longest.records)
    assert 1 < len(made.records) <= MAX_RECORDS
    assert sum(len(record.encode()) for record in made.records) <= MAX_BYTES
    assert Witness.decode(made.encode()) == made
    too_many = Witness(tip, longest.records[-MAX_RECORDS - 1 :]).encode()
    with pytest.raises(BadEncoding):
        Witness.decode(too_many)


def test_a_witness_whose_records_do_not_lead_to_its_tip_is_refused():
    tip, records = tip_at(4), TEAM.records
    for wrong in (records[:3], (records[3], records[2]), (records[1], records[3]), records[:5]):
        with pytest.raises(BadEncoding):
            Witness.decode(Witness(tip, wrong).encode())
    for garbage in (b"", b"garbage", lst(tip.encode()), lst(b"", lst()), lst(tip.encode(), lst(b"record"))):
        with pytest.raises(BadEncoding):
            Witness.decode(garbage)
    assert Witness.decode(Witness(tip, ()).encode()).records == ()
