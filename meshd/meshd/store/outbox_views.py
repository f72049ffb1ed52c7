"""The outbox as its owner looks at it: what is not stored at its recipient yet, and what ended short of that."""

from typing import Final, NamedTuple

import apsw

from mesh_protocol.ids import DeviceId, MemberId, MeshId, MsgId


class OutboxView(NamedTuple):
    """A text on its way to one device. `content` is sealed; `sealed` says whether its envelope is made."""

    msg_id: MsgId
    device: DeviceId
    mesh: MeshId
    member: MemberId
    to_session: str
    lane: str
    sealed: int
    queued_ms: int
    accepted_ms: int
    expires_ms: int
    ended: str
    reason: str
    content: bytes


_COLUMNS: Final = (
    "d.msg_id, d.device, d.mesh, d.member, d.to_session, m.lane, d.envelope IS NOT NULL, d.queued_ms, d.accepted_ms,"
    " d.expires_ms, d.ended, d.reason, m.content"
)


_FROM: Final = f"SELECT {_COLUMNS} FROM delivery d JOIN message m USING(msg_id) WHERE m.kind='text' AND d.stored_ms=0"  # noqa: S608
_WHOSE: Final = "(?1 IS NULL OR d.mesh=?1) AND (?2='' OR m.scope=?2)"


def list_waiting(db: apsw.Connection, mesh: MeshId | None, scope: str, limit: int) -> list[OutboxView]:
    """What is neither stored nor ended, the oldest first. `scope`: only of that sender; empty: all."""
    query = f"{_FROM} AND d.ended='' AND {_WHOSE} ORDER BY d.expires_ms, d.stream_seq, d.msg_id, d.device LIMIT ?3"
    return [OutboxView(*row) for row in db.execute(query, (mesh, scope, limit))]


def list_failed(db: apsw.Connection, mesh: MeshId | None, scope: str, limit: int) -> list[OutboxView]:
    """What ended without having been stored, the newest first."""
    query = f"{_FROM} AND d.ended<>'' AND {_WHOSE} ORDER BY d.queued_ms DESC, d.msg_id, d.device LIMIT ?3"
    return [OutboxView(*row) for row in db.execute(query, (mesh, scope, limit))]
