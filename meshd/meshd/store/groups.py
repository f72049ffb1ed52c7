"""Rows of groups: which of them the sessions here are in, and what every device last said of its own (sealed)."""

from collections.abc import Iterable
from typing import NamedTuple

import apsw

from mesh_protocol.ids import DeviceId, MeshId


class MemberRow(NamedTuple):
    """A session of this device in a group."""

    session_key: str
    name: str
    role: str
    joined_ms: int


def read_members(db: apsw.Connection) -> list[MemberRow]:
    """Oldest first."""
    query = "SELECT session_key, name, role, joined_ms FROM group_member ORDER BY joined_ms, name"
    return [MemberRow(*row) for row in db.execute(query)]


def put_member(tx: apsw.Connection, row: MemberRow, instead_of: str) -> None:
    """Join, or change the role. `instead_of` is the name as it was written before, or empty."""
    drop_member(tx, row.session_key, instead_of)
    tx.execute("INSERT OR REPLACE INTO group_member VALUES(?,?,?,?)", row)


def drop_member(tx: apsw.Connection, session_key: str, name: str) -> None:
    tx.execute("DELETE FROM group_member WHERE session_key=? AND name=?", (session_key, name))


def forget_members(tx: apsw.Connection, session_keys: Iterable[str]) -> None:
    """Drop the memberships of sessions that are not remembered any more."""
    tx.executemany("DELETE FROM group_member WHERE session_key=?", [(key,) for key in session_keys])


class ProfileRow(NamedTuple):
    """The newest profile of a device. `at_ms`: when it was made; `sealed` under the store key."""

    mesh: MeshId
    device: DeviceId
    version: int
    at_ms: int
    sealed: bytes


def read_profiles(db: apsw.Connection) -> list[ProfileRow]:
    return [ProfileRow(*row) for row in db.execute("SELECT mesh, device, version, at_ms, sealed FROM profile")]


def put_profile(tx: apsw.Connection, row: ProfileRow) -> bool:
    """Keep a profile; false when one as new or newer is here already."""
    tx.execute(
        "INSERT INTO profile VALUES(?,?,?,?,?) ON CONFLICT(mesh, device) DO UPDATE SET version=excluded.version,"
        " at_ms=excluded.at_ms, sealed=excluded.sealed WHERE excluded.version>version",
        row,
    )
    return tx.changes() > 0


def put_own_profile(tx: apsw.Connection, row: ProfileRow) -> None:
    """Keep what this device says of itself, and to whom it was said."""
    tx.execute("INSERT OR REPLACE INTO profile VALUES(?,?,?,?,?)", row)


def withdraw(tx: apsw.Connection, msg_id: bytes) -> None:
    """Forget a message that a newer one replaces, sent or not."""
    tx.execute("DELETE FROM delivery WHERE msg_id=?", (msg_id,))
    tx.execute("DELETE FROM message WHERE msg_id=?", (msg_id,))
