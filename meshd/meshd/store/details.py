"""Rows of the keys under which devices say what their sessions do, where not everybody may read it."""

import apsw

from mesh_protocol.ids import DeviceId, MeshId


def read_keys(db: apsw.Connection) -> list[tuple[MeshId, DeviceId, bytes]]:
    rows = db.execute("SELECT mesh, device, sealed FROM details_key")
    return [(MeshId(mesh), DeviceId(device), bytes(sealed)) for mesh, device, sealed in rows]


def put_key(tx: apsw.Connection, mesh: MeshId, device: DeviceId, sealed: bytes) -> None:
    tx.execute("INSERT OR REPLACE INTO details_key VALUES(?,?,?)", (mesh, device, sealed))
