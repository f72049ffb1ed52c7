"""Lengths of frames are read whole: one whose highest byte is set is not taken for the small number behind it."""

import pytest

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


def prefix(header, body):
    return header.to_bytes(4, "big") + body.to_bytes(4, "big")


@pytest.mark.parametrize("bit", [8 * byte for byte in range(1, 4)])
def test_a_length_with_a_high_byte_is_what_it_says(bit):
    for sizes in ((2 + (1 << bit), 3), (2, 3 + (1 << bit))):
        with pytest.raises(FrameError):
            split_message(prefix(*sizes) + b"hhbbb")
        reader = FrameReader()
        try:
            assert reader.feed(prefix(*sizes) + b"hhbbb") == []
        except FrameError:
            assert sizes[0] > MAX_HEADER or sizes[1] > MAX_BODY


def test_the_second_of_two_frames_is_measured_by_itself():
    small, largest = encode_frame(b"h" * 1_000, b""), Frame(b"H" * MAX_HEADER, b"B")
    assert FrameReader().feed(small + encode_frame(*largest)) == [Frame(b"h" * 1_000, b""), largest]
    with pytest.raises(FrameError, match=f"of {MAX_HEADER + 1} and 0 bytes"):
        FrameReader().feed(small + prefix(MAX_HEADER + 1, 0))


def test_a_frame_may_have_no_body():
    assert encode_frame(b"h") == prefix(1, 0) + b"h"


def test_a_message_shorter_than_a_prefix_is_refused_as_such():
    for size in range(PREFIX):
        with pytest.raises(FrameError, match="shorter"):
            split_message(bytes(size))
    assert split_message(bytes(PREFIX)) == Frame(b"", b"")
