"""The wire's parsers on hostile bytes: nothing but the declared error, in bounded time, whatever the chunks."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz_bytes import FUZZ, frozen, hostile, judge
from mesh_protocol.wire.codec import DEFAULT, CodecError, Limits, check, decode, encode
from mesh_protocol.wire.framing import FrameError, FrameReader, encode_frame, split_message
from mesh_protocol.wire.items import pack_items, put_texts, unpack_items
from mesh_protocol.wire.rpc import ErrorReceived, Peer, ProtocolError, RequestReceived, ResponseReceived

SEEDS = frozen("wire")
HEADERS = [data[8:] for data in SEEDS if len(data) > 8]

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.sampled_from(["rpc.cancel", "code", "message", "data", "id", 0, 1, 2, 3, 2**32 - 1, 2**32])
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(SCALARS.filter(lambda key: key == key), inner, max_size=4)
    ),
    max_leaves=12,
)
MESSAGES = st.lists(ANYTHING, max_size=5) | st.tuples(st.sampled_from([0, 1, 2]), ANYTHING, ANYTHING, ANYTHING).map(
    list
)


@FUZZ
@given(hostile(SEEDS + HEADERS))
def test_the_codec_takes_any_bytes(data):
    value = judge(decode, data, CodecError)
    if value is not None:
        again = decode(encode(value))
        assert again == value or "nan" in repr(value)


@FUZZ
@given(hostile(SEEDS + HEADERS))
def test_what_the_walk_accepts_the_library_reads_and_the_other_way_round(data):
    """The walk over raw bytes and the library agree on where a value ends; the walk alone knows the limits."""
    try:
        check(data)
    except CodecError:
        return
    try:
        msgpack.unpackb(data, raw=True, strict_map_key=False)
    except ValueError as error:
        pytest.fail(f"the walk accepted what the library refuses: {error!r}: {data.hex()}")


@FUZZ
@given(ANYTHING)
def test_what_the_library_packs_the_walk_judges_by_its_rules_alone(value):
    data = msgpack.packb(value)
    try:
        check(data, DEFAULT)
    except CodecError as error:
        assert "not text" in str(error) or "equal keys" in str(error)  # noqa: PT017 - the only rules such values break


@FUZZ
@given(hostile(HEADERS), st.integers(0, 64), st.integers(0, 4), st.integers(0, 20), st.integers(0, 16))
def test_the_codec_keeps_any_limits(data, size, depth, elements, string):
    limits = Limits(size, depth, elements, string)
    value = judge(lambda data: decode(data, limits), data, CodecError)
    if value is not None:
        assert len(data) <= size
        assert measure(value) <= (depth, elements)


def measure(value):
    """(depth, elements) of a decoded value, each no more than the other's bound when compared as pairs."""
    if isinstance(value, list):
        inner = [measure(each) for each in value]
    elif isinstance(value, dict):
        inner = [measure(each) for pair in value.items() for each in pair]
    else:
        return Measure(0, 1)
    return Measure(1 + max((each.depth for each in inner), default=0), 1 + sum(each.elements for each in inner))


class Measure:
    def __init__(self, depth, elements):
        self.depth = depth
        self.elements = elements

    def __le__(self, bounds):
        return self.depth <= bounds[0] and self.elements <= bounds[1]


@FUZZ
@given(st.lists(hostile(SEEDS), max_size=4), st.data())
def test_frames_are_the_same_however_the_stream_is_cut(pieces, data):
    stream = b"".join(pieces)
    whole = judge(FrameReader(max_header=512, max_body=512).feed, stream, FrameError)
    reader = FrameReader(max_header=512, max_body=512)
    frames, failed = [], False
    rest = stream
    while rest and not failed:
        cut = data.draw(st.integers(1, len(rest)))
        try:
            frames += reader.feed(rest[:cut])
        except FrameError:
            failed = True
        rest = rest[cut:]
    if whole is None:
        assert failed
    else:
        assert not failed
        assert frames == whole
        assert sum(len(encode_frame(*frame)) for frame in frames) + reader.pending == len(stream)


@FUZZ
@given(hostile(SEEDS))
def test_a_message_is_a_frame_or_refused(data):
    frame = judge(split_message, data, FrameError)
    assert frame is None or encode_frame(*frame) == data


def busy_peer():
    """A peer in the middle of things: two requests of its own are open, one of the other side's."""
    peer = Peer(max_in_flight=4)
    peer.request("mine", {})
    peer.request("mine", {})
    peer.receive(encode_frame(encode([0, 7, "theirs", {}])))
    return peer


def follow(peer, stream):
    """Feed a stream; the numbers that the peer keeps follow its events."""
    awaiting, answering = peer.awaiting, peer.answering
    events = judge(peer.receive, stream, ProtocolError)
    if events is None:
        return
    for event in events:
        match event:
            case RequestReceived():
                answering += 1
            case ResponseReceived() | ErrorReceived():
                awaiting -= 1
    assert (peer.awaiting, peer.answering) == (awaiting, answering)
    assert answering <= 4


@FUZZ
@given(hostile(SEEDS))
def test_a_peer_takes_any_stream(stream):
    follow(busy_peer(), stream)


@FUZZ
@given(hostile(HEADERS), st.binary(max_size=8))
def test_a_peer_takes_any_header(header, body):
    follow(busy_peer(), encode_frame(header, body))


@FUZZ
@given(st.lists(MESSAGES, max_size=6))
def test_a_peer_takes_any_messages(messages):
    follow(busy_peer(), b"".join(encode_frame(msgpack.packb(message)) for message in messages))


@FUZZ
@given(MESSAGES)
def test_a_peer_takes_a_message_alike_from_both_kinds_of_links(message):
    data = encode_frame(msgpack.packb(message))
    stream, single = busy_peer(), busy_peer()
    one = judge(stream.receive, data, ProtocolError)
    other = judge(single.receive_message, data, ProtocolError)
    assert (one is None) == (other is None)
    assert (stream.awaiting, stream.answering) == (single.awaiting, single.answering)


@FUZZ
@given(hostile([pack_items([b"a", b"", b"x" * 40]), pack_items([]), pack_items([bytes(8)] * 9)]))
def test_a_list_of_items_takes_any_bytes(data):
    items = judge(unpack_items, data, CodecError)
    assert items is None or pack_items(items) == data


@FUZZ
@given(hostile([pack_items([b"a"]), pack_items([b"\xff", b"b"])]), st.lists(ANYTHING, max_size=3))
def test_texts_take_any_body_and_any_rows(data, rows):
    judge(lambda data: put_texts({"rows": rows}, "rows[].text", data) or True, data, CodecError)
    judge(lambda data: put_texts({"rows": None}, "rows[].text", data) or True, data, CodecError)
