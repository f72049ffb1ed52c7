"""Envelopes: what is sealed opens to the same signed message, and only for its recipient."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol.envelope import (
    MAX_ENVELOPE,
    Kind,
    Lane,
    Message,
    Origin,
    Outer,
    open_envelope,
    outer_hash,
    parse_outer,
    seal_envelope,
    sign_message,
)
from mesh_protocol.keys import BadCiphertext, BadEncoding, BadPeerKey, BadSignature, PrekeyPrivate, sign_prekey
from mesh_protocol.pae import lst, pae, split_pae, unlst
from mesh_protocol.tip import TipRef
from mesh_samples import ELSEWHERE, HERE, NOW_MS

IDS16, IDS32 = st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32)
NUMBERS = st.integers(0, 2**63 - 1)
TEXT = st.text(max_size=32)
TIPS = st.builds(TipRef, NUMBERS, IDS32, NUMBERS, IDS32)
MESSAGES = st.builds(
    Message,
    mesh_id=st.just(HERE.mesh_id),
    from_member=IDS16,
    from_device=st.just(HERE.key("alice").public),
    from_session=TEXT,
    origin=st.sampled_from([origin.value for origin in Origin]),
    to_member=IDS16,
    to_device=st.just(HERE.key("bob").public),
    to_session=TEXT,
    msg_id=IDS16,
    conv_id=IDS16,
    stream_seq=NUMBERS,
    created_ms=NUMBERS,
    expires_ms=NUMBERS,
    kind=st.text(min_size=1, max_size=8),
    lane=st.sampled_from([lane.value for lane in Lane]),
    reply_to=st.one_of(st.just(b""), IDS16),
    tip=TIPS,
    content_type=TEXT,
    content=st.binary(max_size=2_000),
)


@given(MESSAGES, st.integers(0, 255))
def test_what_is_sealed_opens_to_the_same_signed_message(message, attempt):
    signed = sign_message(message, HERE.key("alice"))
    data = seal_envelope(signed, attempt=attempt, spk=HERE.spk("bob"))
    outer = parse_outer(data)
    assert outer.encode() == data
    assert outer.attempt == attempt
    assert open_envelope(outer, HERE.prekey("bob")) == signed


def sealed(message=None, attempt=1):
    signed = sign_message(message or HERE.message(), HERE.key("alice"))
    return seal_envelope(signed, attempt=attempt, spk=HERE.spk("bob"))


def test_signing_is_deterministic_and_sealing_is_not():
    signed = sign_message(HERE.message(), HERE.key("alice"))
    assert signed == sign_message(HERE.message(), HERE.key("alice"))
    assert sealed() != sealed()
    assert outer_hash(sealed()) != outer_hash(sealed())


def test_two_attempts_carry_the_same_signed_bytes():
    opened = [open_envelope(parse_outer(sealed(attempt=n)), HERE.prekey("bob")) for n in (1, 2)]
    assert opened[0] == opened[1]


def test_the_size_of_an_envelope_tells_the_bucket_only():
    sizes = {len(sealed(HERE.message(bytes(n)))) for n in range(100)}
    assert len(sizes) <= 4


def test_another_prekey_does_not_open_it():
    with pytest.raises(BadCiphertext):
        open_envelope(parse_outer(sealed()), HERE.prekey("alice"))


@pytest.mark.parametrize(
    "change",
    [
        {"mesh_id": ELSEWHERE.mesh_id},
        {"from_device": HERE.key("carol").public},
        {"to_device": HERE.key("carol").public},
        {"msg_id": bytes(16)},
        {"attempt": 2},
        {"lane": "now"},
        {"expires_ms": 1},
        {"prekey_id": 8},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_broker_that_rewrites_what_it_routes_by_is_caught(change):
    with pytest.raises(BadCiphertext):
        open_envelope(replace(parse_outer(sealed()), **change), HERE.prekey("bob"))


def test_a_recipient_cannot_pass_a_message_on_as_meant_for_another():
    """Surreptitious forwarding: Bob reseals Alice's signed bytes to Carol."""
    signed = sign_message(HERE.message(), HERE.key("alice"))
    carol = HERE.prekey("carol")
    spk = sign_prekey(HERE.key("carol"), HERE.mesh_id, 1, carol.public, NOW_MS)
    forged = replace(signed, message=replace(signed.message, to_device=spk.device))
    data = seal_envelope(forged, attempt=1, spk=spk)
    with pytest.raises(BadEncoding, match="announces"):
        open_envelope(parse_outer(data), carol)


@pytest.mark.parametrize(
    "change",
    [
        {"mesh_id": ELSEWHERE.mesh_id},
        {"from_device": HERE.key("carol").public},
        {"msg_id": bytes(16)},
        {"lane": "now"},
        {"expires_ms": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_sender_cannot_announce_another_message_than_he_seals(change):
    """The author himself shows the broker other routing fields than the ones he signed."""
    signed = sign_message(HERE.message(), HERE.key("alice"))
    announced = replace(signed.message, **change)
    spk = sign_prekey(HERE.key("bob"), announced.mesh_id, 7, HERE.prekey("bob").public, NOW_MS)
    data = seal_envelope(replace(signed, message=announced), attempt=1, spk=spk)
    with pytest.raises(BadEncoding, match="announces"):
        open_envelope(parse_outer(data), HERE.prekey("bob"))


def test_a_member_cannot_speak_for_another_device():
    """Bob's device signs what says it comes from Alice's."""
    with pytest.raises(BadPeerKey):
        sign_message(HERE.message(), HERE.key("bob"))
    as_bob = sign_message(HERE.message(from_device=HERE.key("bob").public), HERE.key("bob"))
    forged_message = HERE.message()
    raw = sign_message(forged_message, HERE.key("alice")).raw[:-64] + as_bob.raw[-64:]
    data = seal_envelope(replace(as_bob, message=forged_message, raw=raw), attempt=1, spk=HERE.spk("bob"))
    with pytest.raises(BadSignature):
        open_envelope(parse_outer(data), HERE.prekey("bob"))


def test_nothing_is_sealed_to_another_devices_or_meshs_prekey():
    signed = sign_message(HERE.message(), HERE.key("alice"))
    foreign = sign_prekey(HERE.key("bob"), ELSEWHERE.mesh_id, 1, HERE.prekey("bob").public, NOW_MS)
    for spk in (HERE.spk("carol"), foreign):
        with pytest.raises(BadPeerKey):
            seal_envelope(signed, attempt=1, spk=spk)


def test_nothing_is_sealed_to_a_low_order_prekey():
    signed = sign_message(HERE.message(), HERE.key("alice"))
    bad = sign_prekey(HERE.key("bob"), HERE.mesh_id, 1, bytes(32), NOW_MS)
    with pytest.raises(BadPeerKey):
        seal_envelope(signed, attempt=1, spk=bad)


def test_an_envelope_above_the_limit_is_neither_made_nor_parsed():
    with pytest.raises(BadEncoding, match="above"):
        sealed(HERE.message(bytes(MAX_ENVELOPE - 1024)))
    with pytest.raises(BadEncoding):
        HERE.message(bytes(MAX_ENVELOPE + 1))
    with pytest.raises(BadEncoding, match="above"):
        parse_outer(bytes(MAX_ENVELOPE + 1))
    assert len(sealed(HERE.message(bytes(64 * 1024)))) < MAX_ENVELOPE


@pytest.mark.parametrize("field", [0, 1])
def test_an_unknown_version_or_suite_is_refused(field):
    fields = unlst(sealed(), max_items=12)
    for value in (b"\x00", b"\x02", b"", b"\x01\x01"):
        fields[field] = value
        with pytest.raises(BadEncoding, match="version 1 and suite 1"):
            parse_outer(lst(*fields))


def test_an_unknown_suite_inside_is_refused_though_its_author_signed_it():
    signed = sign_message(HERE.message(), HERE.key("alice"))
    fields, _ = split_pae(signed.raw, "dm-sig", 20)
    other = pae("dm-sig", b"\x02", *fields[1:])
    raw = other + HERE.key("alice").sign(other)
    data = seal_envelope(replace(signed, raw=raw), attempt=1, spk=HERE.spk("bob"))
    with pytest.raises(BadEncoding, match="suite"):
        open_envelope(parse_outer(data), HERE.prekey("bob"))


@pytest.mark.parametrize(
    "change",
    [
        {"attempt": 256},
        {"attempt": -1},
        {"lane": "later"},
        {"expires_ms": 2**63},
        {"prekey_id": -1},
        {"enc": bytes(31)},
        {"msg_id": bytes(17)},
        {"mesh_id": b""},
        {"from_device": bytes(33)},
        {"to_device": bytes(31)},
    ],
    ids=str,
)
def test_routing_outside_its_limits_cannot_be_built(change):
    with pytest.raises(BadEncoding):
        replace(parse_outer(sealed()), **change)


@pytest.mark.parametrize("size", [0, 16, 271, 273, 272 + 17])
def test_a_ciphertext_that_no_padding_gives_is_refused_unopened(size):
    outer = parse_outer(sealed())
    with pytest.raises(BadEncoding, match="padding"):
        replace(outer, ct=bytes(size))
    assert isinstance(replace(outer, ct=bytes(256 + 16)), Outer)


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "robot"},
        {"lane": "later"},
        {"lane": ""},
        {"kind": ""},
        {"kind": "k" * 33},
        {"from_session": "s" * 129},
        {"to_session": "ä" * 257},
        {"content_type": "t" * 129},
        {"reply_to": bytes(15)},
        {"msg_id": bytes(17)},
        {"conv_id": b""},
        {"mesh_id": bytes(31)},
        {"from_member": bytes(15)},
        {"to_member": bytes(32)},
        {"from_device": bytes(31)},
        {"to_device": b""},
        {"stream_seq": -1},
        {"created_ms": 2**63},
        {"expires_ms": -5},
    ],
    ids=str,
)
def test_a_message_outside_its_limits_cannot_be_built(change):
    with pytest.raises(BadEncoding):
        HERE.message(**change)


def test_kinds_lanes_and_origins_are_the_plain_words():
    assert [kind.value for kind in Kind] == ["text", "receipt", "bounce", "profile"]
    assert Lane.NOW == "now"
    assert HERE.message(lane=Lane.NOW, origin=Origin.HUMAN, kind=Kind.TEXT).lane == "now"


def test_neither_a_message_nor_its_signed_form_prints_the_content():
    signed = sign_message(HERE.message(b"a private matter"), HERE.key("alice"))
    assert "private" not in repr(signed)
    assert "private" not in repr(signed.message)


def test_opening_needs_the_private_half_that_was_announced():
    stranger = PrekeyPrivate.from_seed(bytes(32))
    with pytest.raises(BadCiphertext):
        open_envelope(parse_outer(sealed()), stranger)
