"""How long the record remembers single requests. What a day has cost stays: those sums are a few rows a day."""

from typing import Final

import apsw

from meshd.services.proxy.entries import day_begins

MAX_ROWS: Final = 2_000_000
"""Single requests that are remembered, however young: about a gigabyte."""
AT_ONCE: Final = 2_000
"""Rows of one transaction: what is recorded meanwhile waits behind it."""
HISTORY_MS: Final = 30 * 86_400_000
"""After so long a history is not looked for any more."""
PROMPT_MS: Final = 86_400_000


def forget_histories(tx: apsw.Connection, now_ms: int) -> None:
    """What no request will follow any more."""
    tx.execute("DELETE FROM history WHERE seen_ms < ?", (now_ms - HISTORY_MS,))
    tx.execute("DELETE FROM prompt WHERE at_ms < ?", (now_ms - PROMPT_MS,))


def forget_requests(tx: apsw.Connection, before_day: str) -> int:
    """Delete some of the requests of the days before that one, and of those that are too many; how many, 0 when none is
    left to delete. Once none is, what was about them alone goes too."""
    tx.execute(
        "DELETE FROM request WHERE row IN (SELECT row FROM request WHERE day < ? LIMIT ?)", (before_day, AT_ONCE)
    )
    gone: int = tx.changes()
    if not gone:
        tx.execute(
            "DELETE FROM request WHERE row IN (SELECT row FROM request WHERE row <= (SELECT max(row) FROM request) - ?"
            " ORDER BY row LIMIT ?)",
            (MAX_ROWS, AT_ONCE),
        )
        gone = tx.changes()
    if not gone:
        _forget_rest(tx, before_day)
    return gone


def _forget_rest(tx: apsw.Connection, before_day: str) -> None:
    """Sums by session and by client, conversations and the like from before that day."""
    begin_ms = day_begins(before_day)
    tx.execute("DELETE FROM total WHERE day < ?", (before_day,))
    tx.execute("DELETE FROM client_total WHERE day < ?", (before_day,))
    tx.execute("DELETE FROM transcript WHERE day < ?", (before_day,))
    tx.execute("DELETE FROM branch WHERE conversation IN (SELECT id FROM conversation WHERE last_ms < ?)", (begin_ms,))
    tx.execute("DELETE FROM conversation WHERE last_ms < ?", (begin_ms,))
    tx.execute("DELETE FROM history WHERE seen_ms < ?", (begin_ms,))
    tx.execute("DELETE FROM prompt WHERE at_ms < ?", (begin_ms,))
