"""The fold over the chain: good chains, and each rule broken once."""

import dataclasses
from dataclasses import replace
from pathlib import Path

import pytest

from mesh_protocol import members
from mesh_protocol.chain import (
    AddDevice,
    AddMember,
    Epoch,
    InviteOpen,
    Record,
    epoch_kc,
    invite_id_of,
    make_record,
)
from mesh_protocol.keys import BadEncoding
from mesh_protocol.members import MAX_MEMBER_DEVICES, REASONS, ChainError, extend, settled
from mesh_samples import DAY_MS, ELSEWHERE, HERE, NOW_MS

RECORDS = HERE.records
GENESIS, EPOCH_1, INVITE, BOB, LAPTOP, EPOCH_2 = RECORDS
STATE = HERE.state
MAPS = {name: {} for name in ("members", "former", "devices", "kcs", "invites")}


def refused(reason, state, *records):
    with pytest.raises(ChainError) as raised:
        extend(state, records)
    assert raised.value.reason == reason
    assert REASONS[reason] in str(raised.value)


def on_top(kind, body, signer="alice", previous=EPOCH_2):
    return HERE.record(previous, kind, body.encode(), signer)


def add_member(name="carol", role="member", invite_id=b"", **changes):
    body = AddMember(HERE.member(name), role, HERE.key(name).public, HERE.sealed_name(name), invite_id)
    return replace(body, **changes)


def add_device(name, device):
    return AddDevice(HERE.member(name), HERE.key(device).public)


def next_epoch(number, previous, signer):
    return HERE.record(previous, "epoch", HERE.epoch_body(number), signer)


def invite(name="spare", role="admin", uses=1):
    return InviteOpen(HERE.key(name).public, role, uses, NOW_MS + DAY_MS, False)


def test_a_good_chain_gives_its_members_devices_epochs_and_invites():
    alice, bob = STATE.members[HERE.member("alice")], STATE.members[HERE.member("bob")]
    assert (alice.role, bob.role) == ("owner", "admin")
    assert alice.devices == (HERE.key("alice").public,)
    assert bob.devices == (HERE.key("bob").public, HERE.key("bob laptop").public)
    assert STATE.active_devices(bob.member_id) == bob.devices
    assert STATE.member_of(HERE.key("bob laptop").public) == bob
    assert STATE.is_active(HERE.key("bob").public)
    assert STATE.signers == {HERE.key("alice").public}
    assert STATE.epoch == 2
    assert STATE.kcs[2] == epoch_kc(HERE.mesh_id, 2, HERE.seed("epoch 2"))
    used = STATE.invites[HERE.invite_id]
    assert (used.uses, used.open, used.opener) == (1, False, HERE.key("alice").public)
    assert (STATE.seq, STATE.head) == (6, EPOCH_2.hash)
    assert (STATE.broker_key, STATE.broker_urls) == (HERE.key("broker").public, HERE.genesis.broker_urls)


def test_a_stranger_is_nobody():
    stranger = HERE.key("stranger").public
    assert not STATE.is_active(stranger)
    assert STATE.member_of(stranger) is None
    assert STATE.active_devices(HERE.member("stranger")) == ()


@pytest.mark.parametrize("cut", [2, 3, 4, 6])
def test_the_state_is_the_same_however_the_records_arrive(cut):
    assert extend(extend(None, RECORDS[:cut]), RECORDS[cut:]) == STATE
    assert extend(None, [Record.decode(record.encode()) for record in RECORDS]) == STATE


def test_a_refused_record_leaves_the_old_state_as_it_was():
    before = extend(None, RECORDS[:4])
    shown = dataclasses.asdict(replace(before, **MAPS))
    counts = len(before.members), len(before.devices), len(before.kcs), len(before.invites)
    refused("epoch_missing", before, LAPTOP)
    assert dataclasses.asdict(replace(before, **MAPS)) == shown
    assert counts == (len(before.members), len(before.devices), len(before.kcs), len(before.invites))


def test_a_state_cannot_be_written_to():
    with pytest.raises(TypeError):
        STATE.members[HERE.member("carol")] = STATE.members[HERE.member("bob")]
    with pytest.raises(dataclasses.FrozenInstanceError):
        STATE.seq = 7


def test_a_page_is_cut_before_an_append_that_lacks_its_epoch():
    assert [settled(RECORDS[:count]) for count in range(7)] == [0, 0, 2, 3, 4, 4, 6]


def test_nothing_to_add_changes_nothing():
    assert extend(STATE, []) == STATE
    refused("no_genesis", None)


def test_a_chain_begins_with_genesis_and_its_epoch():
    refused("no_genesis", None, EPOCH_1)
    refused("no_genesis", None, make_record(None, "epoch", Epoch(1, bytes(32)).encode(), HERE.key("alice"), None))
    refused("epoch_missing", None, GENESIS)
    refused("epoch_missing", None, GENESIS, on_top("invite_open", invite(), previous=GENESIS))
    refused("epoch_number", None, GENESIS, HERE.record(GENESIS, "epoch", Epoch(2, bytes(32)).encode(), "alice"))
    refused("epoch_missing", None, GENESIS, next_epoch(1, GENESIS, "recovery"))


def test_genesis_is_signed_by_the_device_it_names():
    other = make_record(None, "genesis", HERE.genesis.encode(), HERE.key("carol"), None)
    refused("wrong_signer", None, other)


@pytest.mark.parametrize(
    "change",
    [
        {"recovery_pub": HERE.key("alice").public},
        {"broker_key": HERE.key("alice").public},
        {"broker_key": HERE.key("recovery").public},
    ],
)
def test_device_recovery_and_broker_have_keys_of_their_own(change):
    body = replace(HERE.genesis, **change)
    refused("duplicate_device", None, make_record(None, "genesis", body.encode(), HERE.key("alice"), None))


def test_genesis_comes_once():
    refused("second_genesis", STATE, on_top("genesis", HERE.genesis))


def test_an_unknown_type_is_refused_and_not_skipped():
    unknown = make_record(EPOCH_2, "add_robot", b"", HERE.key("alice"), HERE.mesh_id)
    refused("unknown_type", STATE, unknown)
    refused("bad_body", None, make_record(None, "genesis", b"", HERE.key("alice"), None))


def test_a_record_out_of_place_is_refused():
    record = on_top("invite_open", invite())
    refused("bad_seq", STATE, replace(record, seq=8))
    refused("bad_seq", STATE, replace(record, seq=6))
    refused("bad_link", STATE, replace(record, prev_hash=bytes(32)))
    refused("bad_link", STATE, on_top("invite_open", invite(), previous=replace(EPOCH_2, sig=bytes(64))))


def test_a_body_of_another_type_or_shape_is_refused():
    for body in (b"", invite().encode()[:-1], Epoch(3, bytes(32)).encode(), invite().encode() + b"\0"):
        record = make_record(EPOCH_2, "invite_open", body, HERE.key("alice"), HERE.mesh_id)
        refused("bad_body", STATE, record)


def test_a_record_of_another_mesh_or_signer_is_refused():
    body = invite().encode()
    refused("bad_signature", STATE, make_record(EPOCH_2, "invite_open", body, HERE.key("alice"), ELSEWHERE.mesh_id))
    refused("bad_signature", STATE, replace(on_top("invite_open", invite()), signer=HERE.key("bob").public))
    refused("bad_signature", None, replace(GENESIS, sig=bytes(64)))


@pytest.mark.parametrize("signer", ["bob", "stranger", "broker"])
def test_only_a_signer_opens_invites_admits_and_begins_epochs(signer):
    for record in (
        on_top("invite_open", invite("spare", "member"), signer),
        on_top("add_member", add_member(), signer),
        on_top("epoch", Epoch(3, bytes(32)), signer),
    ):
        refused("wrong_signer", STATE, record)


def test_the_recovery_key_may_sign_what_a_signer_may():
    opened = on_top("invite_open", invite("spare", "owner"), "recovery")
    admitted = on_top("add_member", add_member(), "recovery", opened)
    epoch = next_epoch(3, admitted, "recovery")
    state = extend(STATE, [opened, admitted, epoch])
    assert state.is_active(HERE.key("carol").public)
    assert state.epoch == 3


def test_the_recovery_key_adds_no_device_to_a_member_who_has_one():
    for signer in ("recovery", "alice"):
        device = on_top("add_device", add_device("bob", "bob phone"), signer)
        refused("wrong_signer", STATE, device, next_epoch(3, device, signer))


def test_epochs_are_numbered_without_gaps():
    for number in (1, 2, 4):
        refused("epoch_number", STATE, on_top("epoch", Epoch(number, bytes(32))))


def test_members_and_devices_are_listed_once():
    carol = on_top("add_member", add_member())
    once = extend(STATE, [carol])
    refused(
        "duplicate_member", once, on_top("add_member", add_member("carol", device=HERE.key("x").public), previous=carol)
    )
    refused(
        "duplicate_device",
        once,
        on_top("add_member", add_member("dave", device=HERE.key("carol").public), previous=carol),
    )
    for key in ("alice", "bob laptop", "recovery", "broker"):
        refused("duplicate_device", STATE, on_top("add_member", add_member(device=HERE.key(key).public)))
        device = on_top("add_device", add_device("bob", key), "bob")
        refused("duplicate_device", STATE, device, next_epoch(3, device, "bob"))


def test_a_device_is_added_by_its_own_member_with_an_epoch_he_signs():
    device = on_top("add_device", add_device("bob", "bob phone"), "bob laptop")
    state = extend(STATE, [device, next_epoch(3, device, "bob laptop")])
    assert state.member_of(HERE.key("bob phone").public).member_id == HERE.member("bob")
    refused("epoch_missing", STATE, device)
    refused("epoch_missing", STATE, device, next_epoch(3, device, "alice"))
    refused("epoch_missing", STATE, device, on_top("add_member", add_member(), "bob laptop", device))
    refused("unknown_member", STATE, on_top("add_device", add_device("dave", "dave"), "bob"))
    refused("wrong_signer", STATE, on_top("add_device", add_device("alice", "bob phone"), "bob"))
    refused("wrong_signer", STATE, on_top("add_device", add_device("bob", "bob phone"), "stranger"))


def test_a_member_may_have_ten_devices():
    state, last = STATE, EPOCH_2
    for number in range(2, MAX_MEMBER_DEVICES):
        device = on_top("add_device", add_device("bob", f"device {number}"), "bob", last)
        last = next_epoch(state.epoch + 1, device, "bob")
        state = extend(state, [device, last])
    assert len(state.active_devices(HERE.member("bob"))) == MAX_MEMBER_DEVICES
    refused("too_many_devices", state, on_top("add_device", add_device("bob", "one more"), "bob", last))


def admin_mesh():
    """A mesh whose only signer is an admin, made by lowering the founder's role in a state."""
    members = dict(STATE.members)
    alice = HERE.member("alice")
    members[alice] = replace(members[alice], role="admin")
    return replace(STATE, members=members)


def test_no_record_grants_a_role_above_its_signers():
    state = admin_mesh()
    for role, allowed in (("member", True), ("admin", True), ("owner", False)):
        for record in (on_top("add_member", add_member(role=role)), on_top("invite_open", invite("spare", role))):
            if allowed:
                assert extend(state, [record]).seq == 7
            else:
                refused("role_too_high", state, record)


def test_nobody_is_admitted_above_his_invite():
    opened = on_top("invite_open", invite("spare", "member"))
    for role, allowed in (("member", True), ("admin", False)):
        record = on_top("add_member", add_member(role=role, invite_id=invite_id_of(opened)), "alice", opened)
        if allowed:
            assert extend(STATE, [opened, record]).members[HERE.member("carol")].role == role
        else:
            refused("role_too_high", STATE, opened, record)


@pytest.mark.parametrize("uses", [1, 2, 3])
def test_an_invite_is_used_as_often_as_it_says_and_not_once_more(uses):
    last = opened = on_top("invite_open", invite(uses=uses))
    records = [opened]
    for number in range(uses):
        last = on_top("add_member", add_member(f"guest {number}", invite_id=invite_id_of(opened)), "alice", last)
        records.append(last)
    state = extend(STATE, records)
    used = state.invites[invite_id_of(opened)]
    assert (used.uses, used.open) == (uses, False)
    late = on_top("add_member", add_member("late", invite_id=invite_id_of(opened)), "alice", last)
    refused("invite_used_up", state, late)
    assert extend(STATE, records[:-1]).invites[invite_id_of(opened)].open


def test_an_invite_must_be_on_the_chain():
    refused("unknown_invite", STATE, on_top("add_member", add_member(invite_id=bytes(32))))
    refused("unknown_invite", STATE, on_top("add_member", add_member(invite_id=ELSEWHERE.invite_id)))


def test_an_invite_key_opens_one_invite():
    again = InviteOpen(HERE.invite_open.invite_pub, "member", 1, NOW_MS, False)
    refused("duplicate_invite", STATE, on_top("invite_open", again))


def test_every_reason_has_a_text_and_every_text_is_used_somewhere():
    ground = Path(members.__file__).parent
    source = "".join(path.read_text() for path in [*sorted(ground.glob("chain_*.py")), ground / "members.py"])
    assert [reason for reason in REASONS if source.count(f'"{reason}"') < 2] == []


def test_a_mesh_has_at_most_ten_thousand_devices():
    filler = STATE.devices[HERE.key("bob").public]
    devices = dict(STATE.devices) | {n.to_bytes(32, "big"): filler for n in range(10_000 - len(STATE.devices))}
    full = replace(STATE, devices=devices)
    refused("too_many_devices", full, on_top("add_member", add_member()))
    one_less = replace(STATE, devices={key: devices[key] for key in list(devices)[:-1]})
    assert len(extend(one_less, [on_top("add_member", add_member())]).devices) == 10_000


def test_make_record_asks_for_both_or_neither_of_previous_and_mesh():
    for previous, mesh_id in ((None, HERE.mesh_id), (GENESIS, None)):
        with pytest.raises(ValueError, match="first record") as raised:
            make_record(previous, "epoch", b"", HERE.key("alice"), mesh_id)
        assert not isinstance(raised.value, BadEncoding)
