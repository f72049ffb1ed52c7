"""Rows of members' machines that want to leave a mesh, and the end of a mesh on this machine."""

from typing import Final, NamedTuple

import apsw

from mesh_protocol.ids import DeviceId, MeshId
from meshd.store.meshes import MeshRow, put_mesh, set_meta


class Leaver(NamedTuple):
    """`seq` is the record under which the device said so: of an earlier stay in the mesh it says nothing."""

    device: DeviceId
    seq: int
    at_ms: int


def put_leaver(tx: apsw.Connection, mesh: MeshId, device: DeviceId, seq: int, at_ms: int) -> None:
    """Keep a wish; a newer one of the same device takes its place."""
    tx.execute(
        "INSERT INTO leaver VALUES(?,?,?,?) ON CONFLICT(mesh, device) DO UPDATE SET seq=max(seq, excluded.seq)",
        (mesh, device, seq, at_ms),
    )


def read_leavers(db: apsw.Connection, mesh: MeshId) -> list[Leaver]:
    """The oldest first."""
    rows = db.execute("SELECT device, seq, at_ms FROM leaver WHERE mesh=? ORDER BY at_ms, device", (mesh,))
    return [Leaver(DeviceId(row[0]), int(row[1]), int(row[2])) for row in rows]


def drop_leaver(tx: apsw.Connection, mesh: MeshId, device: DeviceId) -> None:
    tx.execute("DELETE FROM leaver WHERE mesh=? AND device=?", (mesh, device))


class Received(NamedTuple):
    """Messages of a mesh in the inboxes here."""

    all: int
    unread: int


def count_messages(db: apsw.Connection, mesh: MeshId) -> Received:
    sql = (
        "SELECT count(DISTINCT msg_id), count(DISTINCT CASE WHEN read_ms=0 AND shown_ms=0 THEN msg_id END)"
        " FROM inbox WHERE mesh=?"
    )
    row = db.execute(sql, (mesh,)).fetchone()
    return Received(int(row[0]), int(row[1])) if row is not None else Received(0, 0)


STATE: Final = ("mesh", "chain")
"""What a machine that still waits for its removal needs: which mesh, and who may sign it."""
SECRETS: Final = (
    *("epoch_key", "prekey", "onetime", "onetime_used", "message", "delivery", "receipt_out", "inbox", "stream"),
    *("live_seen", "profile", "trust", "standing_told", "verified", "recovery", "details_key"),
    *("branch", "branch_key", "signed_tip", "evidence", "confirmed", "leaver", "device_added"),
)
"""All other tables that hold rows of a mesh."""


def forget_secrets(tx: apsw.Connection, row: MeshRow, default: MeshId | None) -> None:
    """Delete all of a mesh but what is needed to leave it; `row` says that it is being left. `secure_delete` overwrites."""
    _delete_secrets(tx, row.mesh)
    put_mesh(tx, row)
    _set_default(tx, default)


def forget_mesh(tx: apsw.Connection, mesh: MeshId, default: MeshId | None) -> None:
    """Delete everything of a mesh; `default` is the default mesh from now on."""
    _delete_secrets(tx, mesh)
    for table in STATE:
        tx.execute(f"DELETE FROM {table} WHERE mesh=?", (mesh,))  # noqa: S608 - constant names
    _set_default(tx, default)


def _set_default(tx: apsw.Connection, default: MeshId | None) -> None:
    if default is not None:
        set_meta(tx, "default_mesh", default)
    else:
        tx.execute("DELETE FROM meta WHERE key='default_mesh'")


def _delete_secrets(tx: apsw.Connection, mesh: MeshId) -> None:
    tx.execute("DELETE FROM delivery_session WHERE msg_id IN (SELECT msg_id FROM message WHERE mesh=?)", (mesh,))
    tx.execute("DELETE FROM held WHERE row IN (SELECT row FROM inbox WHERE mesh=?)", (mesh,))
    for table in SECRETS:
        tx.execute(f"DELETE FROM {table} WHERE mesh=?", (mesh,))  # noqa: S608 - constant names
