"""The link of a mesh as a table, the backoff between its tries, and the numbers of committed mail."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.link.acks import MAX_RANGES, AckTracker
from meshd.link.table import BACKOFF_CAP_S, LinkEvent, LinkState, advance, backoff_ceiling
from meshd.seams import jitter

OFFLINE, CONNECTING, GREETING, ONLINE, REFUSED = LinkState
TRY, CONNECTED, GREETED, DENIED, LOST = LinkEvent

EXPECTED = {
    OFFLINE: {TRY: CONNECTING, CONNECTED: GREETING, LOST: OFFLINE},
    CONNECTING: {CONNECTED: GREETING, LOST: OFFLINE},
    GREETING: {GREETED: ONLINE, DENIED: REFUSED, LOST: OFFLINE},
    ONLINE: {DENIED: REFUSED, LOST: OFFLINE},
    REFUSED: {TRY: GREETING, LOST: OFFLINE},
}


@pytest.mark.parametrize("state", list(LinkState))
@pytest.mark.parametrize("event", list(LinkEvent))
def test_every_pair_of_state_and_event(state: LinkState, event: LinkEvent) -> None:
    if event in EXPECTED[state]:
        assert advance(state, event) is EXPECTED[state][event]
    else:
        with pytest.raises(KeyError):
            advance(state, event)


def test_a_loss_ends_in_offline_from_everywhere() -> None:
    assert {advance(state, LOST) for state in LinkState} == {OFFLINE}


def test_the_ceiling_of_the_backoff_doubles_up_to_its_cap() -> None:
    assert [backoff_ceiling(n) for n in range(9)] == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff_ceiling(10_000) == BACKOFF_CAP_S


@given(st.binary(min_size=4, max_size=4), st.floats(0, 100))
def test_jitter_is_full_and_stays_below_its_ceiling(random: bytes, ceiling: float) -> None:
    assert 0 <= jitter(lambda size: random, ceiling) <= ceiling


def test_jitter_reaches_both_ends() -> None:
    assert jitter(lambda size: bytes(size), 8.0) == 0
    assert jitter(lambda size: b"\xff" * size, 8.0) > 7.99


# Acknowledgements, against a model that knows everything that was ever committed or told.


def told(tracker: AckTracker) -> tuple[int, set[int]]:
    """Everything that the tracker has to say until it is clean."""
    low, numbers = 0, set[int]()
    while tracker.dirty:
        low, ranges = tracker.take()
        assert len(ranges) <= MAX_RANGES
        assert all(a <= b for a, b in ranges)
        assert all(b + 1 < c for (_, b), (c, _) in pairwise(ranges)), "closed, rising, not touching"
        for a, b in ranges:
            assert a > low
            numbers.update(range(a, b + 1))
    return low, numbers


def test_nothing_is_told_of_nothing() -> None:
    assert not AckTracker().dirty


def test_the_cumulative_number_moves_over_what_is_dense() -> None:
    tracker = AckTracker()
    for number in (1, 2, 4, 3):
        tracker.add(number)
    assert tracker.take() == (4, [])
    assert not tracker.dirty


def test_what_was_told_before_is_no_news() -> None:
    tracker = AckTracker()
    tracker.add(1)
    tracker.take()
    tracker.add(1)
    assert not tracker.dirty


def test_a_start_covers_what_lies_below_it_and_joins_what_follows() -> None:
    tracker = AckTracker()
    for number in (2, 5, 6, 9):
        tracker.add(number)
    tracker.start_at(4)
    assert tracker.take() == (6, [[9, 9]])
    tracker.start_at(2)
    tracker.add(7)
    assert tracker.take() == (7, [])


@given(st.lists(st.integers(1, 400), max_size=300), st.sets(st.integers(0, 300)))
def test_everything_committed_is_told_and_nothing_else(numbers: list[int], pauses: set[int]) -> None:
    tracker = AckTracker()
    covered: set[int] = set()
    for place, number in enumerate(numbers):
        tracker.add(number)
        if place in pauses:
            low, ranges = told(tracker)
            covered |= set(range(1, low + 1)) | ranges
            assert covered <= set(numbers[: place + 1]) | covered
    low, ranges = told(tracker)
    covered |= set(range(1, low + 1)) | ranges
    assert covered == set(numbers)


@given(st.integers(2, 40))
def test_many_holes_are_told_in_several_rounds(holes: int) -> None:
    tracker = AckTracker()
    numbers = range(2, 2 + 4 * MAX_RANGES + 2 * holes, 2)
    for number in numbers:
        tracker.add(number)
    _, first = tracker.take()
    assert len(first) == MAX_RANGES
    assert tracker.dirty
    _, rest = told(tracker)
    assert {n for a, b in first for n in range(a, b + 1)} | rest == set(numbers)
