"""When this machine learnt of each device of a mesh: the chain's records carry no time."""

from collections.abc import Iterable

import apsw

from mesh_protocol.ids import DeviceId, MeshId


def add_devices(tx: apsw.Connection, mesh: MeshId, devices: Iterable[DeviceId], at_ms: int) -> None:
    """Devices that a record lists; what is known of one already stays."""
    tx.executemany(
        "INSERT INTO device_added VALUES(?,?,?) ON CONFLICT DO NOTHING", [(mesh, device, at_ms) for device in devices]
    )


def read_devices(db: apsw.Connection, mesh: MeshId) -> dict[DeviceId, int]:
    """Epoch ms by device; one that was here from the beginning has no row."""
    found = db.execute("SELECT device, at_ms FROM device_added WHERE mesh=?", (mesh,))
    return {DeviceId(device): int(at_ms) for device, at_ms in found}
