"""Writing what was recorded: each request once, and into the sums, in one transaction."""

from collections.abc import Sequence
from typing import Final

import apsw
import msgspec

from meshd.services.proxy.asked import Kind
from meshd.services.proxy.entries import Entry
from meshd.services.proxy.exchanges import Outcome
from meshd.services.proxy.linking import Place, note_place, place
from meshd.services.proxy.settings import DEFAULT_UPSTREAM, Settings

FORGET_MS: Final = 30 * 86_400_000
"""After so long a history is not looked for any more; what it cost stays."""
PROMPT_FORGET_MS: Final = 86_400_000
_SETTINGS: Final = ("on", "upstream", "port", "salt")


def add_entries(tx: apsw.Connection, entries: Sequence[tuple[int, Entry]]) -> None:
    """Record requests by their numbers, in the order of their begin."""
    days: dict[tuple[str, str, str, str], list[int]] = {}
    for number, entry in entries:
        tx.execute("DELETE FROM under_way WHERE number=?", (number,))
        linked, placed = place(tx, entry)
        row = _insert(tx, linked, placed)
        note_place(tx, linked, placed, row)
        _sum(tx, linked, days)
        _sum_tools(tx, linked)
        _sum_conversation(tx, linked, placed)
        for window in linked.windows:
            tx.execute(
                "INSERT OR REPLACE INTO window(account, name, used, status, reset_ms, seen_ms) VALUES(?,?,?,?,?,?)",
                (linked.account, window.name, window.used, window.status, window.reset_ms, linked.started_ms),
            )
    for key, sums in days.items():
        tx.execute(f"INSERT INTO day_total VALUES({','.join('?' * 17)}){_ADDED}", (*key, *sums))


def note_under_way(tx: apsw.Connection, entries: Sequence[tuple[int, Entry]]) -> None:
    """How far requests have come that go on."""
    for number, entry in entries:
        tx.execute(
            "INSERT OR REPLACE INTO under_way(number, entry) VALUES(?,?)", (number, msgspec.msgpack.encode(entry))
        )


def finish_under_way(tx: apsw.Connection) -> int:
    """At the start: what was under way when the daemon was killed, recorded as far as was known. Returns how many."""
    rows = tx.execute("SELECT number, entry FROM under_way ORDER BY number")
    entries = [(number, msgspec.msgpack.decode(entry, type=Entry)) for number, entry in rows]
    add_entries(
        tx,
        [
            (number, msgspec.structs.replace(entry, outcome=Outcome.STOPPED.value, partial=True))
            for number, entry in entries
        ],
    )
    return len(entries)


def forget_histories(tx: apsw.Connection, now_ms: int) -> None:
    """What no request will follow any more."""
    tx.execute("DELETE FROM history WHERE seen_ms < ?", (now_ms - FORGET_MS,))
    tx.execute("DELETE FROM prompt WHERE at_ms < ?", (now_ms - PROMPT_FORGET_MS,))


def read_settings(tx: apsw.Connection) -> Settings | None:
    """How the proxy was last switched; None if it never was."""
    found: dict[str, bytes] = dict(iter(tx.execute("SELECT key, value FROM meta")))
    if not found.keys() >= set(_SETTINGS):
        return None
    return Settings(
        on=found["on"] == b"1",
        upstream=found["upstream"].decode() or DEFAULT_UPSTREAM,
        port=int.from_bytes(found["port"], "little"),
        salt=found["salt"],
    )


def write_settings(tx: apsw.Connection, settings: Settings) -> None:
    values = (
        b"1" if settings.on else b"0",
        settings.upstream.encode(),
        settings.port.to_bytes(2, "little"),
        settings.salt,
    )
    for key, value in zip(_SETTINGS, values, strict=True):
        tx.execute("INSERT OR REPLACE INTO meta(key, value) VALUES(?,?)", (key, value))


def _insert(tx: apsw.Connection, entry: Entry, placed: Place) -> int:
    tokens = entry.tokens
    values = (
        *(entry.started_ms, entry.day, entry.account, entry.client, entry.session, entry.agent, entry.parent_agent),
        *(entry.source, entry.model, entry.kind, *tokens, entry.cost, entry.stop_reason, "\n".join(entry.tools)),
        *(entry.status, entry.outcome, int(entry.partial), entry.unaccounted, entry.error, entry.first_byte_ms),
        *(entry.first_token_ms, entry.total_ms, entry.request_id, entry.message_id),
        *(*placed, entry.system),
    )
    tx.execute(
        "INSERT INTO request(started_ms, day, account, client, session, agent, parent_agent, source, model, kind, input,"
        " cache_write_5m, cache_write_1h, cache_read, output, thinking, searches, cost, stop_reason, tools, status,"
        " outcome, partial, unaccounted, error, first_byte_ms, first_token_ms, total_ms, request_id, message_id,"
        f" conversation, branch, parent, linked, system) VALUES({','.join('?' * 35)})",
        values,
    )
    return tx.last_insert_rowid()


_ADDED: Final = (
    " ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, input = input + excluded.input,"
    " cache_write_5m = cache_write_5m + excluded.cache_write_5m,"
    " cache_write_1h = cache_write_1h + excluded.cache_write_1h, cache_read = cache_read + excluded.cache_read,"
    " output = output + excluded.output, thinking = thinking + excluded.thinking,"
    " searches = searches + excluded.searches, cost = cost + excluded.cost, unpriced = unpriced + excluded.unpriced,"
    " partial = partial + excluded.partial, unaccounted = unaccounted + excluded.unaccounted,"
    " failed = failed + excluded.failed"
)


def _sum(tx: apsw.Connection, entry: Entry, days: dict[tuple[str, str, str, str], list[int]]) -> None:
    """Into the sums by session now, into those of the day once for the whole batch."""
    sums = (
        *(1, *entry.tokens, entry.cost or 0, int(entry.cost is None), int(entry.partial)),
        *(int(bool(entry.unaccounted)), int(entry.failed)),
    )
    tx.execute(
        f"INSERT INTO total VALUES({','.join('?' * 19)}){_ADDED}",
        (entry.day, entry.account, entry.session, entry.agent, entry.model, entry.kind, *sums),
    )
    key = (entry.day, entry.account, entry.model, entry.kind)
    known = days.setdefault(key, [0] * len(sums))
    days[key] = [one + other for one, other in zip(known, sums, strict=True)]


def _sum_tools(tx: apsw.Connection, entry: Entry) -> None:
    tokens = entry.tokens
    for tool in dict.fromkeys(entry.tools):
        tx.execute(
            f"INSERT INTO tool_total VALUES({','.join('?' * 10)}) ON CONFLICT DO UPDATE SET requests = requests + 1,"
            " calls = calls + excluded.calls, input = input + excluded.input,"
            " cache_write_5m = cache_write_5m + excluded.cache_write_5m,"
            " cache_write_1h = cache_write_1h + excluded.cache_write_1h, cache_read = cache_read + excluded.cache_read,"
            " output = output + excluded.output, cost = cost + excluded.cost",
            (entry.day, tool, 1, entry.tools.count(tool), *tokens[:5], entry.cost or 0),
        )


def _sum_conversation(tx: apsw.Connection, entry: Entry, placed: Place) -> None:
    if not placed.conversation or entry.kind == Kind.OTHER:
        return
    ended = entry.started_ms + max(0, round(entry.total_ms))
    tx.execute(
        f"INSERT INTO conversation VALUES({','.join('?' * 12)}) ON CONFLICT DO UPDATE SET requests = requests + 1,"
        " first_ms = min(first_ms, excluded.first_ms), last_ms = max(last_ms, excluded.last_ms),"
        " input = input + excluded.input, cache_write_5m = cache_write_5m + excluded.cache_write_5m,"
        " cache_write_1h = cache_write_1h + excluded.cache_write_1h, cache_read = cache_read + excluded.cache_read,"
        " output = output + excluded.output, cost = cost + excluded.cost",
        (
            *(placed.conversation, entry.session, entry.account, entry.started_ms, ended, 1),
            *(*entry.tokens[:5], entry.cost or 0),
        ),
    )
