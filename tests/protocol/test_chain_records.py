"""Records and bodies: read back as written, within their limits."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh_protocol.chain import (
    BODIES,
    MAX_RECORD,
    ROLES,
    AddDevice,
    AddMember,
    AddSigner,
    BrokerKey,
    Epoch,
    Genesis,
    InviteClose,
    InviteOpen,
    Policy,
    Record,
    RemoveMember,
    RemoveSigner,
    Resolve,
    RevokeDevice,
    SetName,
    SetRole,
    Snapshot,
    Unban,
    decode_body,
    epoch_kc,
    invite_id_of,
    make_record,
    mesh_id_of,
    rank,
    require_broker_url,
    type_of,
)
from mesh_protocol.chain_changes import MAX_KEPT
from mesh_protocol.keys import BadEncoding, BadSignature
from mesh_protocol.pae import lst
from mesh_protocol.rights import PERMISSIONS
from mesh_samples import ELSEWHERE, HERE, NOW_MS

B16, B32 = st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32)
NUMBERS, NAMES, ROLE = st.integers(0, 2**63 - 1), st.binary(min_size=1, max_size=512), st.sampled_from(ROLES)
URLS = st.lists(st.from_regex(r"wss?://[!-~]{1,60}", fullmatch=True) | st.just("local:"), min_size=1, max_size=8)
BODY_OF = (
    st.builds(Genesis, B16, B16, B32, B32, B32, URLS.map(tuple), NAMES, NAMES),
    st.builds(Epoch, st.integers(1, 2**63 - 1), B32),
    st.builds(AddMember, B16, ROLE, B32, NAMES, st.just(b"") | B32),
    st.builds(AddDevice, B16, B32),
    st.builds(InviteOpen, B32, ROLE, st.integers(1, 1_000), NUMBERS, st.booleans()),
    st.builds(InviteClose, B32),
    st.builds(RemoveMember, B16, st.booleans()),
    st.builds(Unban, B16),
    st.builds(RevokeDevice, B32, st.sets(B32, max_size=8).map(lambda each: tuple(sorted(each)))),
    st.builds(AddSigner, B32),
    st.builds(RemoveSigner, B32),
    st.builds(SetRole, B16, ROLE),
    st.builds(Policy, B16, st.sets(st.sampled_from(PERMISSIONS)).map(lambda each: tuple(sorted(each)))),
    st.builds(SetName, B16, NAMES),
    st.builds(BrokerKey, B32, URLS.map(tuple)),
    st.builds(Snapshot, NUMBERS.filter(bool), B32, NUMBERS.filter(bool), B32, B32),
    st.builds(Resolve, B32, NUMBERS, B32),
)
EPOCH_1 = HERE.records[1]


@pytest.mark.parametrize("number", range(len(BODY_OF)))
@settings(max_examples=25)
@given(data=st.data())
def test_a_body_is_read_back_as_it_was_written(number, data):
    body = data.draw(BODY_OF[number])
    assert type(body) is list(BODIES.values())[number]
    assert type(body).decode(body.encode()) == body


def test_the_least_and_the_most_of_a_body_can_be_built():
    for name in (b"x", bytes(512)):
        assert SetName.decode(SetName(bytes(16), name).encode()).sealed_name == name
    least = Snapshot(1, bytes(32), 1, bytes(32), bytes(32))
    assert Snapshot.decode(least.encode()) == least


@given(NUMBERS.filter(lambda n: n > 1), B32, st.text(min_size=1, max_size=8), st.binary(max_size=600), B32)
def test_a_record_is_read_back_as_it_was_written(seq, prev_hash, kind, body, signer):
    record = Record(seq, prev_hash, kind, body, signer, bytes(64))
    assert Record.decode(record.encode()) == record


def test_making_a_record_is_deterministic():
    assert HERE.records == tuple(Record.decode(record.encode()) for record in HERE.records)
    assert HERE.records == type(HERE)("here").records


def test_the_hash_covers_the_signature():
    other = replace(EPOCH_1, sig=bytes(64))
    assert other.hash != EPOCH_1.hash


def test_a_record_verifies_for_its_mesh_only():
    EPOCH_1.verify(HERE.mesh_id)
    with pytest.raises(BadSignature):
        EPOCH_1.verify(ELSEWHERE.mesh_id)


def test_a_mesh_id_belongs_to_one_genesis_record_with_its_signature():
    assert mesh_id_of(HERE.genesis_record) == HERE.mesh_id
    assert mesh_id_of(replace(HERE.genesis_record, sig=bytes(64))) != HERE.mesh_id
    for record in (EPOCH_1, make_record(None, "epoch", b"", HERE.key("alice"), None)):
        with pytest.raises(BadEncoding):
            mesh_id_of(record)


def test_an_invite_id_is_the_hash_of_the_record_that_opened_it():
    assert invite_id_of(HERE.records[2]) == HERE.records[2].hash
    with pytest.raises(BadEncoding):
        invite_id_of(EPOCH_1)


def test_a_commitment_fits_one_mesh_epoch_and_key():
    key = bytes(32)
    first = epoch_kc(HERE.mesh_id, 1, key)
    assert len({first, epoch_kc(HERE.mesh_id, 2, key), epoch_kc(ELSEWHERE.mesh_id, 1, key)}) == 3
    assert first != epoch_kc(HERE.mesh_id, 1, bytes(31) + b"\1")
    with pytest.raises(BadEncoding):
        epoch_kc(HERE.mesh_id, 1, bytes(31))


def test_a_record_above_the_limit_is_neither_made_nor_parsed():
    previous, key = EPOCH_1, HERE.key("alice")
    for size in (MAX_RECORD - 100, MAX_RECORD + 1):
        with pytest.raises(BadEncoding, match="above"):
            make_record(previous, "epoch", bytes(size), key, HERE.mesh_id)
    with pytest.raises(BadEncoding, match="above"):
        Record.decode(bytes(MAX_RECORD + 1))
    assert len(HERE.genesis_record.encode()) < MAX_RECORD


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 0},
        {"seq": 2**63},
        {"prev_hash": b""},
        {"seq": 1},
        {"type": ""},
        {"type": "t" * 33},
        {"signer": bytes(31)},
        {"sig": bytes(63)},
        {"body": bytes(MAX_RECORD + 1)},
    ],
    ids=str,
)
def test_a_record_outside_its_limits_cannot_be_built(change):
    with pytest.raises(BadEncoding):
        replace(EPOCH_1, **change)


def genesis(**changes):
    return replace(HERE.genesis, **changes)


@pytest.mark.parametrize(
    "build",
    [
        lambda: genesis(salt=bytes(15)),
        lambda: genesis(member_id=bytes(17)),
        lambda: genesis(device=b""),
        lambda: genesis(recovery_pub=b""),
        lambda: genesis(broker_key=bytes(31)),
        lambda: genesis(broker_urls=()),
        lambda: genesis(broker_urls=("local:",) * 9),
        lambda: genesis(broker_urls=("http://x",)),
        lambda: genesis(sealed_mesh_name=b""),
        lambda: genesis(sealed_member_name=bytes(513)),
        lambda: Epoch(0, bytes(32)),
        lambda: Epoch(1, bytes(31)),
        lambda: AddMember(HERE.member("x"), "king", HERE.key("x").public, b"x", b""),
        lambda: AddMember(HERE.member("x"), "admin", HERE.key("x").public, b"", b""),
        lambda: AddMember(HERE.member("x"), "admin", HERE.key("x").public, b"x", bytes(31)),
        lambda: AddDevice(bytes(15), HERE.key("x").public),
        lambda: AddDevice(HERE.member("x"), bytes(33)),
        lambda: InviteOpen(bytes(31), "member", 1, NOW_MS, False),
        lambda: InviteOpen(bytes(32), "", 1, NOW_MS, False),
        lambda: InviteOpen(bytes(32), "member", 0, NOW_MS, False),
        lambda: InviteOpen(bytes(32), "member", 1_001, NOW_MS, False),
        lambda: InviteOpen(bytes(32), "member", 1, -1, False),
        lambda: InviteClose(bytes(31)),
        lambda: RemoveMember(bytes(15), False),
        lambda: Unban(bytes(17)),
        lambda: RevokeDevice(bytes(31), ()),
        lambda: RevokeDevice(bytes(32), (bytes(31),)),
        lambda: RevokeDevice(bytes(32), (bytes(32), bytes(32))),
        lambda: RevokeDevice(bytes(32), (b"b" * 32, b"a" * 32)),
        lambda: RevokeDevice(bytes(32), tuple(number.to_bytes(32, "big") for number in range(MAX_KEPT + 1))),
        lambda: AddSigner(bytes(31)),
        lambda: RemoveSigner(bytes(33)),
        lambda: SetRole(bytes(15), "member"),
        lambda: SetRole(bytes(16), "guest"),
        lambda: Policy(bytes(15), ()),
        lambda: Policy(bytes(16), ("everything",)),
        lambda: SetName(bytes(15), b"x"),
        lambda: SetName(bytes(16), b""),
        lambda: BrokerKey(bytes(31), ("local:",)),
        lambda: BrokerKey(bytes(32), ()),
        lambda: BrokerKey(bytes(32), ("http://x",)),
        lambda: Snapshot(0, bytes(32), 1, bytes(32), bytes(32)),
        lambda: Snapshot(1, bytes(31), 1, bytes(32), bytes(32)),
        lambda: Snapshot(1, bytes(32), 0, bytes(32), bytes(32)),
        lambda: Snapshot(1, bytes(32), 1, bytes(31), bytes(32)),
        lambda: Snapshot(1, bytes(32), 1, bytes(32), bytes(31)),
        lambda: Resolve(bytes(31), 0, bytes(32)),
        lambda: Resolve(bytes(32), -1, bytes(32)),
        lambda: Resolve(bytes(32), 0, bytes(33)),
    ],
)
def test_a_body_outside_its_limits_cannot_be_built(build):
    with pytest.raises(BadEncoding):
        build()


def test_a_flag_is_one_byte_0_or_1():
    good = HERE.invite_open
    for flag in (b"", b"\x02", b"\x00\x00", b"true"):
        body = lst(good.invite_pub, b"admin", bytes(7) + b"\0", bytes(8), flag)
        with pytest.raises(BadEncoding):
            InviteOpen.decode(body)
        with pytest.raises(BadEncoding):
            RemoveMember.decode(lst(bytes(16), flag))


def test_every_type_has_a_body_of_its_own_that_knows_its_type():
    assert len(set(BODIES.values())) == len(BODIES) == 17
    assert [type_of(body) for body in (HERE.genesis, HERE.invite_open)] == ["genesis", "invite_open"]
    with pytest.raises(TypeError):
        BODIES["robot"] = Genesis


def test_as_many_devices_as_one_revocation_may_keep_fit_a_record():
    kept = tuple(number.to_bytes(32, "big") for number in range(MAX_KEPT))
    body = RevokeDevice(bytes(32), kept)
    assert RevokeDevice.decode(body.encode()) == body
    make_record(EPOCH_1, "revoke_device", body.encode(), HERE.key("alice"), HERE.mesh_id)


def test_an_unknown_type_has_no_body():
    with pytest.raises(BadEncoding, match="update meshd"):
        decode_body(replace(EPOCH_1, type="robot"))


def test_roles_are_ranked():
    assert rank("member") < rank("admin") < rank("owner")
    with pytest.raises(BadEncoding):
        rank("root")


@pytest.mark.parametrize("url", ["local:", "ws://127.0.0.1:1/", "wss://b.example/p?q", "ws://[::1]:80"])
def test_broker_urls_that_may_stand_in_a_chain(url):
    require_broker_url(url)


@pytest.mark.parametrize(
    "url", ["", "local", "ws:/x", "WSS://x", "http://x", "wss://a b", "wss://ä", "wss://x\n", "wss://" + "x" * 251]
)
def test_broker_urls_that_may_not(url):
    with pytest.raises(BadEncoding):
        require_broker_url(url)
