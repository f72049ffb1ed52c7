"""A session's status: which source may say what, and for how long it is believed."""

import pytest

from meshd.status import FRESH_MS, WORKING_MS, Source, Status, renew, settle

T, M, H = Source.TRANSCRIPT, Source.MANUAL, Source.HOOK
START = 1_000_000


def status(word: str, source: Source, since: int = START, renewed: int = START) -> Status:
    return Status(word, source, since, renewed)


@pytest.mark.parametrize("had", list(Source))
@pytest.mark.parametrize("says", list(Source))
@pytest.mark.parametrize(("word", "other"), [("idle", "working"), ("working", "idle")])
def test_a_different_status_is_written_whatever_its_source(had: Source, says: Source, word: str, other: str) -> None:
    assert renew(status(word, had), other, says, START + 5) == Status(other, says, START + 5, START + 5)


@pytest.mark.parametrize(("had", "says"), [(T, T), (T, M), (T, H), (M, M), (M, H), (H, H)])
def test_the_same_from_an_equal_or_higher_source_renews_it(had: Source, says: Source) -> None:
    assert renew(status("working", had), "working", says, START + 5) == Status("working", says, START, START + 5)


@pytest.mark.parametrize(("had", "says"), [(H, M), (H, T), (M, T)])
@pytest.mark.parametrize("later", [0, 1, FRESH_MS])
def test_the_same_from_a_lower_source_only_bumps_the_time_while_it_is_fresh(
    had: Source, says: Source, later: int
) -> None:
    assert renew(status("working", had), "working", says, START + later) == Status("working", had, START, START + later)


@pytest.mark.parametrize(("had", "says"), [(H, M), (H, T), (M, T)])
def test_the_same_from_a_lower_source_takes_over_what_is_stale(had: Source, says: Source) -> None:
    now = START + FRESH_MS + 1
    assert renew(status("working", had), "working", says, now) == Status("working", says, START, now)


@pytest.mark.parametrize("says", [T, H])
@pytest.mark.parametrize("word", ["idle", "working", "dnd"])
def test_do_not_disturb_ends_only_by_hand(says: Source, word: str) -> None:
    quiet = status("dnd", M)
    assert renew(quiet, word, says, START + 10**9) == quiet
    assert renew(quiet, "idle", M, START + 5) == Status("idle", M, START + 5, START + 5)


def test_do_not_disturb_said_again_is_renewed_and_keeps_its_beginning() -> None:
    assert renew(status("dnd", M), "dnd", M, START + 5) == Status("dnd", M, START, START + 5)


def test_working_without_news_becomes_idle_after_a_minute() -> None:
    busy = status("working", H)
    assert settle(busy, START + WORKING_MS, in_turn=False) == busy
    late = START + WORKING_MS + 1
    assert settle(busy, late, in_turn=False) == Status("idle", H, late, late)


def test_working_is_believed_while_the_process_is_in_a_turn() -> None:
    busy = status("working", H)
    assert settle(busy, START + 10**9, in_turn=True) == busy


@pytest.mark.parametrize("word", ["idle", "dnd"])
def test_only_working_runs_out(word: str) -> None:
    kept = status(word, M)
    assert settle(kept, START + 10**9, in_turn=False) == kept
