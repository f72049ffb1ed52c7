"""Facts about received messages: read by the person, shown to a session, turn started; each with the receipt it owes."""

from collections.abc import Callable, Sequence

import apsw

from mesh_protocol.ids import MsgId
from meshd.contents import Said, read_said
from meshd.inbox import Address, audience_of
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.sessions import Session
from meshd.store import inbox as store
from meshd.store.inbox import InboxRow
from meshd.store.outbox import DeliveryRow, MessageRow


def store_local(
    node: Node, mesh: Mesh, addresses: Sequence[Address], message: MessageRow, delivery: DeliveryRow, text: bytes
) -> Callable[[apsw.Connection], list[int]]:
    """What stores a message between sessions of this device, a row for each of them: no broker, no envelope, no receipt
    mail (path `local`)."""
    content = node.seal("inbox", "content", delivery.device + message.msg_id, text)
    rows = [
        InboxRow(
            row=0,
            mesh=message.mesh,
            msg_id=message.msg_id,
            from_device=delivery.device,
            from_member=mesh.row.member,
            from_session=message.from_session,
            origin=message.origin,
            to_session=address.name,
            session_key=address.session_key,
            person=int(address.person),
            lane=message.lane,
            reply_to=message.reply_to,
            conv=message.conv,
            created_ms=message.created_ms,
            stored_ms=message.created_ms,
            expires_ms=message.expires_ms,
            content=content,
            attempt=0,
            message_hash=b"",
            n=0,
            path="local",
            audience=audience_of(delivery.to_session),
        )
        for address in addresses
    ]

    def work(tx: apsw.Connection) -> list[int]:
        store.mark_seen(tx, delivery.device, message.msg_id, message.created_ms)
        return [store.add_inbox(tx, row) for row in rows]

    return work


class Reading:
    """Marks messages; `receipts_due` wakes the receipts of a mesh."""

    def __init__(self, node: Node, receipts_due: Callable[[Mesh], None]) -> None:
        self._node = node
        self._receipts_due = receipts_due

    def text_of(self, row: InboxRow) -> str:
        """The message's text."""
        return self.said_by(row).text

    def said_by(self, row: InboxRow) -> Said:
        """The message's text and the files it announces."""
        return read_said(self._node.open("inbox", "content", row.from_device + row.msg_id, row.content))

    async def mark_read(self, rows: Sequence[InboxRow], evidence: str) -> int:
        """The person has these on the screen. Returns how many were unread."""
        now = self._node.now()

        def work(tx: apsw.Connection) -> int:
            marked = 0
            for row in rows:
                marked += store.set_read(tx, row.row, now)
                if store.set_shown(tx, row.row, now, evidence):
                    _tell(tx, row, "shown", now, "", evidence)
            return marked

        marked = await self._node.db.write(work)
        self._announce(rows)
        return marked

    async def mark_handed(self, rows: Sequence[InboxRow]) -> int:
        """An agent's command printed these: they are not given again, but nothing proves that they were seen."""
        now = self._node.now()

        def work(tx: apsw.Connection) -> int:
            return sum(store.set_read(tx, row.row, now) for row in rows)

        return await self._node.db.write(work)

    async def close_returned(self, session: Session) -> None:
        """A client without a transcript asks again, so it had the last answer: that is not given once more. It is no
        evidence that a model read it."""
        returned, session.returned = session.returned, []
        if returned:
            await self.mark_handed(returned)

    async def mark_shown(self, row: InboxRow, at_ms: int, session: str, evidence: str) -> bool:
        """There is evidence that a session was shown this message."""

        def work(tx: apsw.Connection) -> bool:
            if not store.set_shown(tx, row.row, at_ms, evidence):
                return False
            _tell(tx, row, "shown", at_ms, session, evidence)
            return True

        shown = await self._node.db.write(work)
        self._announce([row])
        return shown

    async def mark_fate(self, row: InboxRow, state: str, session: str, reason: str) -> None:
        """A message will not be shown for now, or at all: `held`, `refused`, or `stored` again; its sender is told why."""
        now = self._node.now()

        def work(tx: apsw.Connection) -> None:
            if not store.is_shown(tx, row.row):
                _tell(tx, row, state, now, session, "", reason)

        await self._node.db.write(work)
        self._announce([row])

    async def demote(self, rows: Sequence[InboxRow], reason: str) -> None:
        """Too many `now` wait as `next` does; their sender is told why."""
        now = self._node.now()

        def work(tx: apsw.Connection) -> None:
            for row in rows:
                tx.execute("UPDATE inbox SET lane='next' WHERE row=? AND lane='now'", (row.row,))
                if tx.changes():
                    _tell(tx, row, "stored", now, "", "", reason)

        await self._node.db.write(work)
        self._announce(rows)

    async def mark_turn(self, row: InboxRow, at_ms: int, session: str, evidence: str) -> bool:
        """There is evidence that the session began a turn after it was shown this message."""

        def work(tx: apsw.Connection) -> bool:
            if not store.set_turn(tx, row.row, at_ms):
                return False
            _tell(tx, row, "turn_started", at_ms, session, evidence)
            return True

        started = await self._node.db.write(work)
        self._announce([row])
        return started

    def _announce(self, rows: Sequence[InboxRow]) -> None:
        for mesh_id in {row.mesh for row in rows}:
            mesh = self._node.meshes.get(mesh_id)
            if mesh is not None:
                self._receipts_due(mesh)
        for row in rows:
            if row.path == "local":
                self._node.changed(MsgId(row.msg_id))
        self._node.events.publish("inbox")


def _tell(
    tx: apsw.Connection, row: InboxRow, state: str, at_ms: int, session: str, evidence: str, reason: str = ""
) -> None:
    """Owe the sender's device a receipt, or, on this same device, note the fact at once."""
    if row.path != "local":
        store.owe_receipt(tx, row, row.row, state=state, at_ms=at_ms, session=session, evidence=evidence, reason=reason)
        return
    if state not in ("shown", "turn_started"):
        ended = "" if state == "stored" else state
        tx.execute(
            "UPDATE delivery SET ended=?, reason=? WHERE msg_id=? AND device=?",
            (ended, reason, row.msg_id, row.from_device),
        )
        return
    column = "turn_ms" if state == "turn_started" else "shown_ms"
    tx.execute(
        f"UPDATE delivery SET {column}=?, session=?, evidence=?, ended='', reason='' WHERE msg_id=? AND device=?",  # noqa: S608 - two names
        (at_ms, session, evidence, row.msg_id, row.from_device),
    )
