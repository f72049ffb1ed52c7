"""Lists that are longer than one answer of the daemon's."""

from types import SimpleNamespace
from typing import Any

from mesh_clients.cli.pages import fetch_conversation, fetch_rows, want_all

PAGE = 7


class Called:
    """A daemon that holds rows 1 to `rows` and threads, and tells at most PAGE of each."""

    def __init__(self, *, rows: int, threads: int = 0, limit: int | None = None, usual: int = 20) -> None:
        self.rows, self.threads = rows, threads
        self.params: dict[str, Any] = {} if limit is None else {"limit": limit}
        self.verb = SimpleNamespace(fields=[SimpleNamespace(name="limit", default=usual)] if usual else [])
        self.calls = 0

    def call(self, params: dict[str, Any]) -> dict[str, Any]:
        self.calls += 1
        assert params.get("limit", 20) <= 500, "no daemon tells more at once"
        limit = min(PAGE, params.get("limit", 20))
        skip, before = params.get("skip", 0), params.get("before", 0) or self.rows + 1
        found = [{"row": number} for number in range(skip, self.rows)][:limit]
        turns = [{"row": number} for number in range(1, before)][-limit:]
        strands = [{"branch": str(number)} for number in range(skip, self.threads)][:PAGE]
        return {
            "rows": found,
            "more": before > limit + 1 if "before" in params or self.threads else self.rows > skip + len(found),
            "turns": turns,
            "threads": strands,
            "more_threads": self.threads > skip + len(strands),
        }


def fetched(called: Called) -> tuple[list[int], object]:
    answer = fetch_rows(called, "rows")  # type: ignore[arg-type]
    return [row["row"] for row in answer["rows"]], answer["more"]  # type: ignore[index, union-attr, call-overload]


def test_rows_are_fetched_until_there_are_as_many_as_were_asked_for() -> None:
    assert fetched(Called(rows=50, limit=16)) == ([*range(16)], True)
    assert fetched(Called(rows=50)) == ([*range(20)], True)
    assert fetched(Called(rows=10, limit=16)) == ([*range(10)], False)
    assert fetched(Called(rows=0)) == ([], False)
    once = Called(rows=50, limit=7)
    assert fetched(once) == ([*range(7)], True)
    assert once.calls == 1


def test_more_may_be_asked_for_than_one_call_may() -> None:
    assert fetched(Called(rows=1_200, limit=1_100)) == ([*range(1_100)], True)
    answer: Any = fetch_conversation(Called(rows=1_200, threads=1, limit=1_100))  # type: ignore[arg-type]
    assert [row["row"] for row in answer["turns"]] == [*range(101, 1_201)]


def test_a_spreadsheet_gets_all_rows_unless_a_limit_was_given() -> None:
    for called, count in ((Called(rows=50), 50), (Called(rows=50, limit=9), 9), (Called(rows=50, usual=0), 50)):
        want_all(called)  # type: ignore[arg-type]
        assert len(fetched(called)[0]) == count


def test_a_list_without_a_limit_is_fetched_whole() -> None:
    assert fetched(Called(rows=50, usual=0)) == ([*range(50)], False)


def test_a_conversation_comes_with_all_threads_and_its_newest_requests() -> None:
    answer: Any = fetch_conversation(Called(rows=50, threads=16, limit=17))  # type: ignore[arg-type]
    assert [row["row"] for row in answer["turns"]] == [*range(34, 51)]
    assert [row["branch"] for row in answer["threads"]] == [str(number) for number in range(16)]
    assert answer["more"] is True
    assert answer["more_threads"] is False
    answer = fetch_conversation(Called(rows=12, threads=1))  # type: ignore[arg-type]
    assert [row["row"] for row in answer["turns"]] == [*range(1, 13)]
    assert not answer["more"]
