"""Bounded msgpack: every type, every limit, and what a hostile value may cost."""

import math
import random
import resource
import struct
import subprocess
import sys
import time
import tracemalloc

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol.wire.codec import DEFAULT, CodecError, Limits, check, decode, encode

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=6), inner, max_size=5),
    max_leaves=25,
)


@given(VALUES)
def test_what_is_encoded_decodes_to_the_same(value):
    assert decode(encode(value)) == value


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("c0", None),
        ("c2", False),
        ("c3", True),
        ("00", 0),
        ("7f", 127),
        ("ff", -1),
        ("e0", -32),
        ("cc80", 128),
        ("cdffff", 65535),
        ("ceffffffff", 2**32 - 1),
        ("cfffffffffffffffff", 2**64 - 1),
        ("d080", -128),
        ("d18000", -(2**15)),
        ("d280000000", -(2**31)),
        ("d38000000000000000", -(2**63)),
        ("ca3fc00000", 1.5),
        ("cb3ff8000000000000", 1.5),
        ("cb7ff0000000000000", math.inf),
        ("a0", ""),
        ("a3616263", "abc"),
        ("d903616263", "abc"),
        ("da0003616263", "abc"),
        ("db00000003616263", "abc"),
        ("c403010203", b"\x01\x02\x03"),
        ("c50003010203", b"\x01\x02\x03"),
        ("c600000003010203", b"\x01\x02\x03"),
        ("90", []),
        ("930102c0", [1, 2, None]),
        ("dc000101", [1]),
        ("dd0000000101", [1]),
        ("80", {}),
        ("81a16101", {"a": 1}),
        ("de0001a16101", {"a": 1}),
        ("df00000001a16101", {"a": 1}),
        ("81a161929080", {"a": [[], {}]}),
    ],
)
def test_each_msgpack_form_decodes(data, value):
    raw = bytes.fromhex(data)
    result = decode(raw)
    assert result == value
    assert type(result) is type(value)
    for end in range(len(raw)):
        with pytest.raises(CodecError, match="cut off"):
            decode(raw[:end])
    with pytest.raises(CodecError, match="bytes after"):
        decode(raw + b"\xc0")


@pytest.mark.parametrize("first", [0xC1, 0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8])
def test_extension_types_and_the_unused_byte_are_refused(first):
    raw = bytes([first]) + b"\x00" * 20
    with pytest.raises(CodecError, match=f"type 0x{first:02x}"):
        check(raw)
    with pytest.raises(CodecError, match=f"type 0x{first:02x}"):
        check(b"\x91" + raw)


def test_a_timestamp_is_refused():
    raw = msgpack.packb(msgpack.Timestamp(1, 2))
    with pytest.raises(CodecError, match="not allowed"):
        decode(raw)


def test_every_first_byte_is_whole_or_needs_more_or_is_refused():
    verdicts: dict[str, set[int]] = {"whole": set(), "cut off": set(), "not allowed": set()}
    for first in range(256):
        try:
            check(bytes([first]))
        except CodecError as error:
            verdicts["cut off" if str(error) == "cut off" else str(error)[-11:]].add(first)
        else:
            verdicts["whole"].add(first)
    assert verdicts["whole"] == {*range(0x80), *range(0xE0, 0x100), 0x80, 0x90, 0xA0, 0xC0, 0xC2, 0xC3}
    assert verdicts["not allowed"] == {0xC1, 0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9)}


@given(VALUES, st.data())
def test_a_value_cut_at_any_byte_is_refused(value, data):
    raw = encode(value)
    with pytest.raises(CodecError, match=r"cut off|two equal keys"):  # a cut key may equal its neighbour
        decode(raw[: data.draw(st.integers(0, len(raw) - 1))])


# Limits: what is exactly at the bound passes, one more does not.


def nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\xc0"


def nested_maps(depth: int) -> bytes:
    return b"\x81\xa1a" * depth + b"\xc0"


@pytest.mark.parametrize("build", [nested, nested_maps])
def test_nesting_is_bounded(build):
    decode(build(DEFAULT.depth))
    with pytest.raises(CodecError, match="nested deeper than 16"):
        decode(build(DEFAULT.depth + 1))


def test_empty_containers_count_as_a_level():
    limits = Limits(depth=1)
    decode(b"\x90", limits)
    with pytest.raises(CodecError, match="nested"):
        decode(b"\x91\x90", limits)


def test_elements_are_counted_over_all_levels():
    limits = Limits(elements=6)
    decode(encode([[1, 2], [3]]), limits)  # three lists and three numbers
    with pytest.raises(CodecError, match="more than 6 elements"):
        decode(encode([[1, 2], [3, 4]]), limits)


def test_keys_count_as_elements():
    decode(encode({"a": 1, "b": 2}), Limits(elements=5))
    with pytest.raises(CodecError, match="elements"):
        decode(encode({"a": 1, "b": 2}), Limits(elements=4))


def test_the_number_of_elements_is_bounded_by_default():
    decode(encode([0] * 4095))
    with pytest.raises(CodecError, match="more than 4096 elements"):
        decode(encode([0] * 4096))


@pytest.mark.parametrize("form", ["a3616263", "d903616263", "da0003616263", "c403616263", "c50003616263"])
def test_strings_and_binaries_are_bounded(form):
    raw = bytes.fromhex(form)
    decode(raw, Limits(string=3))
    with pytest.raises(CodecError, match="a string of 3 bytes, the limit is 2"):
        decode(raw, Limits(string=2))


def test_the_bound_of_strings_is_not_one_of_numbers():
    assert decode(bytes.fromhex("cf0000000000000001"), Limits(string=0)) == 1


def test_a_key_is_bounded_like_any_string():
    with pytest.raises(CodecError, match="a string of 3 bytes"):
        decode(encode({"abc": 1}), Limits(string=2))


def test_the_size_is_bounded_before_anything_is_read():
    decode(encode("x" * (64 * 1024 - 3)))
    with pytest.raises(CodecError, match="65537 bytes, the limit is 65536"):
        decode(b"\xc1" * (64 * 1024 + 1))


@pytest.mark.parametrize(
    "raw",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdc\xff\xff",
        b"\xde\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xd9\xff",
        b"\xc4\xff",
    ],
)
def test_a_length_without_its_bytes_is_refused_at_no_cost(raw):
    tracemalloc.start()
    try:
        with pytest.raises(CodecError):
            decode(raw)
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("raw", [b"\xdd\xff\xff\xff\xff", b"\xdf\x00\x00\x10\x00", b"\xdc\x10\x00"])
def test_a_count_above_the_bound_is_refused_before_its_elements_are_looked_at(raw):
    with pytest.raises(CodecError, match="more than 4096 elements"):
        decode(raw)


# Keys.


def test_equal_keys_are_refused():
    with pytest.raises(CodecError, match="two equal keys"):
        decode(bytes.fromhex("82a16101a16102"))


@pytest.mark.parametrize("first", ["a161", "d90161", "da000161", "db0000000161"])
@pytest.mark.parametrize("second", ["a161", "d90161", "da000161", "db0000000161"])
def test_equal_keys_in_different_encodings_are_refused(first, second):
    with pytest.raises(CodecError, match="two equal keys"):
        decode(bytes.fromhex("82" + first + "01" + second + "02"))
    assert decode(bytes.fromhex("82" + first + "01" + second.replace("61", "62", 1) + "02")) == {"a": 1, "b": 2}


def test_equal_keys_far_apart_and_deep_inside_are_refused():
    pairs = b"".join(encode(f"key{number}") + b"\x01" for number in range(200))
    raw = b"\xde" + (201).to_bytes(2, "big") + pairs + encode("key7") + b"\x02"
    with pytest.raises(CodecError, match="two equal keys"):
        decode(b"\x91\x81\xa1m" + raw)


def test_the_same_key_in_two_maps_is_fine():
    assert decode(encode([{"a": {"a": 1}}, {"a": 2}])) == [{"a": {"a": 1}}, {"a": 2}]


@pytest.mark.parametrize(
    "key", ["01", "ff", "c0", "c3", "cb3ff8000000000000", "c40161", "90", "9161", "80", "cc61", "81a16101"]
)
def test_a_key_that_is_not_text_is_refused(key):
    with pytest.raises(CodecError, match="not text"):
        decode(bytes.fromhex("81" + key + "01"))


def test_nested_keys_cannot_multiply_the_work():
    with pytest.raises(CodecError, match="not text"):
        check(b"\x81" * 15 + b"\xc6" + (60_000).to_bytes(4, "big") + b"x" * 60_000)


# Text.


@pytest.mark.parametrize("text", ["ff", "c328", "eda080", "f4908080", "c0af", "e28261"])
@pytest.mark.parametrize("shape", ["{}", "91{}", "81{}01", "81a161{}"])
def test_invalid_utf8_is_refused(text, shape):
    raw = bytes([0xA0 + len(text) // 2]).hex() + text
    with pytest.raises(CodecError, match="UnicodeDecodeError"):
        decode(bytes.fromhex(shape.format(raw)))


@pytest.mark.parametrize("value", ["\ud800", 2**64, -(2**63) - 1, {1, 2}, object(), {"a": [object()]}])
def test_what_msgpack_cannot_hold_is_refused_when_it_is_encoded(value):
    with pytest.raises(CodecError, match="not packable"):
        encode(value)
    assert encode([1]) == b"\x91\x01"  # nothing of it is left in the packer


# Cost.

BOMB = """
import resource, sys
from mesh_protocol.wire.codec import CodecError, decode
bomb = b"\\xdd" + (2**20 - 5).to_bytes(4, "big") + b"\\x80" * (2**20 - 5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode(bomb)
except CodecError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_megabyte_of_empty_maps_is_refused_within_16_mib():
    grown = subprocess.run([sys.executable, "-c", BOMB], capture_output=True, text=True, timeout=30, check=True)
    assert int(grown.stdout) * (1 if sys.platform == "linux" else 1 / 1024) < 16 * 1024


def test_a_megabyte_of_empty_maps_within_the_size_is_refused_by_its_count():
    bomb = b"\xdd" + (2**20 - 5).to_bytes(4, "big") + b"\x80" * (2**20 - 5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        with pytest.raises(CodecError, match="more than 4096 elements"):
            decode(bomb, Limits(size=2**20))
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024


def bombs(count: int) -> list[bytes]:
    """Values of up to 64 KiB, each built to make one kind of work: depth, counts, keys, strings, or all mixed."""
    rng = random.Random(20)
    made: list[bytes] = []
    for number in range(count):
        room = rng.randrange(1, 64 * 1024)
        match number % 8:
            case 0:
                raw = b"\x91" * room
            case 1:
                raw = b"\x81\xa1k" * (room // 3)
            case 2:
                raw = b"\xdc\x0f\xff" + b"\x90" * room
            case 3:
                pairs = min(2047, room // 6)
                raw = b"\xde" + struct.pack(">H", pairs)
                raw += b"".join(b"\xa4" + number.to_bytes(4, "big") + b"\xc0" for number in range(pairs))
            case 4:
                raw = b"\xdf\x00\x00\x07\xff" + b"\xda\x00\x10" * (room // 3)
            case 5:
                raw = b"\xde\x00\x02" + b"\xdb" + struct.pack(">I", room) + b"k" * room + b"\xc0"
            case 6:
                raw = bytes(rng.choice(b"\x80\x81\x90\x91\x9f\x8f\xdc\xde\xa1k\x00") for _ in range(min(room, 6000)))
            case _:
                raw = rng.randbytes(room)
        made.append(raw[: 64 * 1024])
    return made


def test_a_thousand_bombs_are_each_judged_within_100_ms():
    slowest = 0.0
    refused = 0
    for bomb in bombs(1000):
        started = time.process_time()
        try:
            decode(bomb)
        except CodecError:
            refused += 1
        slowest = max(slowest, time.process_time() - started)
    assert refused > 900
    assert slowest < 0.1
