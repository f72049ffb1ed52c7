"""Tips: the broker's signature over one mesh's chain and log, and the hash chain of the log."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol.keys import BadEncoding, BadPeerKey, BadSignature
from mesh_protocol.tip import EMPTY_LOG_HEAD, Tip, TipRef, contradiction, log_head, marker, sign_tip, verify_tip
from mesh_samples import ELSEWHERE, HERE

NUMBERS, B32 = st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32)
REFS = st.builds(TipRef, NUMBERS, B32, NUMBERS, B32)
BROKER = HERE.key("broker")
TIP = sign_tip(BROKER, HERE.mesh_id, HERE.tip)


@given(REFS)
def test_a_tip_is_read_back_and_verified(ref):
    assert TipRef.decode(ref.encode()) == ref
    tip = sign_tip(BROKER, HERE.mesh_id, ref)
    assert Tip.decode(tip.encode()) == tip
    verify_tip(tip, HERE.mesh_id, BROKER.public)


@pytest.mark.parametrize(
    "change", [{"chain_seq": 7}, {"chain_hash": bytes(32)}, {"log_seq": 7}, {"log_head": bytes(32)}], ids=str
)
def test_a_tip_altered_in_any_field_is_refused(change):
    with pytest.raises(BadSignature):
        verify_tip(replace(TIP, ref=replace(TIP.ref, **change)), HERE.mesh_id, BROKER.public)


def test_a_tip_of_another_mesh_or_broker_is_refused():
    with pytest.raises(BadPeerKey):
        verify_tip(sign_tip(BROKER, ELSEWHERE.mesh_id, HERE.tip), HERE.mesh_id, BROKER.public)
    with pytest.raises(BadSignature):
        verify_tip(replace(TIP, mesh_id=ELSEWHERE.mesh_id), ELSEWHERE.mesh_id, BROKER.public)
    with pytest.raises(BadSignature):
        verify_tip(TIP, HERE.mesh_id, ELSEWHERE.key("broker").public)


def test_a_tip_outside_its_limits_cannot_be_built():
    for change in ({"chain_seq": -1}, {"log_seq": 2**63}, {"chain_hash": b""}, {"log_head": bytes(33)}):
        with pytest.raises(BadEncoding):
            replace(HERE.tip, **change)
    for change in ({"sig": bytes(63)}, {"mesh_id": b""}):
        with pytest.raises(BadEncoding):
            replace(TIP, **change)


def test_a_log_head_covers_mesh_number_history_and_item():
    item = marker(1, bytes(32))
    heads = {
        log_head(HERE.mesh_id, 1, EMPTY_LOG_HEAD, item),
        log_head(ELSEWHERE.mesh_id, 1, EMPTY_LOG_HEAD, item),
        log_head(HERE.mesh_id, 2, EMPTY_LOG_HEAD, item),
        log_head(HERE.mesh_id, 1, bytes(31) + b"\1", item),
        log_head(HERE.mesh_id, 1, EMPTY_LOG_HEAD, marker(2, bytes(32))),
    }
    assert len(heads) == 5


def test_log_numbers_and_heads_have_their_sizes():
    for call in (
        lambda: log_head(HERE.mesh_id, 0, EMPTY_LOG_HEAD, b""),
        lambda: log_head(HERE.mesh_id, 1, b"", b""),
        lambda: marker(0, bytes(32)),
        lambda: marker(1, bytes(31)),
    ):
        with pytest.raises(BadEncoding):
            call()


def tip_at(chain_seq, log_seq, *, chain=b"c", log=b"l"):
    ref = TipRef(chain_seq, chain * 32, log_seq, log * 32)
    return sign_tip(HERE.key("broker"), HERE.mesh_id, ref)


def test_two_tips_of_one_history_do_not_contradict_each_other():
    for one, other in (
        (tip_at(5, 9), tip_at(5, 9)),
        (tip_at(5, 9), tip_at(6, 10, chain=b"d", log=b"m")),
        (tip_at(5, 9), tip_at(6, 30, chain=b"d", log=b"m")),
        (tip_at(5, 9), tip_at(5, 12, log=b"m")),
        (tip_at(0, 0), tip_at(5, 5, chain=b"d", log=b"m")),
    ):
        assert contradiction(one, other) == contradiction(other, one) == ""


def test_two_tips_that_no_history_has_both_of_say_why():
    for why, one, other in (
        ("chain", tip_at(5, 9), tip_at(5, 9, chain=b"d")),
        ("chain", tip_at(5, 9), tip_at(5, 12, chain=b"d", log=b"m")),
        ("log", tip_at(5, 9), tip_at(5, 9, log=b"m")),
        ("log", tip_at(5, 9), tip_at(6, 9, chain=b"d", log=b"m")),
        ("order", tip_at(5, 9), tip_at(6, 9, chain=b"d")),
        ("order", tip_at(5, 9), tip_at(6, 8, chain=b"d", log=b"m")),
        ("order", tip_at(5, 9), tip_at(8, 11, chain=b"d", log=b"m")),
    ):
        assert contradiction(one, other) == contradiction(other, one) == why
