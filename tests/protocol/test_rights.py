"""Roles, permissions and policies; and the records that change names, signers, broker and snapshots."""

from dataclasses import replace

import pytest

from chain_story import Story, peopled
from mesh_protocol.chain import Policy, Resolve, type_of
from mesh_protocol.keys import BadEncoding
from mesh_protocol.members import MAX_SIGNERS, ChainError, extend
from mesh_protocol.rights import ALL, PERMISSIONS, ROLE_PERMISSIONS, effective, require_permissions
from mesh_samples import HERE

TEAM = peopled()
SIGNERS = TEAM.tell("alice", TEAM.add_signer("carol"))
"""carol, a member, signs too."""


def refused(reason: str, story: Story, signer: str, *bodies):
    with pytest.raises(ChainError) as raised:
        story.tell(signer, *bodies).state  # noqa: B018 - the state is where the chain is judged
    assert raised.value.reason == reason


def member(story: Story, name: str):
    return story.state.members[HERE.member(name)]


def test_what_the_roles_may_do():
    assert ROLE_PERMISSIONS["owner"] == ALL == set(PERMISSIONS)
    assert ALL - ROLE_PERMISSIONS["admin"] == {"delete_mesh"}
    assert ROLE_PERMISSIONS["member"] == {"send", "use_tools", "write_state"}
    assert list(PERMISSIONS) == sorted(PERMISSIONS)
    assert len(PERMISSIONS) == 11


def test_a_policy_counts_for_all_but_owners():
    assert effective("admin", frozenset({"send"})) == {"send"}
    assert effective("admin", frozenset()) == frozenset()
    assert effective("member", None) == ROLE_PERMISSIONS["member"]
    assert effective("owner", frozenset()) == ALL


def test_permissions_stand_in_rising_order_and_are_known():
    require_permissions(())
    require_permissions(PERMISSIONS)
    for wrong in (("send", "invite"), ("send", "send"), ("fly",), ("send", "zap")):
        with pytest.raises(BadEncoding):
            require_permissions(wrong)


def test_a_device_may_what_its_member_may_while_it_is_active():
    key = {name: HERE.key(name).public for name in ("alice phone", "bob", "carol", "stranger")}
    assert TEAM.state.may(key["alice phone"], "delete_mesh")
    assert TEAM.state.may(key["bob"], "invite")
    assert not TEAM.state.may(key["bob"], "delete_mesh")
    assert TEAM.state.may(key["carol"], "send")
    assert not TEAM.state.may(key["carol"], "invite")
    assert not TEAM.state.may(key["stranger"], "send")
    assert not TEAM.tell("alice", TEAM.revoke("carol")).state.may(key["carol"], "send")
    assert not TEAM.tell("alice", TEAM.remove("carol")).state.may(key["carol"], "send")


def test_roles_are_set_by_who_manages_permissions_and_never_above_his_own():
    assert member(TEAM.tell("bob", TEAM.set_role("carol", "admin")), "carol").role == "admin"
    assert member(TEAM.tell("alice", TEAM.set_role("carol", "owner")), "carol").role == "owner"
    assert member(TEAM.tell("bob", TEAM.set_role("bob", "member")), "bob").role == "member"
    refused("role_too_high", TEAM, "bob", TEAM.set_role("carol", "owner"))
    refused("role_too_high", TEAM, "bob", TEAM.set_role("alice", "member"))
    refused("not_permitted", SIGNERS, "carol", SIGNERS.set_role("dave", "member"))
    refused("wrong_signer", TEAM, "dave", TEAM.set_role("dave", "admin"))
    refused("unknown_member", TEAM, "alice", TEAM.set_role("stranger", "member"))


def test_a_policy_gives_exactly_its_permissions_until_a_role_is_set():
    may = {"invite", "send", "use_tools", "write_state"}
    story = SIGNERS.tell("alice", SIGNERS.policy("carol", *may))
    assert member(story, "carol").permissions == may
    opened = story.tell("carol", story.open_invite())
    refused("not_permitted", story, "carol", story.remove("dave"))
    assert opened.state.invites
    reset = story.tell("alice", story.set_role("carol", "member"))
    assert member(reset, "carol").permissions == ROLE_PERMISSIONS["member"]
    assert member(reset, "carol").policy is None


def test_nobody_gives_what_he_may_not_do_himself():
    refused("not_permitted", TEAM, "bob", TEAM.policy("carol", "delete_mesh"))
    assert member(TEAM.tell("alice", TEAM.policy("bob", *PERMISSIONS)), "bob").permissions == ALL
    narrow = TEAM.tell("alice", TEAM.policy("bob", "invite", "manage_permissions", "send"))
    refused("not_permitted", narrow, "bob", narrow.policy("carol", "use_tools"))
    for body in (
        narrow.set_role("carol", "admin"),
        narrow.set_role("bob", "admin"),
        narrow.set_role("carol", "member"),
        narrow.add_member("erin"),
        narrow.open_invite(),
    ):
        refused("not_permitted", narrow, "bob", body)
    assert member(narrow.tell("bob", narrow.policy("bob", "send")), "bob").permissions == {"send"}


def test_an_owner_may_everything_and_no_policy_changes_that():
    refused("bad_policy", TEAM, "alice", TEAM.policy("alice", "send"))
    refused("role_too_high", TEAM, "bob", TEAM.policy("alice", "send"))
    refused("unknown_member", TEAM, "alice", TEAM.policy("stranger", "send"))
    refused("wrong_signer", TEAM, "carol", TEAM.policy("dave", "send"))


def test_a_policy_of_another_order_is_no_policy():
    with pytest.raises(BadEncoding):
        Policy(HERE.member("carol"), ("send", "invite"))


def test_a_removed_member_comes_back_without_his_policy():
    story = TEAM.tell("alice", TEAM.policy("carol", "invite")).tell("alice", TEAM.remove("carol"))
    back = story.tell("alice", replace(story.add_member("carol"), member_id=HERE.member("carol again")))
    assert member(back, "carol again").permissions == ROLE_PERMISSIONS["member"]


# Signers.


def test_signers_are_added_and_removed_by_who_manages_permissions():
    story = TEAM.tell("bob", TEAM.add_signer("dave"))
    assert HERE.key("dave").public in story.state.signers
    assert HERE.key("dave").public not in story.tell("bob", story.remove_signer("dave")).state.signers
    refused("duplicate_signer", story, "alice", story.add_signer("dave"))
    refused("not_permitted", SIGNERS, "carol", SIGNERS.add_signer("dave"))
    refused("not_permitted", SIGNERS, "carol", SIGNERS.remove_signer("carol"))
    refused("role_too_high", TEAM, "bob", TEAM.add_signer("alice phone"))
    refused("role_too_high", TEAM, "bob", TEAM.remove_signer("alice"))
    refused("unknown_device", TEAM, "alice", TEAM.add_signer("stranger"))
    refused("unknown_signer", TEAM, "alice", TEAM.remove_signer("carol"))
    assert HERE.key("bob").public not in TEAM.tell("bob", TEAM.remove_signer("bob")).state.signers


def test_a_signer_without_permissions_begins_an_epoch_and_admits_nobody():
    assert SIGNERS.tell("carol", SIGNERS.epoch(SIGNERS.state.epoch + 1)).state.epoch == SIGNERS.state.epoch + 1
    refused("not_permitted", SIGNERS, "carol", SIGNERS.add_member("erin"))
    refused("not_permitted", SIGNERS, "carol", SIGNERS.open_invite())
    opened = SIGNERS.tell("alice", SIGNERS.open_invite())
    refused("not_permitted", opened, "carol", opened.close_invite(next(iter(opened.state.invites))))
    refused("not_permitted", SIGNERS, "carol", SIGNERS.broker_key())


def test_a_mesh_has_at_most_sixty_four_signers():
    others = frozenset(bytes([number]) * 32 for number in range(MAX_SIGNERS - 2))
    full = replace(TEAM.state, signers=TEAM.state.signers | others)
    record = TEAM.make("alice", TEAM.add_signer("carol"))
    with pytest.raises(ChainError) as raised:
        extend(full, record)
    assert raised.value.reason == "too_many_signers"
    one_less = replace(TEAM.state, signers=TEAM.state.signers | set(list(others)[1:]))
    assert len(extend(one_less, record).signers) == MAX_SIGNERS


# Names, broker, snapshots, resolves.


def test_a_name_is_changed_by_the_members_own_device_or_by_who_manages_permissions():
    for signer, name in (("carol", "carol"), ("bob laptop", "bob"), ("bob", "carol"), ("alice", "bob")):
        story = TEAM.tell(signer, TEAM.set_name(name, "another"))
        assert member(story, name).sealed_name == HERE.sealed_name("another")
        assert member(TEAM, name).sealed_name == HERE.sealed_name(name)
    refused("wrong_signer", TEAM, "carol", TEAM.set_name("dave", "mallory"))
    refused("role_too_high", TEAM, "bob", TEAM.set_name("alice", "mallory"))
    refused("unknown_member", TEAM, "alice", TEAM.set_name("stranger", "x"))


def test_a_mesh_moves_to_another_broker():
    story = TEAM.tell("alice", TEAM.broker_key())
    assert story.state.broker_key == HERE.key("broker 2").public
    assert story.state.broker_urls == ("wss://elsewhere.example/mesh",)
    for key in ("alice", "bob laptop", "recovery"):
        refused("duplicate_device", TEAM, "alice", TEAM.broker_key(key))
    refused("duplicate_device", story, "alice", story.add_member("erin", device="broker 2"))
    refused("wrong_signer", TEAM, "carol", TEAM.broker_key())


def test_snapshots_rise():
    story = TEAM.tell("bob", TEAM.snapshot(10))
    assert story.state.snapshot == TEAM.snapshot(10)
    assert story.tell("alice", story.snapshot(11)).state.snapshot == TEAM.snapshot(11)
    for log_seq in (9, 10):
        refused("bad_snapshot", story, "alice", story.snapshot(log_seq))
    refused("wrong_signer", TEAM, "carol", TEAM.snapshot())


def test_a_resolve_names_the_head_it_stands_on_and_changes_nothing():
    story = TEAM.tell("bob", TEAM.resolve())
    assert story.state.members == TEAM.state.members
    assert story.state.seq == TEAM.state.seq + 1
    refused("bad_resolve", TEAM, "bob", Resolve(TEAM.records[-2].hash, 0, bytes(32)))
    refused("wrong_signer", TEAM, "carol", TEAM.resolve())
    assert TEAM.tell("recovery", TEAM.resolve(5)).state.seq == TEAM.state.seq + 1


@pytest.mark.parametrize(
    "body",
    [
        TEAM.set_name("bob", "robert"),
        TEAM.broker_key(),
        TEAM.snapshot(),
        TEAM.unban("bob"),
        TEAM.add_signer("carol"),
        TEAM.remove_signer("bob"),
        TEAM.set_role("bob", "member"),
        TEAM.policy("bob", "send"),
        TEAM.resolve(),
        TEAM.open_invite(),
        TEAM.remove("bob"),
        TEAM.revoke("bob"),
    ],
    ids=type_of,
)
def test_no_record_is_taken_from_a_stranger_the_broker_or_a_revoked_device(body):
    gone = TEAM.tell("alice", TEAM.revoke("bob laptop"))
    for signer in ("stranger", "broker", "bob laptop"):
        with pytest.raises(ChainError) as raised:
            gone.tell(signer, body).state  # noqa: B018
        assert raised.value.reason in ("wrong_signer", "not_banned")
