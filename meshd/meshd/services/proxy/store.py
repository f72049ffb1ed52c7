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

_SETTINGS: Final = ("on", "upstream", "port", "salt")


def add_entries(tx: apsw.Connection, entries: Sequence[tuple[int, Entry]]) -> int:
    """Record requests by their numbers, in the order of their begin. Returns how many.

    Sums are made here and written once for the whole batch: each statement costs the writer a turn in the interpreter.
    """
    sums = _Sums()
    noted = {number for (number,) in tx.execute("SELECT number FROM under_way")}
    for number, entry in entries:
        if number in noted:
            tx.execute("DELETE FROM under_way WHERE number=?", (number,))
        linked, placed = place(tx, entry)
        row = _insert(tx, linked, placed, number)
        note_place(tx, linked, placed, row)
        sums.add(linked, placed)
        for window in linked.windows:
            tx.execute(
                "INSERT OR REPLACE INTO window(account, name, used, status, reset_ms, seen_ms) VALUES(?,?,?,?,?,?)",
                (linked.account, window.name, window.used, window.status, window.reset_ms, linked.started_ms),
            )
    sums.write(tx)
    return len(entries)


def note_under_way(tx: apsw.Connection, entries: Sequence[tuple[int, Entry]]) -> int:
    """How far requests have come that go on. Returns how many."""
    for number, entry in entries:
        tx.execute(
            "INSERT OR REPLACE INTO under_way(number, entry) VALUES(?,?)", (number, msgspec.msgpack.encode(entry))
        )
    return len(entries)


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


def read_settings(tx: apsw.Connection) -> Settings | None:
    """How the proxy was last switched; None if it never was."""
    found: dict[str, bytes] = dict(iter(tx.execute("SELECT key, value FROM meta")))
    if not found.keys() >= set(_SETTINGS):
        return None
    usual = Settings(False, DEFAULT_UPSTREAM, 0, b"")

    def number(name: str, default: int) -> int:
        return int.from_bytes(found[name], "little") if name in found else default

    return Settings(
        on=found["on"] == b"1",
        upstream=found["upstream"].decode() or DEFAULT_UPSTREAM,
        port=number("port", 0),
        salt=found["salt"],
        bodies=found.get("bodies") == b"1",
        keep_days=number("keep_days", usual.keep_days),
        keep_mib=number("keep_mib", usual.keep_mib),
        history_days=number("history_days", usual.history_days),
        via=found.get("via", b"").decode(),
    )


def write_settings(tx: apsw.Connection, settings: Settings) -> None:
    values = {
        "on": b"1" if settings.on else b"0",
        "upstream": settings.upstream.encode(),
        "port": settings.port.to_bytes(2, "little"),
        "salt": settings.salt,
        "bodies": b"1" if settings.bodies else b"0",
        "keep_days": settings.keep_days.to_bytes(4, "little"),
        "keep_mib": settings.keep_mib.to_bytes(4, "little"),
        "history_days": settings.history_days.to_bytes(4, "little"),
        "via": settings.via.encode(),
    }
    tx.executemany("INSERT OR REPLACE INTO meta(key, value) VALUES(?,?)", [*values.items()])


def _insert(tx: apsw.Connection, entry: Entry, placed: Place, number: int) -> int:
    tokens = entry.tokens
    values = (
        *(entry.started_ms, entry.day, entry.account, entry.client, entry.session, entry.agent, entry.parent_agent),
        *(entry.source, entry.model, entry.kind, *tokens, entry.cost, entry.stop_reason, "\n".join(entry.tools)),
        *(entry.status, entry.outcome, int(entry.partial), entry.unaccounted, entry.error, entry.first_byte_ms),
        *(entry.first_token_ms, entry.total_ms, entry.request_id, entry.message_id),
        *(*placed, entry.system, max(0, number), entry.tier),
    )
    tx.execute(
        "INSERT INTO request(started_ms, day, account, client, session, agent, parent_agent, source, model, kind, input,"
        " cache_write_5m, cache_write_1h, cache_read, output, thinking, searches, cost, stop_reason, tools, status,"
        " outcome, partial, unaccounted, error, first_byte_ms, first_token_ms, total_ms, request_id, message_id,"
        f" conversation, branch, parent, linked, system, number, tier) VALUES({','.join('?' * 37)})",
        values,
    )
    return tx.last_insert_rowid()


_ADDED: Final = (
    " ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, input = input + excluded.input,"
    " cache_write_5m = cache_write_5m + excluded.cache_write_5m,"
    " cache_write_1h = cache_write_1h + excluded.cache_write_1h, cache_read = cache_read + excluded.cache_read,"
    " output = output + excluded.output, cost = cost + excluded.cost"
)
_ALL_ADDED: Final = (
    f"{_ADDED}, thinking = thinking + excluded.thinking, searches = searches + excluded.searches,"
    " unpriced = unpriced + excluded.unpriced, partial = partial + excluded.partial,"
    " unaccounted = unaccounted + excluded.unaccounted, failed = failed + excluded.failed"
)


class _Sums:
    """What a batch adds to the sums, by their keys."""

    def __init__(self) -> None:
        self._totals: dict[tuple[str, ...], list[int]] = {}
        self._days: dict[tuple[str, ...], list[int]] = {}
        self._clients: dict[tuple[str, ...], list[int]] = {}
        self._tools: dict[tuple[str, ...], list[int]] = {}
        self._talks: dict[str, tuple[Entry, int, int, list[int]]] = {}
        """By conversation: its first entry, its begin and end, and its sums."""

    def add(self, entry: Entry, placed: Place) -> None:
        tokens, cost = entry.tokens, entry.cost or 0
        sums = (
            *(1, *tokens, cost, int(entry.cost is None), int(entry.partial)),
            *(int(bool(entry.unaccounted)), int(entry.failed)),
        )
        _add(self._totals, (entry.day, entry.account, entry.session, entry.agent, entry.model, entry.kind), sums)
        _add(self._days, (entry.day, entry.account, entry.model, entry.kind), sums)
        _add(self._clients, (entry.day, entry.called), sums)
        for tool in dict.fromkeys(entry.tools):
            _add(self._tools, (entry.day, tool), (1, entry.tools.count(tool), *tokens[:5], cost))
        if not placed.conversation or entry.kind == Kind.OTHER:
            return
        ended = entry.started_ms + max(0, round(entry.total_ms))
        first, begin_ms, end_ms, known = self._talks.get(placed.conversation, (entry, entry.started_ms, ended, [0] * 7))
        known = [one + other for one, other in zip(known, (1, *tokens[:5], cost), strict=True)]
        self._talks[placed.conversation] = first, min(begin_ms, entry.started_ms), max(end_ms, ended), known

    def write(self, tx: apsw.Connection) -> None:
        tx.executemany(f"INSERT INTO total VALUES({','.join('?' * 19)}){_ALL_ADDED}", _rows(self._totals))
        tx.executemany(f"INSERT INTO day_total VALUES({','.join('?' * 17)}){_ALL_ADDED}", _rows(self._days))
        tx.executemany(f"INSERT INTO client_total VALUES({','.join('?' * 15)}){_ALL_ADDED}", _rows(self._clients))
        tx.executemany(
            f"INSERT INTO tool_total VALUES({','.join('?' * 10)}){_ADDED}, calls = calls + excluded.calls",
            _rows(self._tools),
        )
        tx.executemany(
            f"INSERT INTO conversation VALUES({','.join('?' * 12)}){_ADDED},"
            " first_ms = min(first_ms, excluded.first_ms), last_ms = max(last_ms, excluded.last_ms)",
            [
                (name, first.session, first.account, begin_ms, end_ms, *known)
                for name, (first, begin_ms, end_ms, known) in self._talks.items()
            ],
        )


def _add(sums: dict[tuple[str, ...], list[int]], key: tuple[str, ...], more: Sequence[int]) -> None:
    known = sums.get(key)
    sums[key] = list(more) if known is None else [one + other for one, other in zip(known, more, strict=True)]


def _rows(sums: dict[tuple[str, ...], list[int]]) -> list[tuple[str | int, ...]]:
    return [(*key, *found) for key, found in sums.items()]
