"""One message to many on hostile bytes: the fan-out, one recipient's envelope, and the text that its author sealed."""

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from fuzz_bytes import FUZZ, altered, frozen, hostile, judge
from group_samples import FIELDS, ByHand, body_of, entries_of, envelopes, open_as, recipients
from mesh_protocol.fan import Fan, Outcome, Wrap, pack_outcomes, parse_fan, parse_group_outer, tail_of, unpack_outcomes
from mesh_protocol.keys import CryptoError
from mesh_protocol.padding import pad
from mesh_protocol.pae import lst, unlst
from mesh_samples import HERE

SEEDS = frozen("group")
ENTRIES = [lst(*entries_of(recipients(*names))) for names in ((), ("bob",), ("bob", "carol"))]
TEXTS = [lst(*FIELDS), lst(*body_of(HERE, entries_of(recipients("bob"))))]


@FUZZ
@given(data=hostile(SEEDS))
def test_an_envelope_has_no_other_spelling_than_its_fan_out_gives(data):
    outer = judge(parse_group_outer, data, CryptoError)
    if outer is not None:
        wrap = Wrap(outer.to_device, outer.attempt, outer.prekey_id, outer.enc, outer.wrapped)
        shared = lst(outer.nonce, outer.ct)
        fan = Fan(outer.mesh_id, outer.from_device, outer.msg_id, outer.lane, outer.expires_ms, shared, (wrap,))
        assert fan.head(wrap) + tail_of(shared) == data
        assert parse_fan(fan.encode()) == fan


@FUZZ
@given(data=hostile(SEEDS))
def test_every_envelope_that_a_fan_out_gives_is_one(data):
    fan = judge(parse_fan, data, CryptoError)
    for device, made in envelopes(fan).items() if fan else ():
        outer = parse_group_outer(made)
        assert (outer.to_device, outer.msg_id, outer.lane) == (device, fan.msg_id, fan.lane)


def test_the_seeds_above_hold_both_forms():
    for parse in (parse_fan, parse_group_outer):
        assert sum(judge(parse, seed, CryptoError) is not None for seed in SEEDS) >= 8


ANSWERS = [
    pack_outcomes([Outcome(1, 2), Outcome(0, 0, "mailbox_full", 2.5)]),
    pack_outcomes([Outcome(9, 9, "x" * 64)] * 2),
]


@FUZZ
@given(data=hostile(ANSWERS), count=st.integers(0, 3))
def test_the_answer_to_a_fan_out_takes_any_bytes(data, count):
    outcomes = judge(lambda data: unpack_outcomes(data, count), data, CryptoError)
    assert outcomes is None or len(outcomes) == count


@FUZZ
@given(text=hostile(TEXTS), padded=st.booleans())
def test_an_author_may_seal_and_sign_any_text(text, padded):
    """He holds his own keys: what protects the reader from him is its parser alone."""
    made = ByHand(padded=pad(text) if padded else text.ljust(256, b"\0"))
    signed = judge(lambda data: open_as("bob", data), made.outer(), CryptoError)
    assert signed is None or text[:8] == (11).to_bytes(8, "little")


@FUZZ
@given(entries=altered(ENTRIES))
def test_an_author_may_write_any_list(entries):
    """The text around the list stays whole: each who is on the list reads it, or nobody does."""
    made = ByHand(fields=(*FIELDS[:9], entries, FIELDS[10]))
    said = {
        name: judge(partial(open_as, name), made.outer(name), CryptoError) for name in ("bob", "bob laptop", "carol")
    }
    if any(said.values()):
        listed = {item[:32] for item in unlst(entries, max_items=8)}
        assert {name for name, signed in said.items() if signed} == {
            name for name in said if HERE.key(name).public in listed
        }
