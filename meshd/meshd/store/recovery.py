"""Recovery keys of meshes that were made or restored here: the private half, sealed, until it is kept offline."""

from typing import NamedTuple

import apsw

from mesh_protocol.ids import MeshId


class RecoveryRow(NamedTuple):
    """`sealed` is None once the key was removed from here; `backed_up_ms` is 0 until it is in a backup."""

    sealed: bytes | None
    backed_up_ms: int


def put_recovery(tx: apsw.Connection, mesh: MeshId, row: RecoveryRow) -> None:
    tx.execute("INSERT OR REPLACE INTO recovery(mesh, sealed, backed_up_ms) VALUES(?,?,?)", (mesh, *row))


def read_recovery(db: apsw.Connection, mesh: MeshId) -> RecoveryRow | None:
    """None for a mesh whose recovery key never was here."""
    row = db.execute("SELECT sealed, backed_up_ms FROM recovery WHERE mesh=?", (mesh,)).fetchone()
    return None if row is None else RecoveryRow(None if row[0] is None else bytes(row[0]), int(row[1]))


def set_backed_up(tx: apsw.Connection, mesh: MeshId, at_ms: int) -> None:
    tx.execute("UPDATE recovery SET backed_up_ms=? WHERE mesh=?", (at_ms, mesh))


def drop_sealed(tx: apsw.Connection, mesh: MeshId) -> None:
    """Take the private half away; that it was backed up stays known. SQLite overwrites the page (secure_delete)."""
    tx.execute("UPDATE recovery SET sealed=NULL WHERE mesh=? AND backed_up_ms>0", (mesh,))
