"""The rows of one-time prekeys: batches, of which one key after the other is handed out and then is gone."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import apsw

from mesh_broker.store.interface import Given

MAX_BATCHES: Final = 2
"""Batches kept of one device."""


def add_batch(connection: apsw.Connection, box: int, first: int, size: int, batch: bytes, *, replace: bool) -> int:
    """Keep a batch; the number of keys that are left."""
    if replace:
        connection.execute("DELETE FROM onetime WHERE device = ? AND first <> ?", (box, first))
    connection.execute(
        "INSERT INTO onetime (device, first, size, data) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (box, first, size, batch),
    )
    connection.execute(
        "DELETE FROM onetime WHERE device = ?1 AND no NOT IN"
        " (SELECT no FROM onetime WHERE device = ?1 ORDER BY no DESC LIMIT ?2)",
        (box, MAX_BATCHES),
    )
    return count_left(connection, box)


def count_left(connection: apsw.Connection, box: int) -> int:
    """Keys of a device that can still be handed out."""
    row = connection.execute("SELECT ifnull(sum(size - given), 0) FROM onetime WHERE device = ?", (box,)).fetchone()
    return 0 if row is None else int(row[0])


def next_key(connection: apsw.Connection, box: int) -> int:
    """The id of the key of a device that is handed out next; 0 when there is none."""
    sql = "SELECT first + given FROM onetime WHERE device = ? ORDER BY no LIMIT 1"
    row = connection.execute(sql, (box,)).fetchone()
    return 0 if row is None else int(row[0])


def take_keys(connection: apsw.Connection, boxes: Sequence[int]) -> Iterator[Given]:
    """Hand out the next key of each device that has one, from its oldest batch."""
    for box in boxes:
        rows: list[tuple[Any, ...]] = connection.execute(
            "UPDATE onetime SET given = given + 1 WHERE no = (SELECT min(no) FROM onetime WHERE device = ?)"
            " RETURNING no, given, size, data",
            (box,),
        ).fetchall()
        for no, given, size, data in rows:
            if given == size:
                connection.execute("DELETE FROM onetime WHERE no = ?", (no,))
            yield Given(box, given - 1, data, count_left(connection, box))
