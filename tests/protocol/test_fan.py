"""What a broker handles of one message to many: the fan-out as it came, the envelopes that it makes of it, the limits."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from group_samples import NAMES, ByHand, envelopes
from mesh_protocol.envelope import MAX_ENVELOPE, Lane, parse_outer, seal_envelope, sign_message
from mesh_protocol.fan import (
    MAX_CODE,
    MAX_FAN,
    MAX_RECIPIENTS,
    MAX_SHARED,
    Fan,
    GroupOuter,
    Outcome,
    Wrap,
    is_group_envelope,
    is_wrap,
    pack_outcomes,
    parse_fan,
    parse_group_outer,
    read_wrap,
    tail_of,
    unpack_outcomes,
)
from mesh_protocol.keys import BadEncoding
from mesh_protocol.pae import lst, u64, unlst
from mesh_protocol.wire.framing import MAX_BODY
from mesh_samples import HERE

IDS16, IDS32 = st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32)
NUMBERS = st.integers(0, 2**63 - 1)
WRAPS = st.builds(Wrap, IDS32, st.integers(0, 255), NUMBERS, IDS32, st.binary(min_size=112, max_size=112))
SHARED = st.builds(
    lambda nonce, size, byte: lst(nonce, bytes([byte]) * (size + 16)),
    st.binary(min_size=24, max_size=24),
    st.sampled_from([256, 272, 512, 8_192, 253_952]),
    st.integers(0, 255),
)
FANS = st.builds(
    Fan,
    mesh_id=IDS32,
    from_device=IDS32,
    msg_id=IDS16,
    lane=st.sampled_from([lane.value for lane in Lane]),
    expires_ms=NUMBERS,
    shared=SHARED,
    wraps=st.lists(WRAPS, min_size=1, max_size=6, unique_by=lambda wrap: wrap.to_device).map(
        lambda wraps: tuple(sorted(wraps))
    ),
)
GOOD = parse_fan(ByHand().fan())
OUTER = parse_group_outer(ByHand().outer())


@settings(max_examples=60, deadline=None)
@given(FANS)
def test_a_fan_out_is_read_as_it_was_written_and_each_envelope_says_what_it_says(fan):
    assert parse_fan(fan.encode()) == fan
    made = envelopes(fan)
    nonce, ct = unlst(fan.shared, max_items=2)
    for wrap in fan.wraps:
        assert read_wrap(wrap.encode()) == wrap
        assert parse_group_outer(made[wrap.to_device]) == GroupOuter(
            fan.mesh_id,
            fan.from_device,
            wrap.to_device,
            fan.msg_id,
            wrap.attempt,
            fan.lane,
            fan.expires_ms,
            wrap.prekey_id,
            wrap.enc,
            wrap.wrapped,
            nonce,
            ct,
        )
        assert is_group_envelope(made[wrap.to_device])
        assert made[wrap.to_device].endswith(tail_of(fan.shared))
        assert len(made[wrap.to_device]) <= MAX_ENVELOPE


def test_the_two_forms_of_envelopes_are_told_apart_and_each_parser_takes_its_own():
    signed = sign_message(HERE.message(), HERE.key("alice"))
    direct, group = seal_envelope(signed, attempt=1, spk=HERE.spk("bob")), ByHand().outer()
    assert (is_group_envelope(direct), is_group_envelope(group)) == (False, True)
    with pytest.raises(BadEncoding):
        parse_group_outer(direct)
    with pytest.raises(BadEncoding):
        parse_outer(group)
    for data in (b"", group[:16], bytes(17), group[1:], lst(b"\x02\x02", b"")):
        assert not is_group_envelope(data)


def test_an_envelope_with_the_others_version_is_refused_by_both_parsers():
    signed = sign_message(HERE.message(), HERE.key("alice"))
    direct = unlst(seal_envelope(signed, attempt=1, spk=HERE.spk("bob")), max_items=12)
    group = unlst(ByHand().outer(), max_items=14)
    with pytest.raises(BadEncoding, match="version 1 and suite 1"):
        parse_outer(lst(b"\x02", *direct[1:]))
    with pytest.raises(BadEncoding, match="version 2 and suite 1"):
        parse_group_outer(lst(b"\x01", *group[1:]))


@pytest.mark.parametrize("field", [0, 1])
@pytest.mark.parametrize("value", [b"", b"\x00", b"\x03", b"\x01\x01", b"\x02\x02"])
def test_an_unknown_version_or_suite_is_refused(field, value):
    for data, parse in ((ByHand().fan(), parse_fan), (ByHand().outer(), parse_group_outer)):
        fields = unlst(data, max_items=14)
        fields[field] = value
        with pytest.raises(BadEncoding, match="version 2 and suite 1"):
            parse(lst(*fields))


def test_recipients_stand_in_order_and_once():
    for wraps in ((), GOOD.wraps[::-1], (GOOD.wraps[0], *GOOD.wraps), (*GOOD.wraps, GOOD.wraps[-1])):
        with pytest.raises(BadEncoding):
            replace(GOOD, wraps=wraps)
    twice = (GOOD.wraps[0], GOOD.wraps[0]._replace(attempt=2))
    with pytest.raises(BadEncoding, match="one is there twice"):
        replace(GOOD, wraps=twice)
    for wraps in (GOOD.wraps[:1], GOOD.wraps[1:], GOOD.wraps[::2]):
        assert parse_fan(replace(GOOD, wraps=wraps).encode()).wraps == wraps


def wraps_in_order(count):
    return tuple(GOOD.wraps[0]._replace(to_device=n.to_bytes(32, "big")) for n in range(count))


def test_two_thousand_and_forty_eight_recipients_are_taken_and_no_more():
    full = replace(GOOD, wraps=wraps_in_order(MAX_RECIPIENTS))
    assert len(parse_fan(full.encode()).wraps) == MAX_RECIPIENTS
    with pytest.raises(BadEncoding, match="number of recipients"):
        replace(GOOD, wraps=wraps_in_order(MAX_RECIPIENTS + 1))
    items = [wrap.encode() for wrap in wraps_in_order(MAX_RECIPIENTS + 1)]
    fields = unlst(GOOD.encode(), max_items=9)
    with pytest.raises(BadEncoding, match="more than 2048"):
        parse_fan(lst(*fields[:-1], lst(*items)))


def test_the_greatest_fan_out_fits_a_frame_and_each_of_its_envelopes_the_limit():
    shared = lst(bytes(24), bytes(63 * 4_096 + 16))
    assert len(shared) <= MAX_SHARED
    full = replace(GOOD, lane="next", shared=shared, wraps=wraps_in_order(MAX_RECIPIENTS))
    assert len(full.encode()) <= MAX_FAN <= MAX_BODY
    assert parse_fan(full.encode()) == full
    assert len(full.head(full.wraps[0]) + tail_of(shared)) <= MAX_ENVELOPE
    # Room is left for whatever a shared part may have, not only for the buckets there are.
    assert len(full.head(full.wraps[0])) + MAX_SHARED <= MAX_ENVELOPE


def test_what_is_too_large_is_refused_before_it_is_read():
    with pytest.raises(BadEncoding, match="above"):
        parse_fan(bytes(MAX_FAN + 1))
    with pytest.raises(BadEncoding, match="above"):
        parse_group_outer(bytes(MAX_ENVELOPE + 1))
    above = lst(bytes(24), bytes(64 * 4_096 + 16))  # a bucket, and a size that only the limit forbids
    with pytest.raises(BadEncoding, match="larger than an envelope may be"):
        parse_fan(replace(GOOD, shared=above).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"mesh_id": b""},
        {"from_device": bytes(33)},
        {"to_device": bytes(31)},
        {"msg_id": bytes(17)},
        {"attempt": 256},
        {"attempt": -1},
        {"lane": "later"},
        {"lane": ""},
        {"expires_ms": 2**63},
        {"expires_ms": -1},
        {"prekey_id": -1},
        {"prekey_id": 2**63},
        {"enc": bytes(31)},
        {"wrapped": bytes(111)},
        {"wrapped": bytes(113)},
        {"nonce": bytes(12)},
        {"ct": b""},
        {"ct": bytes(15)},
        {"ct": bytes(16)},
        {"ct": bytes(271)},
        {"ct": bytes(273)},
    ],
    ids=lambda change: f"{next(iter(change))} {len(str(next(iter(change.values()))))}",
)
def test_what_lies_outside_the_limits_cannot_be_built(change):
    with pytest.raises(BadEncoding):
        replace(OUTER, **change)
    shared_with_the_fan = {"mesh_id", "from_device", "msg_id", "lane", "expires_ms"}
    if change.keys() <= shared_with_the_fan:
        with pytest.raises(BadEncoding):
            replace(GOOD, **change)


def test_a_wrap_outside_its_limits_is_not_read():
    fields = unlst(GOOD.wraps[0].encode(), max_items=5)
    assert read_wrap(lst(*fields)) == GOOD.wraps[0]
    above = b"\xff" * 8
    for index, value in [
        (0, bytes(31)),
        (1, u64(256)),
        (1, above),
        (2, above),
        (2, bytes(7)),
        (3, b""),
        (4, bytes(113)),
    ]:
        with pytest.raises(BadEncoding):
            read_wrap(lst(*fields[:index], value, *fields[index + 1 :]))
    for other in (fields[:-1], [*fields, b""]):
        with pytest.raises(BadEncoding):
            read_wrap(lst(*other))


def test_a_shared_part_is_a_list_of_two_and_nothing_after_it():
    nonce, ct = unlst(GOOD.shared, max_items=2)
    for shared in (lst(nonce), lst(nonce, ct, b""), lst(ct, nonce), lst(nonce, ct) + b"\0", b"", lst(nonce + ct)):
        with pytest.raises(BadEncoding):
            parse_fan(replace(GOOD, shared=shared).encode())


def test_a_broker_can_leave_a_recipient_out_and_that_is_all_it_can_do():
    """It makes as many envelopes as there are wraps, each the same whoever else gets one."""
    assert [device in envelopes(GOOD) for device in (HERE.key(name).public for name in NAMES)] == [True] * 3
    for index in range(3):
        fewer = replace(GOOD, wraps=GOOD.wraps[:index] + GOOD.wraps[index + 1 :])
        assert envelopes(fewer).items() < envelopes(GOOD).items()


def test_a_wrap_is_told_from_an_envelope_of_either_form():
    signed = sign_message(HERE.message(), HERE.key("alice"))
    wrap = GOOD.wraps[0].encode()
    assert (is_wrap(wrap), is_group_envelope(wrap)) == (True, False)
    for data in (
        ByHand().outer(),
        ByHand().fan(),
        seal_envelope(signed, attempt=1, spk=HERE.spk("bob")),
        b"",
        wrap[:7],
    ):
        assert not is_wrap(data)


OUTCOMES = st.builds(
    Outcome,
    seq=NUMBERS,
    at_ms=NUMBERS,
    code=st.text(max_size=MAX_CODE // 4),
    retry_after=st.integers(0, 10**9).map(lambda ms: ms / 1000),
)


@given(st.lists(OUTCOMES, max_size=8))
def test_the_brokers_answer_for_each_recipient_is_read_as_it_was_written(outcomes):
    assert unpack_outcomes(pack_outcomes(outcomes), len(outcomes)) == outcomes


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_answer_for_more_or_fewer_recipients_than_were_asked_for_is_refused(count):
    with pytest.raises(BadEncoding):
        unpack_outcomes(pack_outcomes([Outcome(1, 2), Outcome(3, 4, "mailbox_full", 2.5)]), count)


@pytest.mark.parametrize(
    "item",
    [
        b"",
        bytes(23),
        bytes(24) + b"x" * (MAX_CODE + 1),
        bytes(24) + b"\xff",
        b"\xff" * 8 + bytes(16),
        bytes(8) + b"\xff" * 8 + bytes(8),
        bytes(16) + b"\xff" * 8,
    ],
    ids=["nothing", "cut off", "a long code", "no text", "seq", "at_ms", "retry_after"],
)
def test_an_answer_outside_its_limits_is_refused(item):
    assert unpack_outcomes(lst(bytes(24) + b"x" * MAX_CODE), 1) == [Outcome(0, 0, "x" * MAX_CODE)]
    with pytest.raises(BadEncoding):
        unpack_outcomes(lst(item), 1)
