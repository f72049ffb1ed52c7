"""Rows of voids: what this device says of numbers of its streams under which nothing will come."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

import apsw

from mesh_protocol.ids import DeviceId, MeshId, MsgId


class GivenUp(NamedTuple):
    """A number of the stream to a device whose message will not come."""

    mesh: MeshId
    device: DeviceId
    number: int


_UNSENT = "path='mesh' AND stream_seq>0 AND stored_ms=0 AND ended='' AND accepted_ms=0"


def expiring_numbers(db: apsw.Connection, now_ms: int) -> list[GivenUp]:
    """The numbers of what no broker took before it expired."""
    query = f"SELECT mesh, device, stream_seq FROM delivery WHERE {_UNSENT} AND expires_ms<=?"  # noqa: S608
    return [GivenUp(*row) for row in db.execute(query, (now_ms,))]


def unsent_numbers(db: apsw.Connection, msg_id: MsgId) -> list[GivenUp]:
    """The numbers of a message at the devices for which no broker took it."""
    query = f"SELECT mesh, device, stream_seq FROM delivery WHERE {_UNSENT} AND msg_id=?"  # noqa: S608
    return [GivenUp(*row) for row in db.execute(query, (msg_id,))]


def void_messages(db: apsw.Connection) -> list[MsgId]:
    """All voids that are kept."""
    return [MsgId(row[0]) for row in db.execute("SELECT msg_id FROM message WHERE kind='void'")]


def forget_voids(tx: apsw.Connection, msg_ids: Iterable[MsgId]) -> list[MsgId]:
    """Drop those of `msg_ids` that have done their work: the broker has them, or they ended. Returns the others."""
    left: list[MsgId] = []
    for msg_id in msg_ids:
        tx.execute("DELETE FROM delivery WHERE msg_id=? AND (accepted_ms>0 OR ended<>'')", (msg_id,))
        if tx.execute("SELECT 1 FROM delivery WHERE msg_id=?", (msg_id,)).fetchone() is None:
            tx.execute("DELETE FROM message WHERE msg_id=?", (msg_id,))
        else:
            left.append(msg_id)
    return left


def cancel_deliveries(tx: apsw.Connection, msg_id: MsgId, reason: str) -> Collection[DeviceId]:
    """End a message at the devices for which no broker took it; returns these."""
    rows = tx.execute(
        "UPDATE delivery SET ended='cancelled', reason=?, envelope=NULL WHERE msg_id=? AND path='mesh' AND stored_ms=0"
        " AND ended='' AND accepted_ms=0 RETURNING device",
        (reason, msg_id),
    )
    return {DeviceId(row[0]) for row in rows}
