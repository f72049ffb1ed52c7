"""Questions to the record: sums by group, conversations, limits. Bounded reads, answered from the sums where they can be."""

# ruff: noqa: S608 - all SQL here is made of constants

from typing import Final, NamedTuple

import apsw

from mesh_protocol.ops.usage import ConversationRow, RequestRow, ThreadRow
from meshd.services.proxy.entries import local_day
from meshd.services.proxy.prices import NANO

_SUMS: Final = (
    "sum(requests), sum(input), sum(output), sum(cache_read), sum(cache_write_5m + cache_write_1h), sum(thinking),"
    " sum(cost), sum(unpriced), sum(partial), sum(unaccounted), sum(failed)"
)


class Sums(NamedTuple):
    """One group's sums. The fields are those of the answers (mesh_protocol.ops.usage)."""

    key: str
    requests: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    thinking_tokens: int
    cost_usd: float
    unpriced: int
    partial: int
    unaccounted: int
    failed: int


_LENGTH_MS: Final = {"5h": 5 * 3_600_000, "7d": 7 * 86_400_000}
NOTHING: Final = Sums("", 0, 0, 0, 0, 0, 0, 0.0, 0, 0, 0, 0)


class Limit(NamedTuple):
    """A window as it was last told. The fields are the first of the answer's (mesh_protocol.ops.usage.WindowRow)."""

    account: str
    window: str
    used: float
    status: str
    until_ms: int
    seen_ms: int


class Spend(NamedTuple):
    """What went through the proxy in a window. The fields are the last of the answer's."""

    requests: int
    tokens: int
    cost_usd: float


class Glimpse(NamedTuple):
    """What a status line may say. Dollars; `left` is the share of each window that is not used, by its name."""

    today: float
    session: float
    left: tuple[tuple[str, float], ...]


def sum_by(db: apsw.Connection, by: str, since: str) -> list[Sums]:
    """The groups from the day `since` on (empty: all). `by` is a column of the sums, or tool."""
    if by == "tool":
        return _by_tool(db, since)
    for table, column, order in (
        ("day_total", "day", "day DESC"),
        ("day_total", "model", "sum(cost) DESC, sum(requests) DESC"),
        ("day_total", "account", "sum(cost) DESC, sum(requests) DESC"),
        ("day_total", "kind", "sum(cost) DESC, sum(requests) DESC"),
        ("client_total", "client", "sum(cost) DESC, sum(requests) DESC"),
        ("total", "session", "max(day) DESC, sum(cost) DESC"),
        ("total", "agent", "max(day) DESC, sum(cost) DESC"),
    ):
        if column == by:
            rows = db.execute(
                f"SELECT {column}, {_SUMS} FROM {table} WHERE day >= ? GROUP BY {column} ORDER BY {order}", (since,)
            )
            return [_dollars(row) for row in rows]
    raise ValueError(by)


def _by_tool(db: apsw.Connection, since: str) -> list[Sums]:
    rows = db.execute(
        "SELECT tool, sum(requests), sum(input), sum(output), sum(cache_read), sum(cache_write_5m + cache_write_1h), 0,"
        " sum(cost), 0, 0, 0, 0 FROM tool_total WHERE day >= ? GROUP BY tool ORDER BY sum(cost) DESC, sum(requests) DESC",
        (since,),
    )
    return [_dollars(row) for row in rows]


def sum_all(db: apsw.Connection, since: str) -> Sums:
    """Everything from the day `since` on."""
    row = db.execute(f"SELECT '', {_SUMS} FROM day_total WHERE day >= ?", (since,)).fetchone()
    return _dollars(row) if row and row[1] is not None else NOTHING


def list_limits(db: apsw.Connection) -> list[Limit]:
    """The windows of all accounts, those told last first."""
    rows = db.execute(
        "SELECT account, name, used, status, reset_ms, seen_ms FROM window ORDER BY seen_ms DESC, name LIMIT 20"
    )
    return [Limit(*row) for row in rows]


def sum_window(db: apsw.Connection, limit: Limit) -> Spend:
    """What an account has used since a window began; nothing where it is not told when that ends."""
    if not limit.until_ms or limit.window not in _LENGTH_MS:
        return Spend(0, 0, 0.0)
    begin_ms = limit.until_ms - _LENGTH_MS[limit.window]
    day = local_day(begin_ms)  # of the first day each request is looked at, of those behind it the sums
    rows = db.execute(
        "SELECT sum(requests), sum(tokens), sum(cost) FROM ("
        "SELECT count(*) AS requests, sum(input + cache_write_5m + cache_write_1h + cache_read + output) AS tokens,"
        " sum(cost) AS cost FROM request WHERE day = ?1 AND account = ?2 AND started_ms >= ?3"
        " UNION ALL SELECT sum(requests), sum(input + cache_write_5m + cache_write_1h + cache_read + output), sum(cost)"
        " FROM day_total WHERE day > ?1 AND account = ?2)",
        (day, limit.account, begin_ms),
    )
    ((requests, tokens, cost),) = rows
    return Spend(requests or 0, tokens or 0, (cost or 0) / NANO)


def read_glimpse(db: apsw.Connection, day: str, session: str, now_ms: int) -> Glimpse:
    """A few rows each: it is asked every second."""
    today = db.execute("SELECT coalesce(sum(cost), 0) FROM day_total WHERE day = ?", (day,)).get
    spent = db.execute("SELECT coalesce(sum(cost), 0) FROM total WHERE session = ?", (session,)).get if session else 0
    left: dict[str, float] = {}
    for limit in list_limits(db):  # those told last come first
        if limit.until_ms > now_ms:
            left.setdefault(limit.window, max(0.0, 1.0 - limit.used))
    return Glimpse(_nano(today), _nano(spent), tuple(sorted(left.items())))


def _nano(amount: object) -> float:
    return amount / NANO if isinstance(amount, int) else 0.0


_TALK: Final = (
    "id, session, account, first_ms, last_ms, requests, input, output, cache_read, cache_write_5m + cache_write_1h,"
    " cost / 1e9"
)


def list_talks(db: apsw.Connection, since_ms: int, limit: int, skip: int = 0) -> list[ConversationRow]:
    """The conversations that went on after `since_ms`, the newest first, behind the `skip` first ones."""
    rows = db.execute(
        f"SELECT {_TALK} FROM conversation WHERE last_ms >= ? ORDER BY last_ms DESC, id LIMIT ? OFFSET ?",
        (since_ms, limit, skip),
    )
    return [ConversationRow(*row) for row in rows]


def find_talks(db: apsw.Connection, beginning: str) -> list[ConversationRow]:
    """The conversation of that id, or up to nine whose ids begin so."""
    found = [
        ConversationRow(*row) for row in db.execute(f"SELECT {_TALK} FROM conversation WHERE id = ?", (beginning,))
    ]
    if found:
        return found
    rows = db.execute(
        f"SELECT {_TALK} FROM conversation WHERE id >= ? AND id < ? ORDER BY id LIMIT 9",
        (beginning, beginning + chr(0x10FFFF)),
    )
    return [ConversationRow(*row) for row in rows]


def list_strands(db: apsw.Connection, conversation: str) -> list[ThreadRow]:
    """Its agents' branches in the order of their begin, at most 500."""
    rows = db.execute(
        "SELECT r.agent, max(r.parent_agent), r.branch, coalesce(b.origin, 0),"
        " coalesce((SELECT o.branch FROM request o WHERE o.row = b.origin), ''), max(r.linked = 'content'),"
        " min(r.started_ms), max(r.started_ms + max(0, cast(r.total_ms AS INTEGER))), count(*), sum(r.input),"
        " sum(r.output), sum(r.cache_read), sum(r.cache_write_5m + r.cache_write_1h),"
        " coalesce(sum(r.cost), 0) / 1e9, sum(r.cost IS NULL)"
        " FROM request r LEFT JOIN branch b"
        " ON b.conversation = r.conversation AND b.agent = r.agent AND b.name = r.branch"
        " WHERE r.conversation = ? AND r.kind != 'other' GROUP BY r.agent, r.branch ORDER BY min(r.row) LIMIT 500",
        (conversation,),
    )
    return [ThreadRow(row[0], row[1], row[2], row[3], row[4], bool(row[5]), *row[6:]) for row in rows]


def list_turns(db: apsw.Connection, conversation: str, limit: int, before: int = 0) -> list[tuple[int, RequestRow]]:
    """Its newest requests (before that row, if it is given), each with the number that its bodies are stored under."""
    rows = db.execute(
        "SELECT row, started_ms, agent, branch, coalesce(parent, 0), kind, model, status, outcome, stop_reason, tools,"
        " input, output, cache_read, cache_write_5m + cache_write_1h, thinking, coalesce(cost, 0) / 1e9, cost IS NULL,"
        " partial, unaccounted, error, first_byte_ms, first_token_ms, total_ms, request_id, number FROM request"
        " WHERE conversation = ? AND row < ? ORDER BY row DESC LIMIT ?",
        (conversation, before or 2**62, limit),
    )
    turns = []
    for row in rows:
        tools = row[10].split("\n") if row[10] else []
        fields = (*row[:10], tools, *row[11:17], bool(row[17]), bool(row[18]), *row[19:25], 0)
        turns.append((row[25], RequestRow(*fields)))
    return turns


def _dollars(row: tuple[object, ...]) -> Sums:
    found = Sums(*row)  # type: ignore[arg-type]  # the columns of the statements above
    return found._replace(cost_usd=found.cost_usd / NANO)
