"""What was given and is not proved: for how long it is not given again, and what ends that."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from meshd.deliver.given import HANDED_S, Given

KINDS = ("hand", "preview", "keep", "sum", "unpreview", "release", "unsum", "forget", "wait")
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 3), st.sampled_from([1, 60, 119, 121])), max_size=20)


def test_what_was_handed_over_is_free_again_after_a_while() -> None:
    found = Given()
    found.hand(1, 10.0)
    assert found.surfaces_at(1) == 10.0 + HANDED_S
    assert found.is_handed(1, 10.0 + HANDED_S - 1)
    assert not found.is_handed(1, 10.0 + HANDED_S)
    assert not found.is_put_aside(1, 10.0 + HANDED_S)
    assert not found.is_put_aside(2, 10.0)


def test_what_a_tools_hook_took_along_is_free_again_when_the_turn_ends() -> None:
    found = Given()
    found.hand_loosely(1, 10.0, "web")
    found.hand_loosely(2, 10.0, "api")
    found.hand(3, 10.0)
    found.preview(1)
    assert found.is_loose("web")
    found.recall("web")
    assert (found.is_loose("web"), found.is_loose("api")) == (False, True)
    assert [found.is_put_aside(row, 11.0) for row in (1, 2, 3)] == [False, True, True]
    found.forget(2)
    found.hand(2, 12.0)
    found.recall("api")
    assert found.is_handed(2, 13.0), "it was shown; what was given later is no tool's affair"


def test_a_digest_that_is_not_proved_holds_for_a_time_and_a_proved_one_for_good() -> None:
    found = Given()
    found.sum_up([1, 2], until=5.0)
    assert (found.is_put_aside(1, 4.0), found.is_put_aside(1, 5.0)) == (True, False)
    assert not found.is_handed(1, 4.0), "a tool call may still return it"
    found.sum_up([2])
    assert found.surfaces_at(2) == math.inf


def test_a_message_read_in_parts_is_read_when_no_part_is_missing() -> None:
    found = Given()
    assert not found.note_part(1, 0, 10, 30)
    assert not found.note_part(1, 20, 30, 30), "there is a gap"
    assert not found.note_part(1, 10, 20, 30)
    assert found.note_part(1, 5, 30, 30)
    found.forget(1)
    assert not found.note_part(1, 20, 30, 30)


@settings(max_examples=200)
@given(STEPS)
def test_a_message_is_put_aside_exactly_while_something_says_so(steps: list[tuple[str, int, int]]) -> None:
    found, now = Given(), 0.0
    held: dict[int, dict[str, float]] = {row: {} for row in range(1, 4)}
    for kind, row, seconds in steps:
        match kind:
            case "wait":
                now += seconds
            case "hand":
                found.hand(row, now)
                held[row]["hand"] = now + HANDED_S
            case "preview":
                found.preview(row)
                held[row]["preview"] = math.inf
            case "keep":
                found.keep(row)
                held[row]["keep"] = math.inf
            case "sum":
                found.sum_up([row], now + seconds)
                held[row]["sum"] = now + seconds
            case "unpreview":
                found.unpreview(row)
                held[row].pop("preview", None)
            case "release":
                found.release([row])
                held[row].pop("keep", None)
            case "unsum":
                found.unsum([row])
                held[row].pop("sum", None)
            case "forget":
                found.forget(row)
                held[row].clear()
        for each, until in held.items():
            assert found.is_put_aside(each, now) == any(end > now for end in until.values())
