"""A new epoch: one append with its seals, who is left out, and who asks for keys."""

from dataclasses import replace

import pytest

from chain_story import Story, peopled
from mesh_protocol.key_request import (
    MAX_KEY_REQUEST,
    KeyRequest,
    answer_key_request,
    open_key_request,
    sign_key_request,
)
from mesh_protocol.keys import BadCiphertext, BadEncoding, BadPeerKey, BadSignature, SignedPrekey
from mesh_protocol.members import ChainError, extend
from mesh_protocol.rotation import Rotation, rotate
from mesh_protocol.seals import BadEpochKey, MeshKeys, check_epoch_keys, open_keys
from mesh_samples import ELSEWHERE, HERE, NOW_MS

TEAM = peopled()
NAMES = ("alice phone", "bob", "bob laptop", "carol", "dave")
KEYS = MeshKeys(HERE.seed("name key"), {number: HERE.seed(f"epoch {number}") for number in range(1, 4)})
NEW_KEY = HERE.seed("fresh")


def prekeys(*names: str):
    return {HERE.key(name).public: HERE.spk(name) for name in names}


def rotated(*changes, story: Story = TEAM, signer: str = "alice", known=NAMES, **other) -> Rotation:
    arguments = {
        "key": HERE.key(signer),
        "keys": KEYS,
        "new_key": NEW_KEY,
        "prekeys": prekeys(*known),
        "tip": HERE.tip,
        **other,
    }
    return rotate(story.state, story.last, changes, **arguments)


def to(rotation: Rotation, name: str):
    (seal,) = [seal for seal in rotation.seals if seal.to_device == HERE.key(name).public]
    return seal


def test_a_removal_is_one_append_with_a_seal_for_each_who_stays():
    rotation = rotated(TEAM.remove("bob"))
    assert [record.type for record in rotation.records] == ["remove_member", "epoch"]
    assert extend(TEAM.state, rotation.records) == rotation.state
    assert rotation.state.epoch == 4
    assert {seal.to_device for seal in rotation.seals} == {HERE.key(n).public for n in ("alice phone", "carol", "dave")}
    assert rotation.unsealed == ()
    for name in ("alice phone", "carol", "dave"):
        keys, tip = open_keys(to(rotation, name), HERE.prekey(name), HERE.mesh_id)
        check_epoch_keys(rotation.state, keys)
        assert (keys.epochs, tip) == ({4: NEW_KEY}, HERE.tip)
    check_epoch_keys(rotation.state, rotation.keys)
    assert rotation.keys.epochs == {**KEYS.epochs, 4: NEW_KEY}


def test_no_seal_of_a_removal_opens_for_the_removed():
    rotation = rotated(TEAM.remove("bob"))
    for seal in rotation.seals:
        for name in ("bob", "bob laptop"):
            with pytest.raises(BadCiphertext):
                open_keys(seal, HERE.prekey(name), HERE.mesh_id)
            with pytest.raises(BadCiphertext):
                open_keys(replace(seal, to_device=HERE.key(name).public), HERE.prekey(name), HERE.mesh_id)


def test_a_device_without_a_usable_prekey_is_named():
    low_order = replace(HERE.spk("dave"), pub=bytes(32))
    foreign = ELSEWHERE.spk("carol")
    known = {
        **prekeys("alice phone"),
        HERE.key("dave").public: low_order,
        HERE.key("carol").public: replace(foreign, device=HERE.key("carol").public),
    }
    rotation = rotated(TEAM.revoke("bob laptop"), prekeys=known)
    assert [seal.to_device for seal in rotation.seals] == [HERE.key("alice phone").public]
    assert rotation.unsealed == tuple(sorted(HERE.key(name).public for name in ("bob", "carol", "dave")))
    crossed = rotated(TEAM.remove("bob"), prekeys={HERE.key("dave").public: HERE.spk("carol")})
    assert HERE.key("dave").public in crossed.unsealed
    assert crossed.seals == ()


def test_a_new_device_is_sealed_all_keys_and_the_others_only_the_new_one():
    rotation = rotated(TEAM.add_device("bob", "bob phone"), signer="bob", known=(*NAMES, "bob phone"))
    new, _ = open_keys(to(rotation, "bob phone"), HERE.prekey("bob phone"), HERE.mesh_id)
    check_epoch_keys(rotation.state, new)
    assert new.epochs == {**KEYS.epochs, 4: NEW_KEY}
    old, _ = open_keys(to(rotation, "carol"), HERE.prekey("carol"), HERE.mesh_id)
    assert old.epochs == {4: NEW_KEY}


def test_the_signer_seals_to_itself_too_if_it_has_a_prekey_at_hand():
    rotation = rotated(TEAM.remove("bob"), known=("alice", *NAMES))
    keys, _ = open_keys(to(rotation, "alice"), HERE.prekey("alice"), HERE.mesh_id)
    assert keys.epochs == {4: NEW_KEY}
    assert HERE.key("alice").public not in rotated(TEAM.remove("bob"), known=()).unsealed


def test_a_new_key_alone_is_a_rotation_too():
    rotation = rotated()
    assert [record.type for record in rotation.records] == ["epoch"]
    assert rotation.state.members == TEAM.state.members
    assert len(rotation.seals) == 5


def test_what_the_chain_does_not_allow_is_not_sealed():
    for signer, change in (("carol", TEAM.remove("dave")), ("alice", TEAM.remove("alice"))):
        with pytest.raises(ChainError):
            rotated(change, signer=signer)
    with pytest.raises(BadEncoding):
        rotated(TEAM.remove("bob"), new_key=bytes(31))


def test_a_rotation_prints_no_key():
    assert NEW_KEY.hex() not in repr(rotated(TEAM.remove("bob")))
    assert repr(NEW_KEY) not in repr(rotated(TEAM.remove("bob")))


def test_a_false_key_in_a_seal_is_never_taken():
    rotation = rotated(TEAM.remove("bob"))
    for keys in (
        MeshKeys(KEYS.name_key, {4: HERE.seed("false")}),
        MeshKeys(KEYS.name_key, {3: NEW_KEY}),
        MeshKeys(KEYS.name_key, {5: NEW_KEY}),
        MeshKeys(HERE.seed("false name key"), {4: NEW_KEY}),
    ):
        with pytest.raises(BadEpochKey):
            check_epoch_keys(rotation.state, keys)
    with pytest.raises(BadEpochKey):  # on the chain before it, it is not a key yet
        check_epoch_keys(TEAM.state, MeshKeys(KEYS.name_key, {4: NEW_KEY}))


# Asking.


def request(name: str = "carol", **changes) -> KeyRequest:
    made = KeyRequest(HERE.mesh_id, HERE.key(name).public, 4, HERE.spk(name), HERE.tip, b"")
    return replace(made, **changes)


AFTER = rotated(TEAM.remove("bob"), known=("alice phone", "dave"))


def test_a_device_that_was_not_sealed_to_asks_any_member_and_believes_the_chain():
    assert HERE.key("carol").public in AFTER.unsealed
    asked = open_key_request(sign_key_request(request(), HERE.key("carol")), AFTER.state)
    assert asked == request()
    seal = answer_key_request(asked, AFTER.state, AFTER.keys, HERE.tip)
    keys, _ = open_keys(seal, HERE.prekey("carol"), HERE.mesh_id)
    check_epoch_keys(AFTER.state, keys)
    assert keys.epochs == {4: NEW_KEY}


def test_it_is_answered_with_what_it_lacks_and_what_is_there():
    for first, epochs in ((1, {1, 2, 3, 4}), (3, {3, 4}), (4, {4})):
        seal = answer_key_request(request(first_epoch=first), AFTER.state, AFTER.keys, HERE.tip)
        keys, _ = open_keys(seal, HERE.prekey("carol"), HERE.mesh_id)
        assert set(keys.epochs) == epochs
    seal = answer_key_request(request(first_epoch=2), AFTER.state, KEYS, HERE.tip)
    assert seal.epoch == 3
    with pytest.raises(BadEpochKey):
        answer_key_request(request(first_epoch=5), AFTER.state, AFTER.keys, HERE.tip)


def test_a_bad_seal_is_named_by_its_hash():
    asked = request(bad_seal=HERE.seed("a seal"))
    assert open_key_request(sign_key_request(asked, HERE.key("carol")), AFTER.state).bad_seal == HERE.seed("a seal")
    with pytest.raises(BadEncoding):
        request(bad_seal=bytes(31))


def test_who_is_removed_or_a_stranger_is_answered_by_nobody():
    for name in ("bob", "bob laptop", "stranger"):
        data = sign_key_request(request(name), HERE.key(name))
        with pytest.raises(BadPeerKey, match="none of this mesh"):
            open_key_request(data, AFTER.state)
    with pytest.raises(BadPeerKey, match="removed"):
        answer_key_request(request("bob"), AFTER.state, AFTER.keys, HERE.tip)
    # What was asked before the removal is judged anew when it is answered.
    early = open_key_request(sign_key_request(request("bob"), HERE.key("bob")), TEAM.state)
    with pytest.raises(BadPeerKey):
        answer_key_request(early, AFTER.state, AFTER.keys, HERE.tip)


def test_a_request_for_another_mesh_or_signed_by_another_is_refused():
    elsewhere = KeyRequest(
        ELSEWHERE.mesh_id, ELSEWHERE.key("alice").public, 1, ELSEWHERE.spk("alice"), ELSEWHERE.tip, b""
    )
    with pytest.raises(BadPeerKey):
        open_key_request(sign_key_request(elsewhere, ELSEWHERE.key("alice")), AFTER.state)
    with pytest.raises(BadPeerKey):
        sign_key_request(request(), HERE.key("dave"))
    with pytest.raises(BadPeerKey):
        sign_key_request(request(spk=HERE.spk("dave")), HERE.key("carol"))
    good = request().bytes()
    with pytest.raises(BadSignature):
        open_key_request(good + HERE.key("dave").sign(good), AFTER.state)
    # A prekey that the asker did not sign is refused although he signed the request.
    spk = HERE.spk("carol")
    false = request(spk=SignedPrekey(spk.mesh_id, spk.device, spk.prekey_id, spk.pub, NOW_MS + 1, spk.sig)).bytes()
    with pytest.raises(BadSignature):
        open_key_request(false + HERE.key("carol").sign(false), AFTER.state)


def test_a_request_has_a_size_and_asks_for_an_epoch():
    assert len(sign_key_request(request(bad_seal=bytes(32)), HERE.key("carol"))) < MAX_KEY_REQUEST
    with pytest.raises(BadEncoding, match="above"):
        open_key_request(bytes(MAX_KEY_REQUEST + 1), AFTER.state)
    for wrong in ({"first_epoch": 0}, {"mesh_id": b""}, {"device": b""}):
        with pytest.raises(BadEncoding):
            request(**wrong)
