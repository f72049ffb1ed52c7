"""Rows of one conversation: what was sent from here, and what came."""

from typing import Final

import apsw

from mesh_protocol.ids import MeshId
from meshd.store.inbox import BLOCKED_KEY, InboxRow
from meshd.store.outbox import MessageRow

_SENT: Final = ", ".join(MessageRow._fields)
_RECEIVED: Final = ", ".join(InboxRow._fields)


def sent_in(db: apsw.Connection, mesh: MeshId, conv: bytes, scope: str, limit: int) -> list[MessageRow]:
    """The newest `limit` texts of a conversation that were sent from here, newest first; by one scope, unless empty."""
    query = (
        f"SELECT {_SENT} FROM message WHERE conv=?1 AND mesh=?2 AND kind='text' AND (?3='' OR scope=?3)"  # noqa: S608
        " ORDER BY created_ms DESC, msg_id LIMIT ?4"
    )
    return [MessageRow(*row) for row in db.execute(query, (conv, mesh, scope, limit))]


def received_in(db: apsw.Connection, mesh: MeshId, conv: bytes, session_key: str, limit: int) -> list[InboxRow]:
    """The newest `limit` messages of a conversation that came, each once, newest first; to one session, unless empty."""
    query = (
        f"SELECT {_RECEIVED} FROM inbox WHERE row IN (SELECT min(row) FROM inbox WHERE conv=?1 AND mesh=?2"  # noqa: S608
        " AND (?3='' OR session_key=?3) AND session_key<>?5 GROUP BY from_device, msg_id) ORDER BY stored_ms DESC, row DESC LIMIT ?4"
    )
    return [InboxRow(*row) for row in db.execute(query, (conv, mesh, session_key, limit, BLOCKED_KEY))]
