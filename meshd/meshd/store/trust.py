"""Rows of what is decided of senders, and of messages that are held back from sessions."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import apsw

from mesh_protocol.ids import MemberId, MeshId

HELD_KEY: Final = "held"
"""Stands for the session of a held message; a session's key is 16 hex digits."""


class TrustRow(NamedTuple):
    """`policy` is hold or refuse."""

    mesh: MeshId
    member: MemberId
    policy: str


def read_policy(db: apsw.Connection, mesh: bytes, member: bytes) -> str:
    """allow, hold or refuse."""
    row = db.execute("SELECT policy FROM trust WHERE mesh=? AND member=?", (mesh, member)).fetchone()
    return "allow" if row is None else str(row[0])


def read_policies(db: apsw.Connection, limit: int) -> list[TrustRow]:
    """All that is not allow."""
    query = "SELECT mesh, member, policy FROM trust ORDER BY mesh, member LIMIT ?"
    return [TrustRow(*row) for row in db.execute(query, (limit,))]


def put_policy(tx: apsw.Connection, row: TrustRow) -> None:
    tx.execute("DELETE FROM trust WHERE mesh=? AND member=?", (row.mesh, row.member))
    if row.policy != "allow":
        tx.execute("INSERT INTO trust VALUES(?,?,?)", row)


def hold_rows(tx: apsw.Connection, rows: Sequence[int], at_ms: int) -> None:
    """Keep these inbox rows from every session."""
    for number in rows:
        tx.execute("INSERT INTO held SELECT row, session_key, ? FROM inbox WHERE row=?", (at_ms, number))
        tx.execute("UPDATE inbox SET session_key=? WHERE row=?", (HELD_KEY, number))


def release_rows(tx: apsw.Connection, rows: Sequence[int]) -> list[int]:
    """Let these go to the sessions they were for; those that were held."""
    freed: list[int] = []
    for number in rows:
        found = tx.execute("DELETE FROM held WHERE row=? RETURNING session_key", (number,)).fetchone()
        if found is not None:
            tx.execute("UPDATE inbox SET session_key=? WHERE row=?", (found[0], number))
            freed.append(number)
    return freed


def held_rows(db: apsw.Connection, mesh: bytes, member: bytes, limit: int) -> list[int]:
    """Inbox rows that are held, oldest first; of one sender where one is named (`member` not empty)."""
    query = (
        "SELECT row FROM held JOIN inbox USING(row) WHERE (?1=x'' OR inbox.mesh=?1) AND (?2=x'' OR from_member=?2)"
        " ORDER BY row LIMIT ?3"
    )
    return [int(found[0]) for found in db.execute(query, (mesh, member, limit))]


def count_held_for(db: apsw.Connection, key: str) -> int:
    """Messages for one session that are held."""
    row = db.execute("SELECT count(*) FROM held WHERE session_key=?", (key,)).fetchone()
    return int(row[0]) if row else 0


def count_held(db: apsw.Connection) -> int:
    """Messages that are held, one for each session they are for."""
    row = db.execute("SELECT count(*) FROM held").fetchone()
    return int(row[0]) if row else 0
