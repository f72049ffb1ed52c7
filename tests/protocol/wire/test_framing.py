"""Frames: cut anywhere they come out the same; a length out of bounds is refused before room is made for it."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol.wire.framing import (
    MAX_BODY,
    MAX_HEADER,
    PREFIX,
    Frame,
    FrameError,
    FrameReader,
    encode_frame,
    split_message,
)

FRAMES = [
    Frame(b"\x90", b""),
    Frame(b"", b""),
    Frame(b"header", b"body"),
    Frame(b"\x00" * 9, b"\xff" * 70),
]
STREAM = b"".join(encode_frame(*frame) for frame in FRAMES)


def prefix(header: int, body: int) -> bytes:
    return header.to_bytes(4, "big") + body.to_bytes(4, "big")


def test_a_frame_is_two_lengths_header_and_body():
    assert encode_frame(b"abc", b"de") == bytes.fromhex("00000003 00000002 616263 6465")


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_a_stream_cut_in_two_gives_the_same_frames(cut):
    reader = FrameReader()
    assert reader.feed(STREAM[:cut]) + reader.feed(STREAM[cut:]) == FRAMES
    assert reader.pending == 0


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 9, 64])
def test_a_stream_in_pieces_of_one_size_gives_the_same_frames(size):
    reader = FrameReader()
    frames = [frame for at in range(0, len(STREAM), size) for frame in reader.feed(STREAM[at : at + size])]
    assert frames == FRAMES


@given(st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=90)), max_size=6), st.data())
def test_any_frames_cut_anywhere_come_out_the_same(pairs, data):
    stream = b"".join(encode_frame(*pair) for pair in pairs)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = FrameReader()
    frames = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        frames += reader.feed(stream[start:end])
    assert frames == [Frame(*pair) for pair in pairs]


@pytest.mark.parametrize("end", range(1, len(STREAM)))
def test_an_unfinished_frame_is_kept_and_counted(end):
    reader = FrameReader()
    done = reader.feed(STREAM[:end])
    assert reader.pending == end - sum(PREFIX + len(frame.header) + len(frame.body) for frame in done)


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (MAX_HEADER + 1, 0),
        (0, MAX_BODY + 1),
        (MAX_HEADER + 1, MAX_BODY + 1),
        (2**31, 0),
        (2**32 - 1, 2**32 - 1),
    ],
)
def test_a_hostile_length_is_refused_from_the_prefix_alone(header, body):
    with pytest.raises(FrameError, match="too large"):
        FrameReader().feed(prefix(header, body))
    with pytest.raises(FrameError, match="too large"):
        split_message(prefix(header, body))


def test_a_hostile_length_is_refused_at_the_last_byte_of_its_prefix_and_not_before():
    reader = FrameReader()
    for byte in prefix(0, 2**32 - 1)[:-1]:
        assert reader.feed(bytes([byte])) == []
    with pytest.raises(FrameError):
        reader.feed(b"\xff")


def test_a_hostile_length_costs_no_memory():
    tracemalloc.start()
    try:
        with pytest.raises(FrameError):
            FrameReader().feed(prefix(2**32 - 1, 2**32 - 1) + b"x" * 1000)
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()


def test_a_declared_but_unsent_body_costs_no_memory():
    tracemalloc.start()
    try:
        reader = FrameReader()
        assert reader.feed(prefix(MAX_HEADER, MAX_BODY)) == []
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()


def test_a_refused_stream_stays_refused():
    reader = FrameReader()
    for _ in range(2):
        with pytest.raises(FrameError):
            reader.feed(prefix(MAX_HEADER + 1, 0))


def test_the_largest_frame_passes_and_one_byte_more_does_not():
    largest = encode_frame(b"h" * MAX_HEADER, b"b" * MAX_BODY)
    assert FrameReader().feed(largest) == [Frame(b"h" * MAX_HEADER, b"b" * MAX_BODY)]
    assert split_message(largest) == Frame(b"h" * MAX_HEADER, b"b" * MAX_BODY)
    with pytest.raises(FrameError):
        encode_frame(b"h" * (MAX_HEADER + 1))
    with pytest.raises(FrameError):
        encode_frame(b"", b"b" * (MAX_BODY + 1))
    with pytest.raises(FrameError):
        encode_frame(b"", b"bbb", max_body=2)


def test_a_readers_own_limits_hold():
    reader = FrameReader(max_header=4, max_body=2)
    assert reader.feed(encode_frame(b"1234", b"12")) == [Frame(b"1234", b"12")]
    with pytest.raises(FrameError):
        reader.feed(encode_frame(b"12345"))
    with pytest.raises(FrameError):
        split_message(encode_frame(b"", b"123"), max_header=4, max_body=2)


@pytest.mark.parametrize("frame", FRAMES)
def test_a_message_is_exactly_one_frame(frame):
    message = encode_frame(*frame)
    assert split_message(message) == frame
    for wrong in [message + b"\x00", message + message, *(message[:end] for end in range(len(message)))]:
        with pytest.raises(FrameError):
            split_message(wrong)


def test_a_megabyte_fed_byte_by_byte_is_taken_in_linear_time():
    reader = FrameReader()
    reader.feed(prefix(0, 200_000))
    for _ in range(199_999):
        reader.feed(b"x")
    assert reader.feed(b"x") == [Frame(b"", b"x" * 200_000)]
