"""The gate of a session, by itself: lanes, modes, budgets, and what is summed up."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.deliver.gate import (
    LOOK_S,
    MAX_SUMMED,
    NO_LANE,
    PERIOD_S,
    PUSHES,
    URGENT,
    URGENT_ONLY,
    Budgets,
    Demote,
    Pace,
    Show,
    Step,
    Sum,
    Wait,
    Waiting,
    choose,
)

ANN, BOB = b"ann", b"bob"


def waiting(row: int, lane: str = "next", sender: bytes = ANN) -> Waiting:
    return Waiting(row, lane, sender)


def ask(
    *messages: Waiting,
    budgets: Budgets | None = None,
    now: float = 0.0,
    mode: str = "push",
    status: str = "idle",
    busy_until: float = 0.0,
) -> Step:
    return choose(messages, budgets or Budgets(), now, mode=mode, status=status, busy_until=busy_until)


def spent(pushes: int = 0, urgent: int = 0, at: float = 0.0) -> Budgets:
    budgets = Budgets()
    for _ in range(pushes):
        budgets.pushes.note(at)
    for _ in range(urgent):
        budgets.urgent(ANN).note(at)
    return budgets


def test_the_order_is_lane_then_arrival() -> None:
    five, three, seven = waiting(5), waiting(3), waiting(7, "now")
    assert ask(five, three, seven) == Show(seven)
    assert ask(five, three) == Show(three)


def test_now_does_not_wait_for_the_session_to_be_idle_and_next_does() -> None:
    assert isinstance(ask(waiting(1, "now"), status="working", busy_until=60.0), Show)
    assert ask(waiting(1), status="working") == Wait(LOOK_S, look=True, heeds=URGENT_ONLY)
    assert ask(waiting(1), busy_until=60.0, now=20.0) == Wait(40.0, heeds=URGENT_ONLY)


@pytest.mark.parametrize("held", [{"mode": "inbox"}, {"mode": "off"}, {"status": "dnd"}], ids=str)
def test_a_session_that_wants_no_messages_gets_none_and_is_not_polled(held: dict[str, str]) -> None:
    assert ask(waiting(1, "now"), waiting(2), **held) == Wait(math.inf, heeds=NO_LANE)  # type: ignore[arg-type]


def test_the_last_push_of_a_minute_sums_up_what_is_left() -> None:
    messages = [waiting(row) for row in range(1, 5)]
    assert isinstance(ask(*messages, budgets=spent(PUSHES - 2)), Show)
    assert ask(*messages, budgets=spent(PUSHES - 1)) == Sum(tuple(messages))
    assert isinstance(ask(messages[0], budgets=spent(PUSHES - 1)), Show), "one alone needs no digest"
    assert ask(*messages, budgets=spent(PUSHES), now=50.0) == Wait(PERIOD_S - 50.0, heeds=URGENT_ONLY)
    assert isinstance(ask(*messages, budgets=spent(PUSHES), now=PERIOD_S), Show)


def test_a_digest_is_bounded() -> None:
    step = ask(*(waiting(row) for row in range(MAX_SUMMED + 50)), budgets=spent(PUSHES - 1))
    assert isinstance(step, Sum)
    assert [each.row for each in step.messages] == list(range(MAX_SUMMED))


def test_a_senders_now_beyond_his_budget_is_next_and_another_senders_is_not() -> None:
    budgets = spent(urgent=URGENT)
    mine, again = waiting(1, "now"), waiting(4, "now")
    assert ask(mine, waiting(2), again, budgets=budgets) == Demote((mine, again))
    assert isinstance(ask(waiting(1, "now", BOB), budgets=budgets), Show)
    assert isinstance(ask(waiting(1, "now"), budgets=budgets, now=PERIOD_S), Show)


def test_now_has_a_budget_of_its_own() -> None:
    budgets = Budgets()
    budgets.note(waiting(1, "now"), 0.0)
    assert budgets.pushes.room(0.0) == PUSHES
    assert isinstance(ask(waiting(2, "now"), budgets=spent(PUSHES)), Show)


@given(st.lists(st.floats(0, 600), max_size=60))
def test_no_minute_has_more_than_the_limit(times: list[float]) -> None:
    pace = Pace(PUSHES)
    taken: list[float] = []
    for now in sorted(times):
        if pace.room(now):
            assert pace.wait(now) == 0
            pace.note(now)
            taken.append(now)
        else:
            assert 0 < pace.wait(now) <= PERIOD_S
    for start in taken:
        assert sum(start <= time < start + PERIOD_S for time in taken) <= PUSHES
