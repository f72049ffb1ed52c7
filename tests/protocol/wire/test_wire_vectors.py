"""The frozen frames: every encoder makes these bytes, every decoder reads them, and what must be refused is."""

import json
from pathlib import Path

import msgpack
import msgspec
import pytest

import mesh_protocol.wire.codec as codec
from mesh_clients.thin import pack_environment, pack_number, pack_request
from mesh_protocol.wire.framing import Frame, FrameReader, encode_frame, split_message
from mesh_protocol.wire.rpc import Peer, ProtocolError

VECTORS = json.loads((Path(codec.__file__).parents[1] / "vectors" / "wire.json").read_text())
ENCODERS = {
    "mesh_protocol": codec.encode,
    "msgpack": msgpack.packb,
    "msgspec": msgspec.msgpack.encode,
}
DECODERS = {
    "mesh_protocol": codec.decode,
    "msgpack": msgpack.unpackb,
    "msgspec": msgspec.msgpack.decode,
}


def content(value):
    """Decoded content as it is written in the file, with its byte strings."""
    match value:
        case {"$bytes": text, **rest} if not rest:
            return bytes.fromhex(text)
        case dict():
            return {key: content(each) for key, each in value.items()}
        case list():
            return [content(each) for each in value]
        case _:
            return value


def cases(section):
    return pytest.mark.parametrize("case", VECTORS[section], ids=lambda case: case["name"])


@cases("values")
@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_makes_the_frozen_value(name, case):
    assert ENCODERS[name](content(case["value"])).hex() == case["hex"]


@cases("values")
@pytest.mark.parametrize("name", DECODERS)
def test_every_decoder_reads_the_frozen_value(name, case):
    value, expected = DECODERS[name](bytes.fromhex(case["hex"])), content(case["value"])
    assert value == expected
    assert type(value) is type(expected)


@cases("frames")
@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_makes_the_frozen_frame(name, case):
    header = ENCODERS[name](content(case["header"]))
    assert encode_frame(header, bytes.fromhex(case["body"])).hex() == case["hex"]


@cases("frames")
@pytest.mark.parametrize("name", DECODERS)
def test_every_decoder_reads_the_frozen_frame(name, case):
    raw = bytes.fromhex(case["hex"])
    [frame] = FrameReader().feed(raw)
    assert frame == split_message(raw)
    assert DECODERS[name](frame.header) == content(case["header"])
    assert frame.body.hex() == case["body"]


@cases("frames")
def test_the_lengths_of_a_frozen_frame_are_where_they_belong(case):
    raw = bytes.fromhex(case["hex"])
    header_len, body_len = int.from_bytes(raw[:4], "big"), int.from_bytes(raw[4:8], "big")
    assert Frame(raw[8 : 8 + header_len], raw[8 + header_len :]).body.hex() == case["body"]
    assert len(raw) == 8 + header_len + body_len


@cases("frames")
def test_a_peer_makes_and_takes_the_frozen_frame(case):
    raw, body = bytes.fromhex(case["hex"]), bytes.fromhex(case["body"])
    sender, receiver = Peer(), Peer()
    match content(case["header"]):
        case [0, request_id, method, params]:
            sender._next_id = request_id - 1
            made = sender.request(method, params, body)[1]
            events = receiver.receive(raw)
            assert [*events[0]] == [request_id, method, params, body]
        case [1, request_id, error, result]:
            receiver._next_id = request_id - 1
            sender.receive(receiver.request("m", {})[1])
            made = sender.fail(request_id, **error) if error else sender.respond(request_id, result, body)
            assert len(receiver.receive(raw)) == 1
            assert receiver.awaiting == 0
        case [2, "rpc.cancel", {"id": request_id}]:
            made = sender.cancel(request_id)
            assert receiver.receive(raw)[0].id == request_id
        case [2, method, params]:
            made = sender.notify(method, params, body)
            assert [*receiver.receive(raw)[0]] == [method, params, body]
    assert made == raw


@cases("refused")
def test_a_peer_refuses_the_frozen_frame(case):
    raw = bytes.fromhex(case["hex"])
    with pytest.raises(ProtocolError):
        Peer().receive(raw)
    with pytest.raises(ProtocolError):
        Peer().receive_message(raw)


@pytest.mark.parametrize("name", ["status line", "hook"])
def test_the_hot_clients_pack_the_frozen_frame_by_hand(name):
    [case] = [case for case in VECTORS["frames"] if case["name"] == name]
    _, _, method, params = content(case["header"])
    pack = {
        "columns": pack_number,
        "env": lambda env: pack_environment({key.encode(): value.encode() for key, value in env.items()}),
    }
    fields = [(field.encode(), pack[field](value)) for field, value in params.items()]
    assert pack_request(method.encode(), fields, bytes.fromhex(case["body"])).hex() == case["hex"]
