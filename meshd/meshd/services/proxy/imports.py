"""Taking in what transcripts tell, and holding it against what the proxy recorded."""

from collections.abc import Sequence
from typing import NamedTuple

import apsw

from meshd.services.proxy.asked import Source
from meshd.services.proxy.entries import Entry
from meshd.services.proxy.store import add_entries
from meshd.services.proxy.transcripts import Piece


class Taken(NamedTuple):
    """What an import brought: messages read, and those of them that the proxy had not seen."""

    messages: int
    added: int


class Day(NamedTuple):
    """One day of both. Tokens are of all classes together, of the messages that both know. The fields are the answer's."""

    day: str
    both: int
    only_proxy: int
    only_transcripts: int
    proxy_tokens: int
    transcript_tokens: int
    difference: int


def read_places(db: apsw.Connection) -> dict[str, int]:
    """Up to where each transcript has been read."""
    return dict(iter(db.execute("SELECT path, read FROM transcript_file")))


def add_piece(tx: apsw.Connection, piece: Piece) -> Taken:
    """Take in the messages of a piece, once each. A message that went through the proxy is not counted again."""
    added: list[Entry] = []
    for entry in piece.entries:
        known = tx.execute("SELECT 1 FROM transcript WHERE message_id=?", (entry.message_id,)).fetchone()
        tokens = entry.tokens
        tx.execute(
            "INSERT OR REPLACE INTO transcript(message_id, day, tokens) VALUES(?,?,?)",
            (entry.message_id, entry.day, tokens.prompt + tokens.output),
        )
        through = tx.execute("SELECT 1 FROM request WHERE message_id=?", (entry.message_id,)).fetchone()
        if not known and not through:
            added.append(entry)
    add_entries(tx, [(-1, entry) for entry in added])
    tx.execute("INSERT OR REPLACE INTO transcript_file(path, read) VALUES(?,?)", (piece.path, piece.read))
    return Taken(len(piece.entries), len(added))


def compare_days(db: apsw.Connection, since: str) -> list[Day]:
    """Each day from `since` on that either knows, the newest first."""
    days: dict[str, list[int]] = {}
    rows = db.execute(
        "SELECT t.day, sum(r.row IS NOT NULL), sum(r.row IS NULL),"
        " sum(coalesce(r.input + r.cache_write_5m + r.cache_write_1h + r.cache_read + r.output, 0)),"
        " sum(CASE WHEN r.row IS NULL THEN 0 ELSE t.tokens END) FROM transcript t"
        " LEFT JOIN request r ON r.message_id = t.message_id AND r.source != ? WHERE t.day >= ? GROUP BY t.day",
        (Source.TRANSCRIPT.value, since),
    )
    for day, both, only, proxy, told in rows:
        days[day] = [both, 0, only, proxy, told]
    rows = db.execute(
        "SELECT day, count(*) FROM request r WHERE day >= ? AND source != ? AND message_id != ''"
        " AND NOT EXISTS (SELECT 1 FROM transcript t WHERE t.message_id = r.message_id) GROUP BY day",
        (since, Source.TRANSCRIPT.value),
    )
    for day, only in rows:
        days.setdefault(day, [0, 0, 0, 0, 0])[1] = only
    return [_day(day, counts) for day, counts in sorted(days.items(), reverse=True)]


def _day(day: str, counts: Sequence[int]) -> Day:
    both, only_proxy, only_transcripts, proxy, told = counts
    return Day(day, both, only_proxy, only_transcripts, proxy, told, proxy - told)
