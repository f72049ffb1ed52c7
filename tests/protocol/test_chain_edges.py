"""The chain at its limits: the largest record, the longest append, the last of anything that is allowed."""

import pytest

from chain_story import peopled
from mesh_protocol.chain import MAX_RECORD, AddMember, Record, RevokeDevice, make_record
from mesh_protocol.chain_changes import MAX_KEPT
from mesh_protocol.chain_draft import MAX_RUN
from mesh_protocol.forks import judge
from mesh_protocol.keys import BadEncoding
from mesh_protocol.members import ChainError, extend
from mesh_samples import ELSEWHERE, HERE


def refusal(story, *records):
    with pytest.raises(ChainError) as raised:
        extend(story.state, list(records))
    return raised.value.reason, raised.value.seq


def record_of(size):
    """A signed record of exactly `size` bytes, of a type nobody knows."""
    empty = make_record(HERE.records[0], "resolve", b"", HERE.key("alice"), HERE.mesh_id)
    return make_record(HERE.records[0], "resolve", bytes(size - len(empty.encode())), HERE.key("alice"), HERE.mesh_id)


def test_a_record_of_4096_bytes_is_made_and_read_and_one_of_4097_is_not():
    largest = record_of(MAX_RECORD)
    assert len(largest.encode()) == MAX_RECORD
    assert Record.decode(largest.encode()) == largest
    with pytest.raises(BadEncoding):
        record_of(MAX_RECORD + 1)
    with pytest.raises(BadEncoding):
        Record.decode(largest.encode() + b"\0")


def test_a_body_of_4096_bytes_is_too_large_only_with_the_record_around_it():
    fields = (1, b"", "genesis", bytes(MAX_RECORD), HERE.key("alice").public, bytes(64))
    record = Record(*fields)
    with pytest.raises(BadEncoding):
        record.encode()
    with pytest.raises(BadEncoding):
        Record(*fields[:3], bytes(MAX_RECORD + 1), *fields[4:])


def test_a_member_is_listed_with_a_whole_device_key_and_a_name_that_fits():
    member, device = HERE.member("erin"), HERE.key("erin").public
    assert AddMember(member, "member", device, bytes(512), b"").sealed_name == bytes(512)
    for wrong in (
        (member[:-1], "member", device, b"x", b""),
        (member, "guest", device, b"x", b""),
        (member, "member", device[:-1], b"x", b""),
        (member, "member", device, b"", b""),
        (member, "member", device, bytes(513), b""),
        (member, "member", device, b"x", bytes(31)),
    ):
        with pytest.raises(BadEncoding):
            AddMember(*wrong)


def test_ninety_devices_may_be_kept_by_a_revocation_and_not_one_more():
    devices = tuple(number.to_bytes(32, "big") for number in range(MAX_KEPT + 1))
    kept = RevokeDevice(devices[0], devices[1:])
    assert RevokeDevice.decode(kept.encode()) == kept
    with pytest.raises(BadEncoding):
        RevokeDevice(devices[0], devices)


def test_an_append_has_thirty_two_records_before_its_epoch_and_not_one_more():
    story = peopled()
    names = [f"guest {number}" for number in range(MAX_RUN + 1)]
    for name in names:
        story = story.tell("alice", story.add_member(name))
    most = [story.remove(name) for name in names[:MAX_RUN]]
    append = story.make("alice", *most)
    for gone in (extend(story.state, append), extend(None, [*story.records, *append])):
        assert len(gone.former) == MAX_RUN
        assert gone.epoch == story.state.epoch + 1
    assert refusal(story, *story.make("alice", *most, story.remove(names[-1])))[0] == "epoch_missing"


def test_after_an_epoch_the_next_append_may_be_as_long():
    story = peopled()
    names = [f"guest {number}" for number in range(MAX_RUN + 1)]
    for name in names:
        story = story.tell("alice", story.add_member(name))
    first = story.tell("alice", story.remove(names[-1]))
    second = first.make("alice", *(story.remove(name) for name in names[:MAX_RUN]))
    both = [*first.records[len(story.records) :], *second]
    assert len(extend(story.state, both).former) == MAX_RUN + 1


def test_an_invite_key_is_listed_once_in_one_append_too():
    story = peopled()
    opened = story.make("alice", story.open_invite("once"), story.open_invite("once"))
    assert refusal(story, *opened) == ("duplicate_invite", opened[1].seq)


def test_an_owners_role_may_be_given_anew_to_the_only_owner():
    story = peopled()
    told = story.tell("alice", story.set_role("alice", "owner"))
    assert told.state.members[HERE.member("alice")].role == "owner"


def test_nothing_is_no_chain_and_the_first_record_is_what_it_lacks():
    with pytest.raises(ChainError) as raised:
        extend(None, [])
    assert (raised.value.reason, raised.value.seq) == ("no_genesis", 1)
    for records in ((), HERE.records[1:], HERE.records[:1], ELSEWHERE.records):
        with pytest.raises(ChainError) as raised:
            judge(HERE.mesh_id, records)
        assert (raised.value.reason, raised.value.seq) == ("no_genesis", 1)
