"""Rows of what this device received, and the receipts it owes."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import apsw

from mesh_protocol.ids import DeviceId, MemberId, MeshId, MsgId

BLOCKED_KEY: Final = "blocked"
"""Stands for the session of a blocked sender's message, which nobody is ever shown; a session's key is 16 hex digits."""


class InboxRow(NamedTuple):
    """A received message. `content` is sealed under the store key. `session_key`: the local session that is to see it."""

    row: int
    mesh: MeshId
    msg_id: MsgId
    from_device: DeviceId
    from_member: MemberId
    from_session: str
    origin: str
    to_session: str
    session_key: str
    person: int
    lane: str
    reply_to: bytes
    conv: bytes
    created_ms: int
    stored_ms: int
    expires_ms: int
    content: bytes
    attempt: int
    message_hash: bytes
    n: int
    path: str
    read_ms: int = 0
    shown_ms: int = 0
    turn_ms: int = 0
    evidence: str = ""
    audience: str = ""


_COLUMNS: Final = (
    "row, mesh, msg_id, from_device, from_member, from_session, origin, to_session, session_key, person, lane, reply_to,"
    " conv, created_ms, stored_ms, expires_ms, content, attempt, message_hash, n, path, read_ms, shown_ms, turn_ms, evidence,"
    " audience"
)


def is_seen(db: apsw.Connection, from_device: bytes, msg_id: bytes) -> bool:
    """Whether an envelope was committed before."""
    query = "SELECT 1 FROM seen WHERE from_device=? AND msg_id=?"
    return db.execute(query, (from_device, msg_id)).fetchone() is not None


def mark_seen(tx: apsw.Connection, from_device: bytes, msg_id: bytes, at_ms: int) -> bool:
    """False if it was there already."""
    tx.execute("INSERT INTO seen VALUES(?,?,?) ON CONFLICT DO NOTHING", (from_device, msg_id, at_ms))
    return tx.changes() > 0


SEEN_MS: Final = 60 * 24 * 3600 * 1000
"""Twice as long as any message waits."""


def forget_seen(tx: apsw.Connection, now_ms: int) -> None:
    """Marks of envelopes that no broker holds any more."""
    tx.execute("DELETE FROM seen WHERE at_ms<?", (now_ms - SEEN_MS,))


def add_inbox(tx: apsw.Connection, row: InboxRow) -> int:
    """Store a message; returns its row number. `row.row` is ignored."""
    names = _COLUMNS.partition(", ")[2]
    tx.execute(f"INSERT INTO inbox({names}) VALUES({','.join('?' * 25)})", row[1:])
    return tx.last_insert_rowid()


def read_row(db: apsw.Connection, row: int) -> InboxRow | None:
    """A message, unless its sender was blocked: then there is none for any reader."""
    query = f"SELECT {_COLUMNS} FROM inbox WHERE row=? AND session_key<>?"  # noqa: S608
    found = db.execute(query, (row, BLOCKED_KEY)).fetchone()
    return None if found is None else InboxRow(*found)


def find_rows(db: apsw.Connection, low: bytes, high: bytes) -> list[InboxRow]:
    """At most 5 messages whose id lies in the closed range, each with the rows of all sessions it is for; none of those
    whose sender was blocked."""
    query = (
        f"SELECT {_COLUMNS} FROM inbox WHERE msg_id IN"  # noqa: S608
        " (SELECT DISTINCT msg_id FROM inbox WHERE msg_id BETWEEN ?1 AND ?2 AND session_key<>?3 LIMIT 5)"
        " AND session_key<>?3 ORDER BY row"
    )
    return [InboxRow(*r) for r in db.execute(query, (low, high, BLOCKED_KEY))]


def person_rows(
    db: apsw.Connection, mesh: MeshId | None, members: Sequence[bytes] | None, limit: int, *, all_rows: bool
) -> list[InboxRow]:
    """The person's inbox, oldest first; with `all_rows` the newest `limit`, read or not."""
    where, values = _filters(mesh, members)
    order = "DESC" if all_rows else "ASC"
    unread = "" if all_rows else "read_ms=0 AND"
    query = f"SELECT {_COLUMNS} FROM inbox WHERE {unread} person=1{where} ORDER BY row {order} LIMIT ?"  # noqa: S608
    rows = [InboxRow(*r) for r in db.execute(query, (*values, limit))]
    return sorted(rows, key=lambda row: row.row)


def session_rows(
    db: apsw.Connection, key: str, name: str, mesh: MeshId | None, members: Sequence[bytes] | None, limit: int
) -> list[InboxRow]:
    """What waits for a session: its messages neither shown nor printed by its own commands, and the person's that nobody
    has taken yet, but none it wrote."""
    where, values = _filters(mesh, members)
    query = (
        f"SELECT {_COLUMNS} FROM inbox WHERE shown_ms=0 AND read_ms=0 AND (session_key=? OR"  # noqa: S608
        " (session_key='' AND person=1 AND to_session='' AND NOT (path='local' AND from_session=?)))"
        f"{where} ORDER BY row LIMIT ?"
    )
    return [InboxRow(*r) for r in db.execute(query, (key, name, *values, limit))]


def _filters(mesh: MeshId | None, members: Sequence[bytes] | None) -> tuple[str, list[bytes]]:
    where = ""
    values: list[bytes] = []
    if mesh is not None:
        where += " AND mesh=?"
        values.append(mesh)
    if members is not None:
        where += f" AND from_member IN ({','.join('?' * len(members))})"
        values.extend(members)
    return where, values


def count_unread(db: apsw.Connection) -> int:
    row = db.execute("SELECT count(*) FROM inbox WHERE person=1 AND read_ms=0").fetchone()
    return int(row[0]) if row else 0


def assign_session(tx: apsw.Connection, row: int, key: str) -> None:
    tx.execute("UPDATE inbox SET session_key=? WHERE row=? AND shown_ms=0", (key, row))


def set_read(tx: apsw.Connection, row: int, at_ms: int) -> bool:
    tx.execute("UPDATE inbox SET read_ms=? WHERE row=? AND read_ms=0", (at_ms, row))
    return tx.changes() > 0


def set_shown(tx: apsw.Connection, row: int, at_ms: int, evidence: str) -> bool:
    tx.execute("UPDATE inbox SET shown_ms=?, evidence=? WHERE row=? AND shown_ms=0", (at_ms, evidence, row))
    return tx.changes() > 0


def is_shown(db: apsw.Connection, row: int) -> bool:
    return db.execute("SELECT 1 FROM inbox WHERE row=? AND shown_ms>0", (row,)).fetchone() is not None


def correspondents(db: apsw.Connection, key: str, limit: int) -> list[InboxRow]:
    """Of everybody who wrote to a session his last message to it, the newest first."""
    query = (
        f"SELECT {_COLUMNS} FROM inbox WHERE row IN (SELECT max(row) FROM inbox WHERE session_key=?"  # noqa: S608
        " GROUP BY mesh, from_member, from_session) ORDER BY row DESC LIMIT ?"
    )
    return [InboxRow(*r) for r in db.execute(query, (key, limit))]


def set_turn(tx: apsw.Connection, row: int, at_ms: int) -> bool:
    tx.execute("UPDATE inbox SET turn_ms=? WHERE row=? AND turn_ms=0 AND shown_ms>0", (at_ms, row))
    return tx.changes() > 0


class ReceiptDue(NamedTuple):
    """A receipt that this device owes."""

    id: int
    mesh: MeshId
    device: DeviceId
    msg_id: MsgId
    attempt: int
    message_hash: bytes
    state: str
    reason: str
    session: str
    evidence: str
    at_ms: int
    n: int
    expires_ms: int


# The facts of one message are numbered together, whichever of its sessions they are about.
_NEXT_N: Final = (
    "UPDATE inbox SET n=(SELECT max(n)+1 FROM inbox WHERE from_device=? AND msg_id=?) WHERE row=? RETURNING n"
)
_DUE: Final = "id, mesh, device, msg_id, attempt, message_hash, state, reason, session, evidence, at_ms, n, expires_ms"


def owe_receipt(
    tx: apsw.Connection,
    row: InboxRow,
    number: int,
    *,
    state: str,
    at_ms: int,
    session: str,
    evidence: str,
    reason: str = "",
) -> None:
    """Note a receipt in the transaction of the fact it states, and give it the message's next number."""
    found = tx.execute(_NEXT_N, (row.from_device, row.msg_id, number)).fetchone()
    assert found is not None
    _, *names = _DUE.split(", ")
    tx.execute(
        f"INSERT INTO receipt_out({', '.join(names)}) VALUES({','.join('?' * 12)})",
        (
            row.mesh,
            row.from_device,
            row.msg_id,
            row.attempt,
            row.message_hash,
            state,
            reason,
            session,
            evidence,
            at_ms,
            found[0],
            row.expires_ms,
        ),
    )


def owe_refusal(tx: apsw.Connection, row: InboxRow, at_ms: int, reason: str) -> None:
    """Note the one receipt of a message that was not kept."""
    _, *names = _DUE.split(", ")
    values = (row.mesh, row.from_device, row.msg_id, row.attempt, row.message_hash, "refused", reason)
    tx.execute(
        f"INSERT INTO receipt_out({', '.join(names)}) VALUES({','.join('?' * 12)})",
        (*values, "", "", at_ms, 1, row.expires_ms),
    )


def due_receipts(db: apsw.Connection, mesh: MeshId, after: int, limit: int = 512) -> list[ReceiptDue]:
    """Receipts owed, oldest first, above row id `after`."""
    query = f"SELECT {_DUE} FROM receipt_out WHERE mesh=? AND id>? ORDER BY id LIMIT ?"  # noqa: S608
    return [ReceiptDue(*r) for r in db.execute(query, (mesh, after, limit))]


def drop_receipts(tx: apsw.Connection, ids: Sequence[int]) -> None:
    tx.executemany("DELETE FROM receipt_out WHERE id=?", [(i,) for i in ids])


def expire_receipts(tx: apsw.Connection, now_ms: int) -> None:
    """A receipt is worth nothing once its message has expired at the sender."""
    tx.execute("DELETE FROM receipt_out WHERE expires_ms<=?", (now_ms,))
