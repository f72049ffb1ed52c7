"""Rows of the highest record of the chain that each other machine was seen to hold."""

from collections.abc import Iterable

import apsw

from mesh_protocol.ids import DeviceId, MeshId


def read_confirmed(db: apsw.Connection, mesh: MeshId) -> list[tuple[DeviceId, int]]:
    rows = db.execute("SELECT device, seq FROM confirmed WHERE mesh=?", (mesh,))
    return [(DeviceId(row[0]), int(row[1])) for row in rows]


def put_confirmed(tx: apsw.Connection, mesh: MeshId, rows: Iterable[tuple[DeviceId, int]]) -> None:
    tx.executemany(
        "INSERT INTO confirmed VALUES(?,?,?) ON CONFLICT(mesh, device) DO UPDATE SET seq=excluded.seq",
        [(mesh, device, seq) for device, seq in rows],
    )
