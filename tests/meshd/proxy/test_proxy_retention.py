"""How long single requests are remembered, and what stays of them."""

import pytest

from meshd.services.proxy import retention
from meshd.services.proxy.entries import day_begins
from meshd.services.proxy.reports import list_talks, sum_all, sum_by
from meshd.services.proxy.retention import forget_requests
from proxy_kit.record import Record, assistant, open_record, user

OLD, YOUNG = "2026-01-10", "2026-11-20"


def add(record: Record, day: str, session: str) -> None:
    at = day_begins(day) + 1_000
    record.add([user(session)], day=day, session=session, client=session, source="header", started_ms=at)


def forget(record: Record, before_day: str) -> int:
    count = 0
    while gone := forget_requests(record.tx, before_day):
        count += gone
    return count


def rows(record: Record, table: str) -> int:
    found = record.tx.execute(f"SELECT count(*) FROM {table}").get
    assert isinstance(found, int)
    return found


def test_old_requests_go_and_what_they_cost_stays() -> None:
    with open_record() as record:
        add(record, OLD, "old")
        add(record, YOUNG, "young")
        before = sum_all(record.tx, "")
        assert forget(record, "2026-06-01") == 1
        assert sum_all(record.tx, "") == before
        assert [group.key for group in sum_by(record.tx, "day", "")] == [YOUNG, OLD]
        for by in ("session", "client"):
            assert [group.key for group in sum_by(record.tx, by, "")] == ["young"]
        assert [talk.id for talk in list_talks(record.tx, 0, 10)] == ["young"]
        assert {table: rows(record, table) for table in ("request", "history", "branch", "total")} == {
            "request": 1,
            "history": 1,
            "branch": 1,
            "total": 1,
        }


def test_a_conversation_that_goes_on_keeps_what_is_young() -> None:
    with open_record() as record:
        record.add([user("a")], day=OLD, session="long", source="header", started_ms=day_begins(OLD))
        history = [user("a"), assistant("b"), user("c")]
        record.add(history, day=YOUNG, session="long", source="header", started_ms=day_begins(YOUNG))
        assert forget(record, "2026-06-01") == 1
        assert [talk.requests for talk in list_talks(record.tx, 0, 10)] == [2]
        history += [assistant("d"), user("e")]
        row = record.add(history, day=YOUNG, session="long", source="header", started_ms=day_begins(YOUNG) + 1)
        assert (row["conversation"], row["branch"], row["parent"]) == ("long", "main", 2)


def test_the_record_has_a_bound_however_young_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MAX_ROWS", 10)
    monkeypatch.setattr(retention, "AT_ONCE", 4)
    with open_record() as record:
        for number in range(25):
            add(record, YOUNG, f"s{number}")
        assert forget(record, "2026-06-01") == 15
        assert record.tx.execute("SELECT min(row) FROM request").get == 16
        assert sum_all(record.tx, "").requests == 25


def test_a_request_whose_beginning_was_forgotten_is_linked_again() -> None:
    """Its history is known, the request that it was is gone: nothing may fail on that."""
    with open_record() as record:
        record.add([user("a")], day=OLD, session="s", source="header", started_ms=day_begins(YOUNG))
        forget(record, "2026-06-01")
        row = record.add([user("a"), assistant("b"), user("c")], day=YOUNG, session="s", source="header")
        assert row["conversation"] == "s"


def test_names_of_branches_are_numbered_within_their_second() -> None:
    """However many there are in other seconds."""
    with open_record() as record:
        for text in "abcd":
            record.add([user(text)], day=YOUNG, session="s", source="header", started_ms=day_begins(YOUNG))
        names = [row[0] for row in record.tx.execute("SELECT branch FROM request ORDER BY row")]
        assert names == ["main", "root_000000", "root_000000_2", "root_000000_3"]
