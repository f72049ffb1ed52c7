"""Rows of other histories of a mesh's chain, of the keys that belong to them, and of what a broker signed."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import apsw

from mesh_protocol.ids import MeshId


class KeyRow(NamedTuple):
    """An epoch key of a history that does not count now; `sealed` as in the table of those that do."""

    epoch: int
    kc: bytes
    sealed: bytes


def read_branches(db: apsw.Connection, mesh: MeshId) -> list[bytes]:
    """All encoded records of other histories, in no order."""
    return [bytes(row[0]) for row in db.execute("SELECT record FROM branch WHERE mesh=?", (mesh,))]


def add_branches(tx: apsw.Connection, mesh: MeshId, records: Iterable[tuple[bytes, bytes]]) -> None:
    """Keep encoded records, by their hashes."""
    tx.executemany(
        "INSERT INTO branch VALUES(?,?,?) ON CONFLICT DO NOTHING", [(mesh, digest, data) for digest, data in records]
    )


def replace_chain(tx: apsw.Connection, mesh: MeshId, kept: int, records: Sequence[tuple[bytes, bytes]]) -> None:
    """Put `records` (hash, encoded) after the first `kept` ones of the chain; they are no other history any more."""
    tx.execute("DELETE FROM chain WHERE mesh=? AND seq>?", (mesh, kept))
    for seq, (digest, data) in enumerate(records, kept + 1):
        tx.execute("INSERT INTO chain VALUES(?,?,?)", (mesh, seq, data))
        tx.execute("DELETE FROM branch WHERE mesh=? AND hash=?", (mesh, digest))


def read_branch_keys(db: apsw.Connection, mesh: MeshId) -> list[KeyRow]:
    rows = db.execute("SELECT epoch, kc, sealed FROM branch_key WHERE mesh=?", (mesh,))
    return [KeyRow(int(row[0]), bytes(row[1]), bytes(row[2])) for row in rows]


def exchange_keys(tx: apsw.Connection, mesh: MeshId, out: Iterable[KeyRow], back: Iterable[KeyRow]) -> None:
    """Put aside the epoch keys `out`, which the chain does not commit to any more, and take up `back`, which it does."""
    for key in out:
        tx.execute("INSERT INTO branch_key VALUES(?,?,?,?) ON CONFLICT DO NOTHING", (mesh, *key))
        tx.execute("DELETE FROM epoch_key WHERE mesh=? AND epoch=?", (mesh, key.epoch))
    for key in back:
        tx.execute(
            "INSERT INTO epoch_key VALUES(?,?,?) ON CONFLICT(mesh, epoch) DO UPDATE SET sealed=excluded.sealed",
            (mesh, key.epoch, key.sealed),
        )


def read_tip(db: apsw.Connection, mesh: MeshId) -> bytes | None:
    """The newest tip of our own history that the broker signed."""
    row = db.execute("SELECT tip FROM signed_tip WHERE mesh=?", (mesh,)).fetchone()
    return None if row is None else bytes(row[0])


def put_tip(tx: apsw.Connection, mesh: MeshId, tip: bytes) -> None:
    tx.execute("INSERT INTO signed_tip VALUES(?,?) ON CONFLICT(mesh) DO UPDATE SET tip=excluded.tip", (mesh, tip))


def read_evidence(db: apsw.Connection, mesh: MeshId) -> list[tuple[bytes, int]]:
    """Signed tips of a history that nobody has shown us, and when each came (epoch ms)."""
    rows = db.execute("SELECT tip, at_ms FROM evidence WHERE mesh=? ORDER BY at_ms", (mesh,))
    return [(bytes(row[0]), int(row[1])) for row in rows]


def add_evidence(tx: apsw.Connection, mesh: MeshId, digest: bytes, tip: bytes, at_ms: int) -> None:
    tx.execute("INSERT INTO evidence VALUES(?,?,?,?) ON CONFLICT DO NOTHING", (mesh, digest, tip, at_ms))


def drop_evidence(tx: apsw.Connection, mesh: MeshId, digests: Iterable[bytes]) -> None:
    tx.executemany("DELETE FROM evidence WHERE mesh=? AND hash=?", [(mesh, digest) for digest in digests])
