"""Rows of the peers that a person has verified."""

from collections.abc import Iterable

import apsw

from mesh_protocol.ids import DEVICE_ID_SIZE, DeviceId, MemberId, MeshId
from meshd.verified import Pin


def read_pins(db: apsw.Connection) -> list[Pin]:
    rows = db.execute("SELECT mesh, member, name, devices, at_ms FROM verified")
    return [Pin(MeshId(m), MemberId(who), str(name), _devices(data), int(at)) for m, who, name, data, at in rows]


def _devices(data: bytes) -> tuple[DeviceId, ...]:
    return tuple(DeviceId(data[start : start + DEVICE_ID_SIZE]) for start in range(0, len(data), DEVICE_ID_SIZE))


def put_pin(tx: apsw.Connection, pin: Pin, replaced: Iterable[Pin]) -> None:
    for each in replaced:
        tx.execute("DELETE FROM verified WHERE mesh=? AND member=?", (each.mesh, each.member))
    row = (pin.mesh, pin.member, pin.name, b"".join(pin.devices), pin.at_ms)
    tx.execute("INSERT OR REPLACE INTO verified VALUES(?,?,?,?,?)", row)


def read_record(db: apsw.Connection, mesh: MeshId, seq: int) -> bytes:
    """One record of a stored chain."""
    row = db.execute("SELECT record FROM chain WHERE mesh=? AND seq=?", (mesh, seq)).fetchone()
    if row is None:
        raise LookupError("the chain has no such record")
    return bytes(row[0])
