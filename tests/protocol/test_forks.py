"""Chains that part: the freeze, who may end it, and that the order in which records come changes nothing."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain_story import Story, founded, peopled
from mesh_protocol.chain import Epoch, Record, make_record
from mesh_protocol.chain_draft import MAX_RUN
from mesh_protocol.forks import Frozen, Head, Settled, Trunk, judge, standing, trace
from mesh_protocol.members import ChainError, extend
from mesh_samples import ELSEWHERE, HERE

TEAM = peopled()
LEFT = TEAM.tell("alice", TEAM.add_member("erin"))
RIGHT = TEAM.tell("bob", TEAM.add_member("frank"))


def judged(*stories: Story, also: tuple[Record, ...] = ()):
    return judge(HERE.mesh_id, [record for story in stories for record in story.records] + list(also))


def head(story: Story) -> Head:
    return Head(story.last.seq, story.last.hash)


def heads(*stories: Story) -> tuple[Head, ...]:
    return tuple(sorted(head(story) for story in stories))


def won(result, story: Story) -> bool:
    return isinstance(result, Settled) and result.state == story.state and result.records == story.records


def test_one_chain_is_settled_whatever_is_doubled():
    result = judged(TEAM, TEAM)
    assert won(result, TEAM)
    assert result.void == ()
    assert won(judged(LEFT, TEAM), LEFT)


def test_two_valid_records_on_one_head_freeze_the_mesh():
    result = judged(LEFT, RIGHT)
    assert isinstance(result, Frozen)
    assert result.heads == heads(LEFT, RIGHT)
    assert result.records == TEAM.records
    assert result.state == TEAM.state
    assert result.void == ()


def test_the_longer_branch_does_not_win():
    longer = LEFT.tell("alice", LEFT.open_invite()).tell("alice", LEFT.add_member("grace"))
    assert isinstance(judged(longer, RIGHT), Frozen)


def test_a_record_that_breaks_a_rule_makes_no_fork():
    forged = TEAM.make("carol", TEAM.add_member("mallory"))
    wrong = replace(RIGHT.last, sig=bytes(64))
    foreign = ELSEWHERE.records
    assert won(judged(LEFT, also=(*forged, wrong, *foreign)), LEFT)


def test_what_hangs_on_nothing_or_on_a_bad_record_does_not_count():
    bad = make_record(TEAM.last, "add_member", b"", HERE.key("alice"), HERE.mesh_id)
    after = make_record(bad, "invite_open", TEAM.open_invite().encode(), HERE.key("alice"), HERE.mesh_id)
    lost = RIGHT.tell("bob", RIGHT.open_invite()).last
    assert won(judged(TEAM, also=(bad, after, lost)), TEAM)
    # A chain that goes on after its last good record is as long as that.
    assert won(judged(LEFT, also=tuple(LEFT.make("carol", LEFT.remove("dave")))), LEFT)


def test_a_number_that_does_not_follow_makes_no_record_of_the_chain():
    assert won(judged(TEAM, also=(replace(LEFT.last, seq=LEFT.last.seq + 1),)), TEAM)


def test_without_the_first_append_there_is_no_chain():
    for records in (
        [],
        TEAM.records[1:],
        TEAM.records[:1],
        ELSEWHERE.records,
        [replace(TEAM.records[0], sig=bytes(64))],
    ):
        with pytest.raises(ChainError) as raised:
            judge(HERE.mesh_id, records)
        assert raised.value.reason == "no_genesis"


def test_half_an_append_is_not_there_yet():
    removal, epoch = TEAM.make("alice", TEAM.remove("bob"))
    assert won(judged(TEAM, also=(removal,)), TEAM)
    assert won(judged(TEAM, also=(epoch, removal)), TEAM.tell("alice", TEAM.remove("bob")))
    # Half an append beside a whole one is no fork.
    assert won(judged(LEFT, also=(removal,)), LEFT)


def test_two_epochs_on_one_removal_are_a_fork_at_the_record_before_it():
    one = TEAM.tell("alice", TEAM.remove("dave"))
    other = TEAM.tell("alice", TEAM.remove("dave"), tag="'")
    assert one.records[-2] == other.records[-2]
    result = judged(one, other)
    assert isinstance(result, Frozen)
    assert (result.records, result.state) == (TEAM.records, TEAM.state)
    assert won(judged(one.tell("bob", one.resolve()), other), one.tell("bob", one.resolve()))


def test_two_first_epochs_leave_nothing_in_common_and_only_the_recovery_key_decides():
    genesis = HERE.genesis_record
    other = Story(HERE, (genesis, HERE.record(genesis, "epoch", Epoch(1, bytes(32)).encode(), "alice")))
    mine = founded()
    result = judged(mine, other)
    assert isinstance(result, Frozen)
    assert (result.records, result.state) == ((), None)
    assert isinstance(judged(mine.tell("alice", mine.resolve()), other), Frozen)
    chosen = mine.tell("recovery", mine.resolve())
    assert won(judged(chosen, other), chosen)


def test_three_branches_are_all_named_and_the_common_part_is_that_of_all():
    deeper = LEFT.tell("alice", LEFT.add_member("grace"))
    other = LEFT.tell("bob", LEFT.add_member("heidi"))
    result = judged(deeper, other, RIGHT)
    assert result.heads == heads(deeper, other, RIGHT)
    assert result.records == TEAM.records


# Resolving.


def test_a_signer_of_the_common_ancestor_ends_the_fork():
    for story, other in ((LEFT, RIGHT), (RIGHT, LEFT)):
        for signer in ("alice", "bob"):
            chosen = story.tell(signer, story.resolve())
            result = judged(chosen, other)
            assert won(result, chosen)
            assert result.void == (head(other),)


def test_the_chain_goes_on_after_a_resolve_and_what_is_void_stays_void():
    chosen = LEFT.tell("alice", LEFT.resolve())
    later = chosen.tell("bob", chosen.add_member("grace"))
    grown = RIGHT.tell("bob", RIGHT.add_member("heidi"))
    assert won(judged(later, grown), later)
    late = TEAM.tell("bob", TEAM.add_member("ivan"))
    result = judged(later, grown, late)
    assert won(result, later)
    assert result.void == heads(grown, late)


def test_a_fork_above_a_resolve_is_a_new_fork():
    chosen = LEFT.tell("alice", LEFT.resolve())
    one, other = (chosen.tell("alice", chosen.add_member(name)) for name in ("grace", "heidi"))
    result = judged(one, other, RIGHT)
    assert isinstance(result, Frozen)
    assert result.heads == heads(one, other)
    assert result.records == chosen.records
    assert result.void == (head(RIGHT),)
    again = other.tell("bob", other.resolve())
    assert won(judged(one, again, RIGHT), again)


def test_no_branch_brings_its_own_judge():
    signer = LEFT.tell("alice", LEFT.add_signer("erin"))
    assert isinstance(judged(signer.tell("erin", signer.resolve()), RIGHT), Frozen)
    carol = LEFT.tell("alice", LEFT.add_signer("carol"))
    assert isinstance(judged(carol.tell("carol", carol.resolve()), RIGHT), Frozen)


def test_who_is_removed_on_the_other_branch_does_not_judge_it():
    removal = TEAM.tell("alice", TEAM.remove("bob"))
    by_bob = RIGHT.tell("bob", RIGHT.resolve())
    assert isinstance(judged(removal, by_bob), Frozen)
    # Not by way of another fork that does not remove him.
    trivial = TEAM.tell("bob", TEAM.add_member("ivan"))
    assert isinstance(judged(removal, by_bob, trivial), Frozen)
    unlisted = TEAM.tell("alice", TEAM.remove_signer("bob"))
    assert isinstance(judged(unlisted, by_bob), Frozen)
    settled = removal.tell("alice", removal.resolve())
    assert won(judged(settled, by_bob, trivial), settled)


def test_two_resolves_against_each_other_freeze_and_the_recovery_key_settles_them():
    left, right = LEFT.tell("alice", LEFT.resolve()), RIGHT.tell("bob", RIGHT.resolve())
    result = judged(left, right)
    assert isinstance(result, Frozen)
    assert result.heads == heads(left, right)
    # A second resolve by a signer changes nothing.
    assert isinstance(judged(left.tell("bob", left.resolve()), right), Frozen)
    for chosen, other in ((left, right), (right, left)):
        final = chosen.tell("recovery", chosen.resolve())
        assert won(judged(final, other), final)
        assert won(judged(final, other.tell("alice", other.resolve())), final)


def test_the_recovery_key_needs_to_be_listed_nowhere_and_settles_a_fork_alone():
    removal = TEAM.tell("alice", TEAM.remove("bob"))
    final = RIGHT.tell("recovery", RIGHT.resolve())
    assert won(judged(final, removal), final)
    # What the recovery key chose no signer voids, and what is forked from below later is void as well.
    late = TEAM.tell("alice", TEAM.remove("bob"), TEAM.remove("dave"))
    assert won(judged(final, removal.tell("alice", removal.resolve()), late), final)


def test_a_recovery_key_that_chose_twice_leaves_the_mesh_frozen():
    left, right = LEFT.tell("recovery", LEFT.resolve()), RIGHT.tell("recovery", RIGHT.resolve())
    third = TEAM.tell("alice", TEAM.open_invite())
    result = judged(left, right, third)
    assert isinstance(result, Frozen)
    assert result.heads == heads(left, right)
    assert result.void == (head(third),)


def test_a_resolve_from_below_the_fork_decides_nothing():
    early = TEAM.tell("alice", TEAM.resolve())
    left, right = (early.tell("alice", early.add_member(name)) for name in ("erin", "frank"))
    assert isinstance(judged(left, right), Frozen)


# What this build does not know.


def test_a_members_record_of_an_unknown_type_is_not_left_out_silently():
    newer = make_record(TEAM.last, "add_robot", b"", HERE.key("alice"), HERE.mesh_id)
    for signer in ("alice", "carol", "recovery"):
        newer = make_record(TEAM.last, "add_robot", b"", HERE.key(signer), HERE.mesh_id)
        for records in ((newer,), (newer, LEFT.last)):
            with pytest.raises(ChainError, match="update meshd"):
                judged(TEAM, also=records)
        with pytest.raises(ChainError, match="update meshd"):
            judged(LEFT, also=(make_record(LEFT.last, "add_robot", b"", HERE.key(signer), HERE.mesh_id),))


def test_a_strangers_record_of_an_unknown_type_counts_for_nothing():
    stranger = make_record(TEAM.last, "add_robot", b"", HERE.key("stranger"), HERE.mesh_id)
    forged = replace(stranger, signer=HERE.key("alice").public)
    first = make_record(HERE.genesis_record, "add_robot", b"", HERE.key("alice"), HERE.mesh_id)
    assert won(judged(TEAM, also=(stranger, forged)), TEAM)
    assert won(judged(TEAM, also=(first,)), TEAM)


def test_a_branch_ends_at_its_last_good_record():
    bad = LEFT.make("carol", LEFT.remove("dave"))
    result = judged(LEFT, RIGHT, also=tuple(bad))
    assert isinstance(result, Frozen)
    assert result.heads == heads(LEFT, RIGHT)


# A hostile broker's heaps of records.


def test_many_records_on_one_head_are_all_judged():
    stories = [TEAM.tell("alice", TEAM.add_member(f"guest {number}")) for number in range(12)]
    result = judged(*stories)
    assert result.heads == heads(*stories)
    chosen = stories[5].tell("bob", stories[5].resolve())
    assert won(judged(chosen, *stories), chosen)


def test_an_append_as_long_as_it_may_be_is_judged():
    story = founded()
    for number in range(MAX_RUN):
        story = story.tell("alice", story.add_member(f"guest {number}"))
    emptied = story.tell("alice", *(story.remove(f"guest {number}") for number in range(MAX_RUN)))
    assert won(judged(emptied), emptied)


def test_a_run_of_removals_longer_than_an_append_may_be_leads_nowhere():
    records: list[Record] = []
    for number in range(MAX_RUN + 4):
        previous = records[-1] if records else TEAM.last
        records.append(HERE.record(previous, "remove_member", TEAM.remove(f"nobody {number}").encode(), "alice"))
    records.append(HERE.record(records[-1], "epoch", TEAM.epoch(TEAM.state.epoch + 1).encode(), "alice"))
    assert won(judged(TEAM, also=tuple(records)), TEAM)


# In whatever order.

FOREST = (
    LEFT.tell("alice", LEFT.resolve()),
    LEFT.tell("alice", LEFT.remove("bob")),
    RIGHT.tell("bob", RIGHT.resolve()),
    RIGHT.tell("recovery", RIGHT.resolve()),
    TEAM.tell("alice", TEAM.remove("bob"), TEAM.revoke("carol")),
    TEAM.tell("alice", TEAM.remove("bob"), tag="'"),
)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.sampled_from(range(len(FOREST))), min_size=1), st.integers(0, 2**32), st.booleans())
def test_the_same_records_in_any_order_give_the_same_answer(chosen, seed, doubled):
    records = [record for index in sorted(chosen) for record in FOREST[index].records]
    first = judge(HERE.mesh_id, records)
    shuffled = records * (2 if doubled else 1)
    random.Random(seed).shuffle(shuffled)
    again = judge(HERE.mesh_id, iter(shuffled))
    assert first == again
    if isinstance(first, Settled):
        assert extend(None, first.records) == first.state
        assert not {Head(first.state.seq, first.state.head)} & set(first.void)
    else:
        assert len(first.heads) > 1
        assert not set(first.heads) & set(first.void)


# What was verified before.


def test_what_follows_a_trunk_is_judged_as_with_it():
    trunk = Trunk(TEAM.records, TEAM.state)
    chosen = LEFT.tell("alice", LEFT.resolve())
    for stories in ((LEFT,), (LEFT, RIGHT), (chosen, RIGHT), (TEAM,)):
        above = [record for story in stories for record in story.records[len(TEAM.records) :]]
        assert judge(HERE.mesh_id, above, trunk) == judged(TEAM, *stories)


def test_nothing_that_parts_below_a_trunk_is_seen():
    below = Story(HERE, TEAM.records[:-1])
    rival = below.make("alice", below.add_member("zoe"))
    assert won(judge(HERE.mesh_id, rival, Trunk(TEAM.records, TEAM.state)), TEAM)


def test_the_records_of_a_branch_are_those_that_lead_to_its_head():
    records = [*LEFT.records, RIGHT.last]
    assert trace(records, RIGHT.last.hash) == RIGHT.records
    assert trace(records, bytes(32)) == ()
    assert trace(records[3:], LEFT.last.hash) == LEFT.records[3:]


def test_what_stands_on_no_branch_is_told_apart():
    bad = LEFT.make("carol", LEFT.remove("dave"))
    records = [*LEFT.records, RIGHT.last, *bad]
    frozen = judge(HERE.mesh_id, records)
    assert standing(frozen, records) == {record.hash for record in (*LEFT.records, RIGHT.last)}
    chosen = LEFT.tell("alice", LEFT.resolve())
    records += [chosen.last]
    assert standing(judge(HERE.mesh_id, records), records) == {record.hash for record in (*chosen.records, RIGHT.last)}
