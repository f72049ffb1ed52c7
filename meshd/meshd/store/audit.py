"""Rows of the audit. They are only ever added."""

import apsw

from mesh_protocol.keys import SigningKey
from meshd.audit_entry import FIRST, GAP, Deed, Entry, Known, hash_entry, write_entry


def append(tx: apsw.Connection, key: SigningKey, deed: Deed, known: Known | None, generation: int) -> Entry:
    """Write `deed` behind the last entry, in the order of commits.

    `known` is the newest entry that the daemon knows of. Where the log does not hold it, an entry that says so comes
    first; where there is no log yet, its first entry. Both name `generation`, the number of this start of the daemon.
    """
    row = read_last(tx)
    last = None if row is None else row[0]
    if known is not None and hash_of(tx, known.seq) != known.hash:
        why = f"{known.seq} entries had been written" if known.seq else "the copy beside the keys was gone"
        last = insert(tx, write_entry(key, last, opening(GAP, deed.at_ms, generation, why))).known
    elif last is None:
        last = insert(tx, write_entry(key, None, opening(FIRST, deed.at_ms, generation, ""))).known
    return insert(tx, write_entry(key, last, deed))


def opening(operation: str, at_ms: int, generation: int, why: str) -> Deed:
    """The daemon's own word on the log."""
    target = [("start", str(generation)), *([("why", why)] if why else [])]
    return Deed(at_ms, "daemon", "daemon", operation, "", tuple(target), "done")


def insert(tx: apsw.Connection, entry: Entry) -> Entry:
    tx.execute("INSERT INTO audit VALUES(?,?)", (entry.seq, entry.data))
    return entry


def read_last(db: apsw.Connection) -> tuple[Known, bytes] | None:
    """The newest row, unjudged."""
    row = db.execute("SELECT seq, entry FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    return None if row is None else (Known(int(row[0]), hash_entry(row[1])), bytes(row[1]))


def hash_of(db: apsw.Connection, seq: int) -> bytes:
    """Of one entry; empty where there is none."""
    row = db.execute("SELECT entry FROM audit WHERE seq=?", (seq,)).fetchone()
    return b"" if row is None else hash_entry(row[0])


def read_after(db: apsw.Connection, seq: int, limit: int) -> list[tuple[int, bytes]]:
    """Numbers and entries behind `seq`, oldest first."""
    rows = db.execute("SELECT seq, entry FROM audit WHERE seq>? ORDER BY seq LIMIT ?", (seq, limit))
    return [(int(row[0]), bytes(row[1])) for row in rows]


def read_before(db: apsw.Connection, seq: int, limit: int) -> list[tuple[int, bytes]]:
    """Numbers and entries before `seq`, newest first."""
    rows = db.execute("SELECT seq, entry FROM audit WHERE seq<? ORDER BY seq DESC LIMIT ?", (seq, limit))
    return [(int(row[0]), bytes(row[1])) for row in rows]
