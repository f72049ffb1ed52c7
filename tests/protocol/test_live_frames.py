"""Live frames: read by members of the epoch, signed by one device, telling the broker only where they go."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol.keys import BadCiphertext, BadEncoding, BadPeerKey, BadSignature, aead_open, aead_seal, hkdf
from mesh_protocol.live import MAX_LIVE, LiveFrame, channel_id, open_live, peek_live, seal_live
from mesh_protocol.padding import pad
from mesh_protocol.pae import lst, pae, split_pae, unlst
from mesh_samples import ELSEWHERE, HERE

GK, BOB, NONCE = HERE.seed("epoch 2"), HERE.key("bob"), bytes(24)
NUMBERS = st.integers(0, 2**63 - 1)
FRAMES = st.builds(
    LiveFrame,
    mesh_id=st.just(HERE.mesh_id),
    device=st.just(BOB.public),
    epoch=st.integers(1, 2**63 - 1),
    generation=NUMBERS,
    n=NUMBERS,
    channel=st.binary(min_size=16, max_size=16),
    kind=st.text(min_size=1, max_size=8),
    created_ms=NUMBERS,
    tip=st.just(HERE.tip),
    content=st.binary(max_size=1_000),
)


@given(FRAMES, st.binary(min_size=24, max_size=24))
def test_what_is_sealed_opens_to_the_same_frame(frame, nonce):
    data = seal_live(frame, GK, BOB, nonce)
    assert open_live(data, GK) == frame
    route = peek_live(data)
    assert (route.mesh_id, route.device, route.epoch, route.channel) == (
        frame.mesh_id,
        frame.device,
        frame.epoch,
        frame.channel,
    )


def sealed(**changes):
    return seal_live(replace(HERE.live_frame, **changes), GK, BOB, NONCE)


def test_another_epochs_key_does_not_open_it():
    for key in (HERE.seed("epoch 1"), bytes(32)):
        with pytest.raises(BadCiphertext):
            open_live(sealed(), key)
    with pytest.raises(BadEncoding):
        open_live(sealed(), bytes(16))


@pytest.mark.parametrize(
    ("field", "value"),
    [(2, ELSEWHERE.mesh_id), (3, HERE.key("alice").public), (4, bytes([1]) + bytes(7)), (5, bytes(16))],
)
def test_a_broker_that_moves_a_frame_is_caught(field, value):
    fields = unlst(sealed(), max_items=8)
    fields[field] = value
    with pytest.raises(BadCiphertext):
        open_live(lst(*fields), GK)


def test_a_member_cannot_speak_for_another_device():
    with pytest.raises(BadPeerKey):
        seal_live(HERE.live_frame, GK, HERE.key("alice"), NONCE)
    impostor = replace(HERE.live_frame, device=HERE.key("alice").public)
    mine = seal_live(impostor, GK, HERE.key("alice"), NONCE)
    fields = unlst(mine, max_items=8)
    fields[3] = BOB.public
    with pytest.raises((BadCiphertext, BadSignature)):
        open_live(lst(*fields), GK)


def test_a_channel_id_depends_on_key_and_name_and_tells_neither():
    ids = {channel_id(GK, "presence"), channel_id(GK, "presence "), channel_id(HERE.seed("epoch 1"), "presence")}
    assert len(ids) == 3
    assert all(len(each) == 16 for each in ids)


def test_a_frame_above_the_limit_is_neither_made_nor_parsed():
    with pytest.raises(BadEncoding, match="above"):
        sealed(content=bytes(MAX_LIVE - 600))
    with pytest.raises(BadEncoding):
        sealed(content=bytes(MAX_LIVE + 1))
    for read in (peek_live, lambda data: open_live(data, GK)):
        with pytest.raises(BadEncoding, match="above"):
            read(bytes(MAX_LIVE + 1))


def test_the_size_of_a_presence_frame_tells_its_bucket_only():
    assert len({len(sealed(content=bytes(n))) for n in range(32)}) <= 3


@pytest.mark.parametrize("index", [2, 3, 5, 6])
def test_a_route_or_nonce_of_another_size_is_refused_unopened(index):
    fields = unlst(sealed(), max_items=8)
    fields[index] = fields[index][:-1]
    with pytest.raises(BadEncoding):
        peek_live(lst(*fields))


@pytest.mark.parametrize("index", [0, 1])
def test_an_unknown_version_or_suite_is_refused(index):
    fields = unlst(sealed(), max_items=8)
    fields[index] = b"\x02"
    with pytest.raises(BadEncoding, match="version 1 and suite 1"):
        peek_live(lst(*fields))


def inner_of(frame):
    """The signed bytes inside, and the AEAD key they stand under."""
    fields = unlst(seal_live(frame, GK, BOB, NONCE), max_items=8)
    key = hkdf(GK, pae("live-key", *fields[:6]))
    padded = aead_open(key, NONCE, b"", fields[7])
    return fields, key, split_pae(padded, "live-sig", 11)[0]


def resealed(fields, key, inner):
    signed = pae("live-sig", *inner)
    sealed_again = aead_seal(key, NONCE, b"", pad(signed + BOB.sign(signed)))
    return lst(*fields[:7], sealed_again)


def test_an_unknown_suite_inside_is_refused_though_its_author_signed_it():
    fields, key, inner = inner_of(HERE.live_frame)
    assert open_live(resealed(fields, key, inner), GK) == HERE.live_frame
    with pytest.raises(BadEncoding, match="suite"):
        open_live(resealed(fields, key, [b"\x02", *inner[1:]]), GK)


@pytest.mark.parametrize(
    ("index", "value"),
    [(1, ELSEWHERE.mesh_id), (2, HERE.key("alice").public), (3, bytes([1]) + bytes(7)), (6, bytes(16))],
)
def test_an_author_cannot_announce_another_frame_than_he_seals(index, value):
    fields, key, inner = inner_of(HERE.live_frame)
    inner[index] = value
    with pytest.raises(BadEncoding, match="announced"):
        open_live(resealed(fields, key, inner), GK)


@pytest.mark.parametrize(
    "change",
    [
        {"mesh_id": bytes(31)},
        {"device": b""},
        {"epoch": 0},
        {"generation": -1},
        {"n": 2**63},
        {"channel": bytes(15)},
        {"kind": ""},
        {"kind": "k" * 33},
        {"created_ms": -1},
        {"content": bytes(MAX_LIVE + 1)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_frame_outside_its_limits_cannot_be_built(change):
    with pytest.raises(BadEncoding):
        replace(HERE.live_frame, **change)


def test_a_frame_prints_no_content():
    assert "idle" not in repr(HERE.live_frame)
