"""Lists that are longer than one answer of the daemon's: fetched piece by piece, up to what --limit says."""

from mesh_clients.cli.invocation import Invocation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

ALL = 10**9
AT_ONCE = 500
"""Rows that one call may ask for."""


def rows_of(answer: "dict[str, JsonValue]", name: str) -> "list[dict[str, JsonValue]]":
    """The rows of a list answer."""
    found = answer.get(name)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def fetch_rows(called: Invocation, name: str) -> "dict[str, JsonValue]":
    """The answer with all rows of `name` that were asked for; its `more` is what is left then."""
    wanted = limit_of(called)
    answer = called.call({**called.params, **bounded(called, wanted)})
    rows = rows_of(answer, name)
    while answer.get("more") and len(rows) < wanted:
        page = called.call({**called.params, **bounded(called, wanted - len(rows)), "skip": len(rows)})
        answer["more"] = page.get("more")
        found = rows_of(page, name)
        if not found:
            break
        rows += found
    answer[name] = [*rows]
    return answer


def fetch_conversation(called: Invocation) -> "dict[str, JsonValue]":
    """A conversation with all its threads, and as many of its newest requests as were asked for."""
    wanted = limit_of(called)
    answer = called.call({**called.params, **bounded(called, wanted)})
    threads, turns = rows_of(answer, "threads"), rows_of(answer, "turns")
    while answer.get("more") and turns and len(turns) < wanted:
        limit = bounded(called, wanted - len(turns))
        page = called.call({**called.params, **limit, "before": turns[0].get("row"), "skip": ALL})
        answer["more"] = page.get("more")
        turns = rows_of(page, "turns") + turns
    while answer.get("more_threads"):
        page = called.call({**called.params, "limit": 1, "before": 1, "skip": len(threads)})
        found = rows_of(page, "threads")
        answer["more_threads"] = bool(page.get("more_threads")) and bool(found)
        threads += found
    answer["threads"], answer["turns"] = [*threads], [*turns]
    return answer


def want_all(called: Invocation) -> None:
    """Ask for all rows where no number was given: what is left out of a spreadsheet is not seen."""
    if limit_of(called) < ALL:
        called.params.setdefault("limit", ALL - 1)


def bounded(called: Invocation, wanted: int) -> "dict[str, JsonValue]":
    """The parameter that asks for so many rows; none where the command has no such flag."""
    return {"limit": min(wanted, AT_ONCE)} if limit_of(called) < ALL else {}


def limit_of(called: Invocation) -> int:
    """How many rows were asked for: the flag's default where it was not given, all where there is none."""
    usual = next((field.default for field in called.verb.fields if field.name == "limit"), ALL)
    limit = called.params.get("limit", usual)
    return limit if isinstance(limit, int) else ALL
