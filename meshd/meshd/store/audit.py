"""Rows of the audit: added at the end, and once it is full dropped at the beginning."""

import apsw

from mesh_protocol.keys import SigningKey
from meshd.audit_entry import FIRST, GAP, Deed, Entry, Known, hash_entry, write_entry
from meshd.store.meshes import get_meta, set_meta


def forget_all(tx: apsw.Connection) -> None:
    """Empty the log: the device that signed it is this one no more."""
    tx.execute("DELETE FROM audit")
    tx.execute("DELETE FROM meta WHERE key=?", (GAP,))


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
        set_meta(tx, GAP, last.seq.to_bytes(8, "little"))
    elif last is None:
        last = insert(tx, write_entry(key, None, opening(FIRST, deed.at_ms, generation, ""))).known
    return insert(tx, write_entry(key, last, deed))


def read_gap(db: apsw.Connection) -> int:
    """The number of the newest entry that says that others were gone; 0: there is none."""
    return int.from_bytes(get_meta(db, GAP) or b"", "little")


def bounds(db: apsw.Connection) -> tuple[int, int]:
    """The numbers of the first and last row; both 0 where there is none."""
    # Each by itself is one step in the tree; both in one question would read all of it.
    row = db.execute("SELECT (SELECT min(seq) FROM audit), (SELECT max(seq) FROM audit)").fetchone()
    return (int(row[0]), int(row[1])) if row and row[0] is not None else (0, 0)


def drop_before(tx: apsw.Connection, checkpoint: Entry) -> None:
    """Put a checkpoint in the place of the entry of its number, and of all before it."""
    tx.execute("DELETE FROM audit WHERE seq<=?", (checkpoint.seq,))
    insert(tx, checkpoint)


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
