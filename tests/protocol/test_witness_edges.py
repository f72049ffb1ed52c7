"""How much a witness brings: at most 64 records and 32 KiB of them, always the newest ones, linked up to the tip's."""

from dataclasses import replace

import pytest

from chain_story import peopled
from mesh_protocol.pae import BadEncoding, lst
from mesh_protocol.tip import TipRef, sign_tip
from mesh_protocol.witness import MAX_BYTES, MAX_RECORDS, Witness, decode_ask, encode_ask, witness
from mesh_samples import HERE


def tip_at(records, seq):
    return sign_tip(HERE.key("broker"), HERE.mesh_id, TipRef(seq, records[seq - 1].hash, 1, bytes(32)))


def grown(count, body):
    """A chain with `count` records more, each made by `body` from the story so far."""
    story = peopled()
    for _ in range(count):
        story = story.tell("alice", body(story))
    return story.records


def test_the_limits_of_a_witness_are_64_records_and_32_kib():
    assert (MAX_RECORDS, MAX_BYTES) == (64, 32_768)


def test_the_64_newest_records_are_brought_and_no_more():
    records = grown(70, lambda story: story.set_role("carol", "member"))
    found = witness(tip_at(records, len(records)), records)
    assert found.records == records[-64:]
    assert Witness.decode(found.encode()) == found
    with pytest.raises(BadEncoding):
        Witness.decode(lst(found.tip.encode(), lst(*(record.encode() for record in records[-65:]))))


def test_no_more_than_32_kib_of_records_are_brought():
    records = grown(60, lambda story: replace(story.set_name("carol", "carol"), sealed_name=bytes(512)))
    found = witness(tip_at(records, len(records)), records)
    sizes = [len(record.encode()) for record in reversed(records)]
    assert 1 < len(found.records) < 60
    assert sum(sizes[: len(found.records)]) <= MAX_BYTES < sum(sizes[: len(found.records) + 1])
    assert Witness.decode(found.encode()) == found


def test_records_above_the_tip_are_left_out():
    records = peopled().records
    assert witness(tip_at(records, 3), records).records == records[:3]


def test_records_that_are_too_many_bytes_are_not_read_at_all():
    tip = tip_at(peopled().records, 3).encode()
    with pytest.raises(BadEncoding, match="more records than a witness brings"):
        Witness.decode(lst(tip, bytes(MAX_BYTES + 8 * (MAX_RECORDS + 1) + 1)))
    with pytest.raises(BadEncoding) as raised:
        Witness.decode(lst(tip, bytes(MAX_BYTES + 8 * (MAX_RECORDS + 1))))
    assert "more records" not in str(raised.value)


def test_an_ask_names_a_record_that_there_may_be():
    assert decode_ask(encode_ask(1, bytes(32))) == (1, bytes(32))
    for seq, digest in ((0, bytes(32)), (1, bytes(31)), (2**63, bytes(32))):
        with pytest.raises(BadEncoding):
            encode_ask(seq, digest)
