"""How old prekeys are, and one-time prekeys: their private halves, sealed under the store key, and who used which."""

from collections.abc import Iterable
from typing import NamedTuple

import apsw

from mesh_protocol.ids import DeviceId, MeshId, MsgId


class Age(NamedTuple):
    """A signed prekey of this device: when it was made, and how long this machine was connected to the broker since."""

    prekey_id: int
    made_ms: int
    connected_ms: int


class OneTimeRow(NamedTuple):
    """The private half of a one-time prekey, sealed."""

    prekey_id: int
    sealed: bytes
    made_ms: int


class Use(NamedTuple):
    """The message that a one-time prekey was used for."""

    from_device: DeviceId
    msg_id: MsgId


def read_ages(db: apsw.Connection, mesh: MeshId) -> list[Age]:
    """All signed prekeys whose private half is here, oldest first."""
    sql = "SELECT prekey_id, made_ms, connected_ms FROM prekey WHERE mesh=? ORDER BY prekey_id"
    return [Age(*row) for row in db.execute(sql, (mesh,))]


def add_connected(tx: apsw.Connection, mesh: MeshId, connected_ms: int) -> None:
    tx.execute("UPDATE prekey SET connected_ms = connected_ms + ? WHERE mesh=?", (connected_ms, mesh))


def drop_prekeys(tx: apsw.Connection, mesh: MeshId, ids: Iterable[int]) -> None:
    """Forget private halves; `secure_delete` overwrites them."""
    tx.executemany("DELETE FROM prekey WHERE mesh=? AND prekey_id=?", [(mesh, prekey_id) for prekey_id in ids])


def add_onetime(tx: apsw.Connection, mesh: MeshId, rows: Iterable[OneTimeRow]) -> None:
    tx.executemany("INSERT INTO onetime VALUES(?,?,?,?)", [(mesh, *row) for row in rows])


def drop_onetime(tx: apsw.Connection, mesh: MeshId, first: int, last: int) -> None:
    """Forget the one-time prekeys with ids from `first` to `last`."""
    tx.execute("DELETE FROM onetime WHERE mesh=? AND prekey_id BETWEEN ? AND ?", (mesh, first, last))


def read_onetime(db: apsw.Connection, mesh: MeshId, prekey_id: int) -> bytes | None:
    """The sealed private half, until it is used or too old."""
    row = db.execute("SELECT sealed FROM onetime WHERE mesh=? AND prekey_id=?", (mesh, prekey_id)).fetchone()
    return None if row is None else bytes(row[0])


def newest_onetime(db: apsw.Connection, mesh: MeshId) -> int:
    """When the newest one-time prekey that is here was made; 0 without one."""
    row = db.execute("SELECT max(made_ms) FROM onetime WHERE mesh=?", (mesh,)).fetchone()
    return 0 if row is None or row[0] is None else int(row[0])


def is_used(db: apsw.Connection, mesh: MeshId, first: int, last: int) -> bool:
    """Whether one of the one-time prekeys with ids from `first` to `last` went with a message."""
    sql = "SELECT EXISTS(SELECT 1 FROM onetime_used WHERE mesh=? AND prekey_id BETWEEN ? AND ?)"
    ((used,),) = db.execute(sql, (mesh, first, last)).fetchall()
    return bool(used)


def spend_onetime(tx: apsw.Connection, mesh: MeshId, prekey_id: int, use: Use, at_ms: int) -> None:
    """Delete the private half, and keep for which message it went."""
    tx.execute("DELETE FROM onetime WHERE mesh=? AND prekey_id=?", (mesh, prekey_id))
    tx.execute("INSERT INTO onetime_used VALUES(?,?,?,?,?) ON CONFLICT DO NOTHING", (mesh, prekey_id, *use, at_ms))


def read_use(db: apsw.Connection, mesh: MeshId, prekey_id: int) -> Use | None:
    sql = "SELECT from_device, msg_id FROM onetime_used WHERE mesh=? AND prekey_id=?"
    row = db.execute(sql, (mesh, prekey_id)).fetchone()
    return None if row is None else Use(DeviceId(row[0]), MsgId(row[1]))


def forget_onetime(tx: apsw.Connection, mesh: MeshId, before_ms: int, keep: int) -> int:
    """Forget one-time prekeys made, and uses noted, before `before_ms`, and all but the `keep` newest; the number of
    private halves that are gone."""
    tx.execute("DELETE FROM onetime_used WHERE mesh=? AND at_ms < ?", (mesh, before_ms))
    tx.execute(
        "DELETE FROM onetime WHERE mesh=?1 AND (made_ms < ?2 OR prekey_id IN (SELECT prekey_id FROM onetime WHERE mesh=?1"
        " ORDER BY made_ms DESC, prekey_id DESC LIMIT -1 OFFSET ?3))",
        (mesh, before_ms, keep),
    )
    return tx.changes()
