"""Removing members and revoking devices: who may, what goes along, what may come back."""

from dataclasses import replace

import pytest

from chain_story import Story, founded, peopled
from mesh_protocol.chain import type_of
from mesh_protocol.members import MAX_RUN, REASONS, ChainError, extend, settled
from mesh_samples import HERE

TEAM = peopled()
DEVICES = ("alice", "alice phone", "bob", "bob laptop", "carol", "dave")


def refused(reason: str, story: Story, signer: str, *bodies, tag: str = ""):
    with pytest.raises(ChainError) as raised:
        story.tell(signer, *bodies, tag=tag).state  # noqa: B018 - the state is where the chain is judged
    assert raised.value.reason == reason
    assert REASONS[reason] in str(raised.value)


def test_a_removed_member_is_a_former_one_and_his_devices_are_not_active():
    story = TEAM.tell("alice", TEAM.remove("bob"))
    bob = HERE.member("bob")
    former = story.state.former[bob]
    assert story.device_names(*DEVICES) == ["alice", "alice phone", "carol", "dave"]
    assert (former.role, former.banned, former.removed_seq) == ("admin", False, story.last.seq - 1)
    assert bob not in story.state.members
    assert former.permissions == frozenset()
    assert story.state.active_devices(bob) == ()
    assert story.state.member_of(HERE.key("bob laptop").public) == former
    assert story.state.signers == {HERE.key("alice").public}
    assert story.state.epoch == TEAM.state.epoch + 1
    device = story.state.devices[HERE.key("bob").public]
    assert (device.active, device.revoked, device.ended_seq) == (False, False, former.removed_seq)
    # The older state is another thing, and unchanged.
    assert TEAM.state.members[bob].removed_seq == 0
    assert TEAM.is_active("bob")


def test_a_removal_ends_with_the_epoch_of_its_signer():
    removal, epoch = TEAM.make("alice", TEAM.remove("bob"))
    by_bob = TEAM.samples.record(removal, "epoch", epoch.body, "bob")
    for records in ([removal], [removal, by_bob]):
        with pytest.raises(ChainError, match="lacks the epoch"):
            extend(TEAM.state, records)
    assert settled([removal]) == 0
    assert settled([removal, epoch]) == 2


def test_a_member_who_may_not_manage_permissions_removes_nobody():
    signed = TEAM.tell("alice", TEAM.add_signer("carol"))
    refused("not_permitted", signed, "carol", TEAM.remove("dave"))
    refused("wrong_signer", TEAM, "carol", TEAM.remove("dave"))
    refused("wrong_signer", TEAM, "bob laptop", TEAM.remove("dave"))
    refused("wrong_signer", TEAM, "stranger", TEAM.remove("dave"))
    refused("wrong_signer", TEAM, "broker", TEAM.remove("dave"))


def test_an_admin_removes_members_and_admins_and_no_owner():
    admins = TEAM.tell("alice", TEAM.set_role("carol", "admin"))
    assert not admins.tell("bob", TEAM.remove("carol")).is_active("carol")
    refused("role_too_high", TEAM, "bob", TEAM.remove("alice"))
    refused("role_too_high", TEAM, "bob", TEAM.revoke("alice phone"))


def test_nobody_signs_his_own_removal():
    refused("own_removal", TEAM, "bob", TEAM.remove("bob"))
    refused("own_removal", TEAM, "alice", TEAM.remove("alice"))
    refused("own_removal", TEAM, "bob", TEAM.revoke("bob", "bob laptop"))
    refused("own_removal", TEAM, "alice", TEAM.revoke("alice"))


def test_a_removed_member_is_removed_once_and_signs_nothing_more():
    story = TEAM.tell("alice", TEAM.remove("bob"))
    refused("unknown_member", story, "alice", TEAM.remove("bob"))
    refused("unknown_member", TEAM, "alice", TEAM.remove("stranger"))
    refused("unknown_device", story, "alice", TEAM.revoke("bob"))
    for body in (
        story.remove("dave"),
        story.open_invite(),
        story.add_signer("carol"),
        story.set_role("carol", "admin"),
    ):
        refused("wrong_signer", story, "bob", body)
    refused("unknown_member", story, "alice", story.set_role("bob", "owner"))
    refused("unknown_member", story, "alice", story.set_name("bob", "bobby"))
    refused("unknown_member", story, "bob laptop", story.add_device("bob", "bob phone"))
    refused("unknown_device", story, "alice", story.add_signer("bob"))
    refused("unknown_signer", story, "alice", story.remove_signer("bob"))


def test_who_was_removed_may_be_admitted_anew_as_another_member_with_the_same_device():
    gone = TEAM.tell("alice", TEAM.remove("bob"))
    refused("duplicate_member", gone, "alice", gone.add_member("bob"))
    back = gone.tell("alice", replace(gone.add_member("bob"), member_id=HERE.member("bob again")))
    assert back.device_names("bob", "bob laptop") == ["bob"]
    assert back.state.member_of(HERE.key("bob").public).member_id == HERE.member("bob again")
    assert back.state.active_devices(HERE.member("bob")) == ()
    refused("duplicate_device", back, "alice", back.add_member("erin", device="bob"))
    # His other device may come too, by his own hand.
    both = back.tell("bob", replace(back.add_device("bob", "bob laptop"), member_id=HERE.member("bob again")))
    assert both.is_active("bob laptop")


def test_a_banned_members_devices_stay_out_until_he_is_unbanned():
    banned = TEAM.tell("alice", TEAM.remove("bob", ban=True))
    again = replace(banned.add_member("bob"), member_id=HERE.member("bob again"))
    refused("banned", banned, "alice", again)
    refused("banned", banned, "carol", banned.add_device("carol", "bob laptop"))
    unbanned = banned.tell("alice", banned.unban("bob"))
    assert unbanned.tell("alice", again).is_active("bob")
    assert HERE.member("bob") in unbanned.state.former
    refused("not_banned", unbanned, "alice", banned.unban("bob"))
    refused("not_banned", TEAM, "alice", TEAM.unban("bob"))
    refused("wrong_signer", banned, "carol", banned.unban("bob"))


def test_who_was_removed_can_be_banned_afterwards():
    banned = TEAM.tell("alice", TEAM.remove("bob")).tell("alice", TEAM.remove("bob", ban=True))
    assert banned.state.former[HERE.member("bob")].banned
    refused("unknown_member", banned, "alice", TEAM.remove("bob", ban=True))
    gone = TEAM.tell("alice", TEAM.remove("bob"))
    with pytest.raises(ChainError, match="lacks the epoch"):
        extend(gone.state, gone.make("alice", gone.remove("bob", ban=True))[:1])


def test_an_admin_neither_bans_nor_unbans_a_former_owner():
    gone = TEAM.tell("alice", TEAM.set_role("carol", "owner")).tell("alice", TEAM.remove("carol"))
    refused("role_too_high", gone, "bob", gone.remove("carol", ban=True))
    banned = gone.tell("alice", gone.remove("carol", ban=True))
    refused("role_too_high", banned, "bob", banned.unban("carol"))


def test_every_removal_closes_the_open_invites():
    for change in (TEAM.remove("dave"), TEAM.revoke("bob laptop"), TEAM.revoke("alice phone")):
        story = TEAM.tell("alice", TEAM.open_invite(uses=3))
        (invite_id,) = story.state.invites
        assert story.state.invites[invite_id].open
        closed = story.tell("alice", change)
        assert not closed.state.invites[invite_id].open
        refused("invite_used_up", closed, "alice", closed.add_member("erin", invite=invite_id))


def test_an_invite_is_closed_by_who_may_invite_and_only_once():
    story = TEAM.tell("alice", TEAM.open_invite(role="owner"))
    (invite_id,) = story.state.invites
    refused("role_too_high", story, "bob", story.close_invite(invite_id))
    refused("wrong_signer", story, "carol", story.close_invite(invite_id))
    closed = story.tell("alice", story.close_invite(invite_id))
    assert not closed.state.invites[invite_id].open
    refused("invite_used_up", closed, "alice", closed.close_invite(invite_id))
    refused("unknown_invite", TEAM, "alice", TEAM.close_invite(invite_id))


# One device.


def test_a_members_own_device_revokes_another_of_his_for_good():
    story = TEAM.tell("bob laptop", TEAM.revoke("bob", "bob laptop"))
    assert story.device_names(*DEVICES) == ["alice", "alice phone", "bob laptop", "carol", "dave"]
    assert story.state.devices[HERE.key("bob").public].revoked
    assert story.state.signers == {HERE.key("alice").public}
    assert story.state.members[HERE.member("bob")].role == "admin"
    refused("duplicate_device", story, "bob laptop", story.add_device("bob", "bob"))
    removed = story.tell("alice", story.remove("bob"))
    for name in ("bob", "bob laptop"):
        back = replace(removed.add_member("bob", device=name), member_id=HERE.member("bob again"))
        if name == "bob":
            refused("duplicate_device", removed, "alice", back)
        else:
            assert removed.tell("alice", back).is_active("bob laptop")


def test_a_device_takes_along_what_it_added_unless_kept_by_name():
    # bob -> bob laptop -> bob phone -> bob tablet
    story = TEAM.tell("bob laptop", TEAM.add_device("bob", "bob phone"))
    story = story.tell("bob phone", story.add_device("bob", "bob tablet"))
    chain = ("bob", "bob laptop", "bob phone", "bob tablet")
    assert story.tell("alice", story.revoke("bob")).device_names(*chain) == []
    assert story.tell("alice", story.revoke("bob phone")).device_names(*chain) == ["bob", "bob laptop"]
    kept = story.tell("alice", story.revoke("bob", "bob phone"))
    assert kept.device_names(*chain) == ["bob phone", "bob tablet"]
    first = story.tell("alice", story.revoke("bob", "bob laptop"))
    assert first.device_names(*chain) == ["bob laptop", "bob phone", "bob tablet"]
    assert story.tell("alice", story.revoke("bob", "bob tablet")).device_names(*chain) == ["bob tablet"]


def test_what_would_go_along_is_known_before():
    story = TEAM.tell("bob laptop", TEAM.add_device("bob", "bob phone"))
    along = {name: {HERE.key(each).public for each in added} for name, added in ADDED.items()}
    for name, expected in along.items():
        assert story.state.added_by(HERE.key(name).public) == expected
    assert story.state.added_by(bytes(32)) == frozenset()


ADDED = {"alice": ["alice phone"], "bob": ["bob laptop", "bob phone"], "bob laptop": ["bob phone"], "carol": []}


def test_only_what_would_go_along_can_be_kept():
    for kept in ("bob", "carol", "alice phone", "stranger"):
        refused("unknown_device", TEAM, "alice", TEAM.revoke("bob", kept))
    # What a kept device added stays anyway, and is not named.
    story = TEAM.tell("bob laptop", TEAM.add_device("bob", "bob phone"))
    refused("unknown_device", story, "alice", story.revoke("bob", "bob laptop", "bob phone"))


def test_a_device_that_would_go_along_signs_only_if_it_is_kept():
    refused("own_removal", TEAM, "bob laptop", TEAM.revoke("bob"))
    assert TEAM.tell("bob laptop", TEAM.revoke("bob", "bob laptop")).is_active("bob laptop")


def test_members_are_not_taken_along_with_the_device_that_admitted_them():
    story = TEAM.tell("alice", TEAM.revoke("bob"))
    assert story.device_names(*DEVICES) == ["alice", "alice phone", "carol", "dave"]


def test_who_may_revoke_another_members_device():
    for signer, reason in (("carol", "wrong_signer"), ("bob laptop", "wrong_signer"), ("stranger", "wrong_signer")):
        refused(reason, TEAM, signer, TEAM.revoke("dave"))
    assert not TEAM.tell("bob", TEAM.revoke("dave")).is_active("dave")
    refused("unknown_device", TEAM, "alice", TEAM.revoke("stranger"))


def test_a_signer_gives_a_device_to_a_member_who_has_none_left():
    refused("wrong_signer", TEAM, "alice", TEAM.add_device("carol", "carol new"))
    stranded = TEAM.tell("alice", TEAM.revoke("carol"))
    assert stranded.state.active_devices(HERE.member("carol")) == ()
    refused("wrong_signer", stranded, "dave", stranded.add_device("carol", "carol new"))
    for signer in ("alice", "bob", "recovery"):
        assert stranded.tell(signer, stranded.add_device("carol", "carol new")).is_active("carol new")
    lost = stranded.tell("alice", stranded.set_role("carol", "owner"))
    refused("role_too_high", lost, "bob", lost.add_device("carol", "carol new"))


def test_what_a_signers_device_added_for_another_member_goes_along_with_it():
    story = TEAM.tell("alice", TEAM.revoke("carol"))
    story = story.tell("bob", story.add_device("carol", "carol new"))
    assert story.tell("alice", story.revoke("bob", "bob laptop")).device_names("carol new") == []
    assert story.tell("alice", story.revoke("bob", "bob laptop", "carol new")).is_active("carol new")
    risen = story.tell("alice", story.set_role("carol", "owner"))
    # bob, an admin, cannot take an owner's device with him, whoever of his own signs.
    refused("role_too_high", risen, "bob laptop", risen.revoke("bob", "bob laptop"))
    assert risen.tell("bob laptop", risen.revoke("bob", "bob laptop", "carol new")).is_active("carol new")


def test_the_last_owners_signer_stays():
    refused("last_signer", TEAM, "alice phone", TEAM.revoke("alice", "alice phone"))
    refused("last_signer", TEAM, "alice", TEAM.remove_signer("alice"))
    refused("last_signer", TEAM, "alice", TEAM.set_role("alice", "admin"))
    two = TEAM.tell("alice", TEAM.add_signer("alice phone"))
    left = two.tell("alice phone", two.revoke("alice", "alice phone"))
    assert HERE.key("alice phone").public in left.state.signers
    refused("last_signer", two, "alice", two.set_role("alice", "admin"))
    others = two.tell("alice", two.set_role("bob", "owner"))
    lowered = others.tell("alice", others.set_role("alice", "member"))
    assert lowered.state.members[HERE.member("alice")].role == "member"


def test_the_recovery_key_takes_even_the_last_owners_signer_and_begins_anew():
    story = founded()
    alone = story.tell("recovery", story.revoke("alice"))
    assert alone.state.signers == frozenset()
    new = alone.tell("recovery", alone.add_device("alice", "alice new")).tell("recovery", alone.add_signer("alice new"))
    assert new.state.may(HERE.key("alice new").public, "delete_mesh")
    assert new.tell("alice new", new.open_invite()).state.invites
    assert not TEAM.tell("recovery", TEAM.remove("alice")).is_active("alice")
    demoted = TEAM.tell("recovery", TEAM.set_role("alice", "member"))
    # A mesh without an owner's signer goes on: it cannot lose what it has not.
    assert not demoted.tell("bob", demoted.remove("alice")).is_active("alice")


# Several in one append.


def test_several_removals_share_one_epoch():
    story = TEAM.tell("alice", TEAM.remove("bob"), TEAM.revoke("carol"), TEAM.remove("dave", ban=True))
    assert story.device_names(*DEVICES) == ["alice", "alice phone"]
    assert story.state.epoch == TEAM.state.epoch + 1
    assert settled(story.records[:-1]) == len(TEAM.records)


def test_an_append_with_removals_holds_nothing_else():
    removal = TEAM.make("alice", TEAM.remove("bob"))[0]
    for other in (TEAM.open_invite(), TEAM.add_member("erin"), TEAM.add_signer("carol")):
        record = HERE.record(removal, type_of(other), other.encode(), "alice")
        with pytest.raises(ChainError) as raised:
            extend(TEAM.state, [removal, record])
        assert raised.value.reason == "epoch_missing"
    by_another = HERE.record(removal, "remove_member", TEAM.remove("dave").encode(), "recovery")
    with pytest.raises(ChainError) as raised:
        extend(TEAM.state, [removal, by_another])
    assert raised.value.reason == "epoch_missing"


def test_an_append_is_no_longer_than_a_reader_holds():
    story = founded()
    for number in range(MAX_RUN + 1):
        story = story.tell("alice", story.add_member(f"guest {number}"))
    removals = [story.remove(f"guest {number}") for number in range(MAX_RUN + 1)]
    assert len(story.tell("alice", *removals[:-1]).state.members) == 2
    refused("epoch_missing", story, "alice", *removals)


def test_genesis_is_followed_by_its_epoch_and_nothing_else():
    genesis = HERE.genesis_record
    device = HERE.record(genesis, "add_device", TEAM.add_device("alice", "alice phone").encode(), "alice")
    with pytest.raises(ChainError) as raised:
        extend(None, [genesis, device, HERE.record(device, "epoch", HERE.epoch_body(1), "alice")])
    assert raised.value.reason == "epoch_missing"
