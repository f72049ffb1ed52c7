"""Envelopes at their edges: the least numbers, the largest content, and padding that is not what it must be."""

from dataclasses import replace

import pytest

from mesh_protocol import hpke
from mesh_protocol.envelope import MAX_ENVELOPE, Outer, open_envelope, parse_outer, sign_message
from mesh_protocol.keys import BadEncoding
from mesh_protocol.padding import pad
from mesh_samples import HERE


def sealed(padded, **changed):
    """An envelope to bob over `padded`, which its sender made by hand."""
    message = HERE.message()
    to = HERE.spk("bob")
    ids = (message.mesh_id, message.from_device, message.to_device, message.msg_id)
    plain = Outer(*ids, 1, message.lane, message.expires_ms, to.prekey_id, bytes(32), bytes(256 + 16))
    routing = replace(plain, **changed)
    enc, ct = hpke.seal(to.pub, routing.info(to.pub), padded)
    return replace(routing, enc=enc, ct=ct).encode()


def test_a_message_is_read_only_with_the_padding_that_its_size_asks_for():
    raw = sign_message(HERE.message(), HERE.key("alice")).raw
    padded = pad(raw)
    assert len(raw) < len(padded)
    assert open_envelope(parse_outer(sealed(padded)), HERE.prekey("bob")).raw == raw
    for wrong in (
        padded[:-1] + b"\x01",
        raw + b"\x01" + padded[len(raw) + 1 :],
        pad(padded + b"\0"),
    ):
        with pytest.raises(BadEncoding):
            open_envelope(parse_outer(sealed(wrong)), HERE.prekey("bob"))


def test_the_least_numbers_of_an_envelope_are_zero():
    raw = sign_message(replace(HERE.message(), expires_ms=0, stream_seq=0, created_ms=0), HERE.key("alice")).raw
    outer = parse_outer(sealed(pad(raw), attempt=0, prekey_id=0, expires_ms=0))
    assert (outer.attempt, outer.prekey_id, outer.expires_ms) == (0, 0, 0)
    assert open_envelope(outer, HERE.prekey("bob")).raw == raw


def test_a_content_may_be_as_large_as_an_envelope_and_no_larger():
    assert len(HERE.message(bytes(MAX_ENVELOPE)).content) == MAX_ENVELOPE
    with pytest.raises(BadEncoding):
        HERE.message(bytes(MAX_ENVELOPE + 1))


def test_an_envelope_above_the_limit_is_neither_made_nor_read():
    raw = sign_message(HERE.message(bytes(262_144 - 1_024)), HERE.key("alice")).raw
    with pytest.raises(BadEncoding):
        sealed(pad(raw))
    with pytest.raises(BadEncoding, match="allowed"):
        parse_outer(bytes(MAX_ENVELOPE + 1))
