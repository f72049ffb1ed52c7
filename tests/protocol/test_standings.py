"""What a person tells his own devices about other members, within its limits."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol.ids import MemberId
from mesh_protocol.pae import BadEncoding
from mesh_protocol.standing import MAX_ENTRIES, POLICIES, Standing, decode_standings, encode_standings

ONE = Standing(MemberId(bytes(16)), "hold", ("broadcast", "dm"), 1_800_000_000_000)
WORDS = st.sets(st.from_regex(r"[a-z][a-z-]{0,8}", fullmatch=True), max_size=4).map(lambda words: tuple(sorted(words)))
STANDINGS = st.builds(
    Standing,
    member_id=st.binary(min_size=16, max_size=16).map(MemberId),
    policy=st.sampled_from(sorted(POLICIES)),
    withheld=WORDS,
    at_ms=st.integers(0, 2**63 - 1),
)


@given(st.lists(STANDINGS, min_size=1, max_size=8))
def test_they_are_read_back_as_they_were_written(rows):
    assert decode_standings(encode_standings(rows)) == tuple(rows)


@given(st.binary(max_size=300))
def test_any_other_bytes_are_refused_as_such(data):
    try:
        rows = decode_standings(data)
    except BadEncoding:
        return
    assert encode_standings(rows) == data


@pytest.mark.parametrize(
    "change",
    [
        {"member_id": bytes(15)},
        {"policy": "mute"},
        {"policy": ""},
        {"withheld": ("dm", "broadcast")},
        {"withheld": ("dm", "dm")},
        {"withheld": ("DM",)},
        {"withheld": ("",)},
        {"withheld": ("d m",)},
        {"withheld": ("a" * 33,)},
        {"withheld": tuple(f"a{'b' * n}" for n in range(17))},
        {"at_ms": -1},
        {"at_ms": 2**63},
    ],
    ids=str,
)
def test_one_outside_its_limits_cannot_be_built(change):
    with pytest.raises(BadEncoding):
        replace(ONE, **change)


@pytest.mark.parametrize("count", [0, MAX_ENTRIES + 1])
def test_there_are_some_and_not_too_many(count):
    with pytest.raises(BadEncoding):
        encode_standings([ONE] * count)


def test_an_empty_list_is_refused():
    from mesh_protocol.pae import lst

    with pytest.raises(BadEncoding):
        decode_standings(lst())
    assert len(decode_standings(encode_standings([ONE] * MAX_ENTRIES))) == MAX_ENTRIES


def test_the_bytes_are_those_that_the_specification_names():
    fields = [bytes(16), b"hold", None, (1_800_000_000_000).to_bytes(8, "little")]
    from mesh_protocol.pae import lst

    words = lst(b"broadcast", b"dm")
    assert encode_standings([ONE]) == lst(lst(*(words if each is None else each for each in fields)))
