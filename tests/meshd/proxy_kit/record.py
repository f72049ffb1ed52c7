"""A record in memory, and entries as a test says."""

from collections.abc import Iterator
from contextlib import contextmanager

import apsw
import msgspec

from meshd.services.proxy.asked import Histories, Kind
from meshd.services.proxy.entries import Entry
from meshd.services.proxy.schema import MIGRATIONS
from meshd.services.proxy.store import add_entries
from meshd.services.proxy.usage import Tokens

START_MS = 1_763_600_000_000
PLAIN = Entry(
    started_ms=START_MS,
    day="2026-11-20",
    account="key-1",
    client="",
    session="",
    agent="",
    parent_agent="",
    source="",
    model="claude-opus-5-5",
    kind=Kind.TURN.value,
    tokens=Tokens(input=10, output=5),
    cost=1_000,
    stop_reason="end_turn",
    tools=[],
    status=200,
    outcome="complete",
    partial=False,
    unaccounted="",
    error="",
    first_byte_ms=1.0,
    first_token_ms=2.0,
    total_ms=3.0,
    request_id="",
    message_id="",
    chain=[],
    system=b"",
    continued=False,
    prompt=b"",
    started=[],
    windows=[],
)


class Record:
    """The tables, and the numbers of what is put in."""

    def __init__(self, tx: apsw.Connection) -> None:
        self.tx = tx
        self.histories = Histories()
        self._number = 0

    def add(self, history: list[dict[str, object]], **changes: object) -> dict[str, object]:
        """Record a request with this history; its row."""
        chain = list(self.histories.chain([msgspec.json.encode(each) for each in history]))
        self._number += 1
        entry = msgspec.structs.replace(PLAIN, **{"started_ms": START_MS + self._number, "chain": chain, **changes})
        add_entries(self.tx, [(self._number, entry)])
        return self.row(self.tx.last_insert_rowid() if not history else self._last())

    def _last(self) -> int:
        found = self.tx.execute("SELECT max(row) FROM request").get
        assert isinstance(found, int)
        return found

    def row(self, number: int) -> dict[str, object]:
        cursor = self.tx.execute("SELECT * FROM request WHERE row=?", (number,))
        names = [each[0] for each in cursor.get_description()]
        (found,) = [*cursor]
        return dict(zip(names, found, strict=True))


@contextmanager
def open_record() -> Iterator[Record]:
    tx = apsw.Connection(":memory:")
    for script in MIGRATIONS:
        for _ in tx.execute(script):
            pass
    try:
        yield Record(tx)
    finally:
        tx.close()


def user(text: str) -> dict[str, object]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, object]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}
