"""Rows of meshes, their chains, keys and prekeys. What is secret comes and goes sealed under the store key."""

from collections.abc import Iterable
from typing import NamedTuple

import apsw

from mesh_protocol.ids import DeviceId, MemberId, MeshId


class MeshRow(NamedTuple):
    """One mesh. `state` is joining, active or leaving. `secret`, sealed: the name key once active, the invite link
    before, nothing once it leaves."""

    mesh: MeshId
    slug: str
    state: str
    me: str
    member: MemberId
    broker_url: str
    broker_key: bytes
    secret: bytes
    created_ms: int
    next_mseq: int
    trouble: str


_COLUMNS = "mesh, slug, state, me, member, broker_url, broker_key, secret, created_ms, next_mseq, trouble"


def get_meta(db: apsw.Connection, key: str) -> bytes | None:
    row = db.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
    return None if row is None else bytes(row[0])


def set_meta(tx: apsw.Connection, key: str, value: bytes) -> None:
    tx.execute("INSERT INTO meta VALUES(?,?) ON CONFLICT(key) DO UPDATE SET value=excluded.value", (key, value))


def list_meshes(db: apsw.Connection) -> list[MeshRow]:
    """All meshes, oldest first."""
    return [
        MeshRow(MeshId(r[0]), r[1], r[2], r[3], MemberId(r[4]), *r[5:])
        for r in db.execute(f"SELECT {_COLUMNS} FROM mesh ORDER BY created_ms, mesh")  # noqa: S608 - constant columns
    ]


def put_mesh(tx: apsw.Connection, row: MeshRow) -> None:
    """Insert or replace. A slug that is taken raises `apsw.ConstraintError`."""
    tx.execute(
        "INSERT INTO mesh(mesh, slug, state, me, member, broker_url, broker_key, secret, created_ms, next_mseq, trouble)"
        " VALUES(?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT(mesh) DO UPDATE SET slug=excluded.slug, state=excluded.state,"
        " me=excluded.me, member=excluded.member, broker_url=excluded.broker_url, broker_key=excluded.broker_key,"
        " secret=excluded.secret, next_mseq=excluded.next_mseq, trouble=excluded.trouble",
        row,
    )


def drop_mesh(tx: apsw.Connection, mesh: MeshId) -> None:
    """Forget a mesh that was never entered."""
    for table in ("mesh", "chain", "device_added", "epoch_key", "prekey", "onetime", "onetime_used"):
        tx.execute(f"DELETE FROM {table} WHERE mesh=?", (mesh,))  # noqa: S608 - constant names


def set_trouble(tx: apsw.Connection, mesh: MeshId, trouble: str) -> None:
    tx.execute("UPDATE mesh SET trouble=? WHERE mesh=?", (trouble, mesh))


def set_next_mseq(tx: apsw.Connection, mesh: MeshId, next_mseq: int) -> None:
    tx.execute("UPDATE mesh SET next_mseq=? WHERE mesh=?", (next_mseq, mesh))


def read_chain(db: apsw.Connection, mesh: MeshId) -> list[bytes]:
    """The encoded records, in order."""
    return [bytes(r[0]) for r in db.execute("SELECT record FROM chain WHERE mesh=? ORDER BY seq", (mesh,))]


def add_records(tx: apsw.Connection, mesh: MeshId, records: Iterable[tuple[int, bytes]]) -> None:
    """Records that were verified against what is stored. The same record twice is fine, another at its place is not."""
    for seq, record in records:
        found = tx.execute("SELECT record FROM chain WHERE mesh=? AND seq=?", (mesh, seq)).fetchone()
        if found is None:
            tx.execute("INSERT INTO chain VALUES(?,?,?)", (mesh, seq, record))
        elif bytes(found[0]) != record:
            raise ValueError("another record stands at this place of the chain")


def put_epoch_key(tx: apsw.Connection, mesh: MeshId, epoch: int, sealed: bytes) -> None:
    tx.execute("INSERT INTO epoch_key VALUES(?,?,?) ON CONFLICT DO NOTHING", (mesh, epoch, sealed))


def read_epoch_keys(db: apsw.Connection, mesh: MeshId) -> list[tuple[int, bytes]]:
    return [(int(r[0]), bytes(r[1])) for r in db.execute("SELECT epoch, sealed FROM epoch_key WHERE mesh=?", (mesh,))]


class PrekeyRow(NamedTuple):
    """A signed prekey of this device: the private half sealed, the public one encoded and signed."""

    prekey_id: int
    sealed: bytes
    signed: bytes
    made_ms: int


def put_prekey(tx: apsw.Connection, mesh: MeshId, row: PrekeyRow) -> None:
    tx.execute("INSERT INTO prekey(mesh, prekey_id, sealed, signed, made_ms) VALUES(?,?,?,?,?)", (mesh, *row))


def read_prekeys(db: apsw.Connection, mesh: MeshId) -> list[PrekeyRow]:
    """All prekeys whose private half is still here, oldest first."""
    return [
        PrekeyRow(*r)
        for r in db.execute(
            "SELECT prekey_id, sealed, signed, made_ms FROM prekey WHERE mesh=? ORDER BY prekey_id", (mesh,)
        )
    ]


def read_streams(db: apsw.Connection, mesh: MeshId) -> dict[DeviceId, tuple[int, int]]:
    """For each other device the last number sent to it and got from it."""
    rows = db.execute("SELECT device, sent, got FROM stream WHERE mesh=?", (mesh,))
    return {DeviceId(r[0]): (int(r[1]), int(r[2])) for r in rows}


def set_stream_sent(tx: apsw.Connection, mesh: MeshId, device: DeviceId, number: int) -> None:
    tx.execute(
        "INSERT INTO stream(mesh, device, sent) VALUES(?,?,?)"
        " ON CONFLICT(mesh, device) DO UPDATE SET sent=max(sent, excluded.sent)",
        (mesh, device, number),
    )


def set_stream_got(tx: apsw.Connection, mesh: MeshId, device: DeviceId, number: int) -> None:
    tx.execute(
        "INSERT INTO stream(mesh, device, got) VALUES(?,?,?)"
        " ON CONFLICT(mesh, device) DO UPDATE SET got=max(got, excluded.got)",
        (mesh, device, number),
    )


def read_live_seen(db: apsw.Connection, mesh: MeshId) -> dict[DeviceId, tuple[int, int]]:
    rows = db.execute("SELECT device, generation, n FROM live_seen WHERE mesh=?", (mesh,))
    return {DeviceId(r[0]): (int(r[1]), int(r[2])) for r in rows}


def put_live_seen(tx: apsw.Connection, mesh: MeshId, seen: Iterable[tuple[DeviceId, int, int]]) -> None:
    for device, generation, number in seen:
        tx.execute(
            "INSERT INTO live_seen VALUES(?,?,?,?)"
            " ON CONFLICT(mesh, device) DO UPDATE SET generation=excluded.generation, n=excluded.n",
            (mesh, device, generation, number),
        )
