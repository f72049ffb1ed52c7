"""The request of the thin clients is packed by hand: frozen frames that all three encoders give."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh_clients import thin
from mesh_protocol.ops.claude import ENVIRONMENT, Hook, McpOpen, StatusLine
from mesh_protocol.wire.codec import decode, encode
from mesh_protocol.wire.framing import FrameReader, encode_frame

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "hot_frames.json").read_text())
REQUESTS = {"statusline": StatusLine, "hook": Hook, "mcp.open": McpOpen}


def packed_by_hand(vector: dict) -> bytes:
    params = vector["params"]
    fields = []
    for name, value in params.items():
        if name == "env":
            packed = thin.pack_environment({key.encode(): text.encode() for key, text in value.items()})
        elif name == "columns":
            packed = thin.pack_number(value)
        elif value is True:
            packed = b"\xc3"
        else:
            packed = thin.pack_text(value.encode())
        fields.append((name.encode(), packed))
    return thin.pack_request(vector["method"].encode(), fields, vector["body"].encode())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_three_encoders_give_the_frozen_frame(vector: dict) -> None:
    frozen = bytes.fromhex(vector["frame"])
    message = [0, 1, vector["method"], vector["params"]]
    body = vector["body"].encode()
    assert packed_by_hand(vector) == frozen
    assert encode_frame(encode(message), body) == frozen
    assert encode_frame(msgspec.msgpack.encode(message), body) == frozen


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_frozen_frame_is_the_request_that_the_operation_declares(vector: dict) -> None:
    (frame,) = FrameReader().feed(bytes.fromhex(vector["frame"]))
    _, number, method, params = decode(frame.header)
    assert (number, method) == (1, vector["method"])
    msgspec.convert(params, REQUESTS[method])
    assert frame.body == vector["body"].encode()


def test_the_variables_sent_are_the_declared_ones() -> None:
    assert tuple(name.decode() for name in thin.VARIABLES) == ENVIRONMENT


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(thin.VARIABLES), st.binary(max_size=5000), max_size=6))
def test_whatever_the_environment_holds_the_map_is_valid_and_within_the_declared_bounds(environ: dict) -> None:
    told = decode(thin.pack_environment({**environ, b"ANTHROPIC_API_KEY": b"secret"}))
    msgspec.convert({"env": told}, Hook)
    assert "ANTHROPIC_API_KEY" not in told
    for name, value in told.items():
        assert environ[name.encode()].decode() == value


@settings(deadline=None)
@given(st.binary(max_size=65535))
def test_a_text_is_packed_as_the_library_does(raw: bytes) -> None:
    text = raw.decode("latin-1")[:20000]
    assert thin.pack_text(text.encode()) == encode(text)


@settings(deadline=None)
@given(st.integers(0, 65535))
def test_a_number_is_packed_as_the_library_does(number: int) -> None:
    assert thin.pack_number(number) == encode(number)
