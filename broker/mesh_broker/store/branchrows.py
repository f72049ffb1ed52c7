"""Rows of the histories that lie beside a chain, and putting one of them in its place."""

from collections.abc import Sequence

import apsw

from mesh_broker.store.interface import Switch


def add_branch(connection: apsw.Connection, mesh: int, records: Sequence[tuple[bytes, bytes]]) -> None:
    """Records by their hashes; one that is there stays."""
    connection.executemany(
        "INSERT OR IGNORE INTO branch VALUES (?, ?, ?)", [(mesh, digest, data) for digest, data in records]
    )


def cut_chain(connection: apsw.Connection, mesh: int, switch: Switch) -> None:
    """Make room for the other history: the end of the chain, its markers and its seals go, `switch.branches` lie beside."""
    growth = switch.growth
    connection.execute("DELETE FROM record WHERE mesh = ? AND seq >= ?", (mesh, growth.first))
    connection.execute("DELETE FROM log WHERE mesh = ? AND n >= ?", (mesh, growth.log_first))
    connection.execute(
        "DELETE FROM seal WHERE epoch >= ? AND device IN (SELECT no FROM device WHERE mesh = ?)",
        (switch.first_epoch, mesh),
    )
    connection.execute("DELETE FROM branch WHERE mesh = ?", (mesh,))
    add_branch(connection, mesh, [*switch.branches.items()])
