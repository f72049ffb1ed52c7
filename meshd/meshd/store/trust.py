"""Rows of what is decided of senders, and of messages that are held back from sessions."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import apsw

from mesh_protocol.ids import DeviceId, MemberId, MeshId
from meshd.store.inbox import BLOCKED_KEY

HELD_KEY: Final = "held"
"""Stands for the session of a held message; a session's key is 16 hex digits."""


class TrustRow(NamedTuple):
    """`policy` is allow, hold, refuse or block; `withheld` are grants that this sender does not have. `at_ms`: when that
    was decided, 0 for never."""

    mesh: MeshId
    member: MemberId
    policy: str
    withheld: frozenset[str] = frozenset()
    at_ms: int = 0


_COLUMNS: Final = "mesh, member, policy, withheld, at_ms"


def read_standing(db: apsw.Connection, mesh: MeshId, member: MemberId) -> TrustRow:
    """What was decided of a sender; of whom nothing was, he is allowed everything."""
    query = f"SELECT {_COLUMNS} FROM trust WHERE mesh=? AND member=?"  # noqa: S608 - constant columns
    row = db.execute(query, (mesh, member)).fetchone()
    return TrustRow(mesh, member, "allow") if row is None else _row(*row)


def read_standings(db: apsw.Connection, mesh: MeshId) -> list[TrustRow]:
    """All that was ever decided in a mesh, also what came back to allow."""
    return [_row(*row) for row in db.execute(f"SELECT {_COLUMNS} FROM trust WHERE mesh=? ORDER BY member", (mesh,))]  # noqa: S608


def read_policies(db: apsw.Connection, limit: int) -> list[TrustRow]:
    """All that is not allow."""
    query = f"SELECT {_COLUMNS} FROM trust WHERE policy<>'allow' ORDER BY mesh, member LIMIT ?"  # noqa: S608
    return [_row(*row) for row in db.execute(query, (limit,))]


def put_standing(tx: apsw.Connection, row: TrustRow) -> None:
    values = (row.mesh, row.member, row.policy, " ".join(sorted(row.withheld)), row.at_ms)
    tx.execute(f"INSERT OR REPLACE INTO trust({_COLUMNS}) VALUES(?,?,?,?,?)", values)


def _row(mesh: MeshId, member: MemberId, policy: str, withheld: str, at_ms: int) -> TrustRow:
    return TrustRow(mesh, member, policy, _words(withheld), at_ms)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def read_told(db: apsw.Connection, mesh: MeshId) -> dict[DeviceId, int]:
    """When each other device of this person was last told all that is decided in a mesh."""
    rows = db.execute("SELECT device, at_ms FROM standing_told WHERE mesh=?", (mesh,))
    return {DeviceId(device): int(at_ms) for device, at_ms in rows}


def put_told(tx: apsw.Connection, mesh: MeshId, device: DeviceId, at_ms: int) -> None:
    tx.execute("INSERT OR REPLACE INTO standing_told VALUES(?,?,?)", (mesh, device, at_ms))


def hide_unread(tx: apsw.Connection, mesh: MeshId, member: MemberId) -> None:
    """Put away for good what a sender wrote and nobody has read or was shown, what is held of him too."""
    tx.execute(
        "UPDATE inbox SET session_key=?, person=0 WHERE mesh=? AND from_member=? AND shown_ms=0 AND read_ms=0",
        (BLOCKED_KEY, mesh, member),
    )
    gone = "DELETE FROM held WHERE EXISTS (SELECT 1 FROM inbox WHERE inbox.row=held.row AND inbox.session_key=?)"
    tx.execute(gone, (BLOCKED_KEY,))


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
