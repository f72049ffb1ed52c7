"""Rows of what this device sends: a message once, a delivery for each recipient device."""

from collections.abc import Iterable
from typing import Final, NamedTuple

import apsw

from mesh_protocol.ids import DeviceId, MemberId, MeshId, MsgId

LANES: Final = ("now", "next", "low")

ENDS: Final = frozenset(
    {"held", "refused", "expired", "cancelled", "no_such_session", "removed", "too_large", "unreadable"}
)
"""Why a delivery goes no further. `held`, `expired` and `cancelled` may still be overtaken by a later receipt."""


class MessageRow(NamedTuple):
    """A message of this device. `content` is sealed under the store key; `conv` names its conversation."""

    msg_id: MsgId
    mesh: MeshId
    kind: str
    scope: str
    idem_key: str | None
    fingerprint: bytes
    from_session: str
    origin: str
    lane: str
    reply_to: bytes
    conv: bytes
    created_ms: int
    expires_ms: int
    content: bytes
    audience: str = ""
    shared: bytes | None = None
    secret: bytes | None = None


class DeliveryRow(NamedTuple):
    """One recipient device of a message. Times are epoch ms, 0 for not yet; `lane` is its index in `LANES`."""

    msg_id: MsgId
    device: DeviceId
    mesh: MeshId
    member: MemberId
    to_session: str
    path: str
    lane: int
    stream_seq: int
    attempt: int
    envelope: bytes | None
    message_hash: bytes | None
    outer_hash: bytes | None
    expires_ms: int
    queued_ms: int
    accepted_ms: int = 0
    stored_ms: int = 0
    shown_ms: int = 0
    turn_ms: int = 0
    n: int = 0
    ended: str = ""
    session: str = ""
    evidence: str = ""
    reason: str = ""

    @property
    def state(self) -> str:
        """The one word for how far it got; a later fact overrides an earlier end that was only a lack of news."""
        if self.turn_ms:
            return "turn_started"
        if self.shown_ms:
            return "shown"
        if self.ended:
            return self.ended
        if self.stored_ms:
            return "stored"
        return "accepted" if self.accepted_ms else "queued"


_MESSAGE: Final = (
    "msg_id, mesh, kind, scope, idem_key, fingerprint, from_session, origin, lane, reply_to, conv, created_ms,"
    " expires_ms, content, audience, shared, secret"
)
_DELIVERY: Final = (
    "msg_id, device, mesh, member, to_session, path, lane, stream_seq, attempt, envelope, message_hash, outer_hash,"
    " expires_ms, queued_ms, accepted_ms, stored_ms, shown_ms, turn_ms, n, ended, session, evidence, reason"
)


def add_message(tx: apsw.Connection, message: MessageRow, deliveries: Iterable[DeliveryRow]) -> None:
    tx.execute(f"INSERT INTO message({_MESSAGE}) VALUES({','.join('?' * 17)})", message)
    tx.executemany(
        f"INSERT INTO delivery({_DELIVERY}) VALUES({','.join('?' * 23)})",
        deliveries,
    )


def find_keyed(db: apsw.Connection, mesh: MeshId, scope: str, key: str) -> tuple[MsgId, bytes] | None:
    """The message and fingerprint of an idempotency key."""
    row = db.execute(
        "SELECT msg_id, fingerprint FROM message WHERE mesh=? AND scope=? AND idem_key=?", (mesh, scope, key)
    ).fetchone()
    return None if row is None else (MsgId(row[0]), bytes(row[1]))


def read_message(db: apsw.Connection, msg_id: bytes) -> MessageRow | None:
    row = db.execute(f"SELECT {_MESSAGE} FROM message WHERE msg_id=?", (msg_id,)).fetchone()  # noqa: S608
    return None if row is None else MessageRow(*row)


def find_messages(db: apsw.Connection, low: bytes, high: bytes) -> list[MsgId]:
    """At most 5 own text messages whose id lies in the closed range: what a prefix of an id means."""
    rows = db.execute("SELECT msg_id FROM message WHERE msg_id BETWEEN ? AND ? AND kind='text' LIMIT 5", (low, high))
    return [MsgId(r[0]) for r in rows]


def read_deliveries(db: apsw.Connection, msg_id: bytes) -> list[DeliveryRow]:
    query = f"SELECT {_DELIVERY} FROM delivery WHERE msg_id=? ORDER BY member, device"  # noqa: S608
    return [DeliveryRow(*r) for r in db.execute(query, (msg_id,))]


def read_delivery(db: apsw.Connection, msg_id: bytes, device: bytes) -> DeliveryRow | None:
    query = f"SELECT {_DELIVERY} FROM delivery WHERE msg_id=? AND device=?"  # noqa: S608
    row = db.execute(query, (msg_id, device)).fetchone()
    return None if row is None else DeliveryRow(*row)


def waiting_deliveries(db: apsw.Connection, mesh: MeshId, limit: int = 100_000) -> list[DeliveryRow]:
    """What the broker has not accepted yet, each way (device and lane) in the order of its numbers."""
    query = (
        f"SELECT {_DELIVERY} FROM delivery WHERE mesh=? AND accepted_ms=0 AND ended='' AND path='mesh'"  # noqa: S608
        " ORDER BY lane, stream_seq LIMIT ?"
    )
    return [DeliveryRow(*r) for r in db.execute(query, (mesh, limit))]


def count_waiting(db: apsw.Connection, mesh: MeshId) -> int:
    """Deliveries that wait for the broker, without what the daemon says by itself: that has no number in a stream."""
    row = db.execute(
        "SELECT count(*) FROM delivery WHERE mesh=? AND accepted_ms=0 AND ended='' AND path='mesh' AND stream_seq>0",
        (mesh,),
    ).fetchone()
    return int(row[0]) if row else 0


def set_envelopes(tx: apsw.Connection, deliveries: Iterable[DeliveryRow]) -> None:
    """Keep the sealed bytes before they are sent for the first time."""
    tx.executemany(
        "UPDATE delivery SET envelope=?, message_hash=?, outer_hash=?, attempt=?, accepted_ms=0"
        " WHERE msg_id=? AND device=? AND stored_ms=0",
        [(d.envelope, d.message_hash, d.outer_hash, d.attempt, d.msg_id, d.device) for d in deliveries],
    )


def set_accepted(tx: apsw.Connection, msg_id: bytes, device: bytes, attempt: int, at_ms: int) -> None:
    tx.execute(
        "UPDATE delivery SET accepted_ms=? WHERE msg_id=? AND device=? AND attempt=? AND accepted_ms=0",
        (at_ms, msg_id, device, attempt),
    )


def set_ended(tx: apsw.Connection, msg_id: bytes, device: bytes, ended: str, reason: str) -> None:
    """An end that this side decides (expired, removed, refused by the broker)."""
    tx.execute(
        "UPDATE delivery SET ended=?, reason=?, envelope=NULL WHERE msg_id=? AND device=? AND ended='' AND stored_ms=0",
        (ended, reason, msg_id, device),
    )


REMOVED: Final = "the device is no longer in the mesh"
"""Why a delivery ended whose recipient was taken out."""


def end_removed(tx: apsw.Connection, mesh: MeshId, devices: Iterable[DeviceId]) -> list[MsgId]:
    """End what waits for devices that were taken out, or is on its way to them; the messages that this concerns."""
    ended: list[MsgId] = []
    for device in devices:
        rows = tx.execute(
            "UPDATE delivery SET ended='removed', reason=?, envelope=NULL"
            " WHERE mesh=? AND device=? AND path='mesh' AND stored_ms=0 AND ended='' RETURNING msg_id",
            (REMOVED, mesh, device),
        )
        ended += [MsgId(row[0]) for row in rows]
    return ended


class ReceiptFact(NamedTuple):
    """What a recipient device signed about a message."""

    msg_id: MsgId
    message_hash: bytes
    state: str
    reason: str
    session: str
    evidence: str
    at_ms: int
    n: int


def apply_receipt(tx: apsw.Connection, device: bytes, fact: ReceiptFact) -> bool:
    """Merge a receipt: it counts only from a device this message was sealed to, for this very signed message, and with a
    number above the last one. Returns whether it changed anything."""
    tx.execute(
        "UPDATE delivery SET n=?1, session=CASE WHEN ?2='' THEN session ELSE ?2 END,"
        " evidence=CASE WHEN ?3='' THEN evidence ELSE ?3 END, reason=?4,"
        " stored_ms=CASE WHEN stored_ms=0 AND ?5 IN ('stored','shown','turn_started') THEN ?6 ELSE stored_ms END,"
        " shown_ms=CASE WHEN shown_ms=0 AND ?5 IN ('shown','turn_started') THEN ?6 ELSE shown_ms END,"
        " turn_ms=CASE WHEN turn_ms=0 AND ?5='turn_started' THEN ?6 ELSE turn_ms END,"
        " ended=CASE WHEN ?5 IN ('stored','shown','turn_started')"
        "   THEN CASE WHEN ended IN ('held','expired','cancelled') THEN '' ELSE ended END ELSE ?5 END,"
        " accepted_ms=CASE WHEN accepted_ms=0 THEN ?6 ELSE accepted_ms END, envelope=NULL"
        " WHERE msg_id=?7 AND device=?8 AND message_hash=?9 AND n<?1",
        (
            fact.n,
            fact.session,
            fact.evidence,
            fact.reason,
            fact.state,
            fact.at_ms,
            fact.msg_id,
            device,
            fact.message_hash,
        ),
    )
    changed = tx.changes() > 0
    if fact.session and fact.state in ("shown", "turn_started"):
        changed |= _note_session(tx, device, fact)
    return changed


def _note_session(tx: apsw.Connection, device: bytes, fact: ReceiptFact) -> bool:
    """Where a message is for several sessions of a device, how far it got at one of them."""
    turn = fact.at_ms if fact.state == "turn_started" else 0
    tx.execute(
        "INSERT INTO delivery_session(msg_id, device, session, shown_ms, turn_ms, evidence)"
        " SELECT msg_id, device, ?1, ?2, ?3, ?4 FROM delivery WHERE msg_id=?5 AND device=?6 AND message_hash=?7"
        " AND (instr(to_session, ',') OR to_session='*' OR to_session LIKE '@%')"
        " ON CONFLICT DO UPDATE SET turn_ms=max(turn_ms, ?3), evidence=?4 WHERE turn_ms=0",
        (fact.session, fact.at_ms, turn, fact.evidence, fact.msg_id, device, fact.message_hash),
    )
    return tx.changes() > 0


class SessionFact(NamedTuple):
    """How far a message got at one of several sessions of a device; epoch ms, 0 for not yet."""

    device: DeviceId
    session: str
    shown_ms: int
    turn_ms: int
    evidence: str


def read_session_facts(db: apsw.Connection, msg_id: bytes) -> list[SessionFact]:
    query = (
        "SELECT device, session, shown_ms, turn_ms, evidence FROM delivery_session WHERE msg_id=?"
        " ORDER BY device, session"
    )
    return [SessionFact(*r) for r in db.execute(query, (msg_id,))]


def offer_again(tx: apsw.Connection, mesh: MeshId) -> None:
    """What a broker accepted and no recipient has stored is to be sent once more, the same bytes."""
    tx.execute(
        "UPDATE delivery SET accepted_ms=0"
        " WHERE mesh=? AND path='mesh' AND accepted_ms>0 AND stored_ms=0 AND ended='' AND envelope IS NOT NULL",
        (mesh,),
    )


EXPIRED: Final = "no receipt came in time"
"""Why a delivery ended that nobody was heard of."""


def expire_deliveries(tx: apsw.Connection, now_ms: int) -> list[MsgId]:
    """End what no receipt came for in time."""
    rows = list(
        tx.execute("SELECT DISTINCT msg_id FROM delivery WHERE stored_ms=0 AND ended='' AND expires_ms<=?", (now_ms,))
    )
    tx.execute(
        "UPDATE delivery SET ended='expired', reason=?, envelope=NULL WHERE stored_ms=0 AND ended='' AND expires_ms<=?",
        (EXPIRED, now_ms),
    )
    return [MsgId(r[0]) for r in rows]


def forget_bounces(tx: apsw.Connection) -> None:
    """Bounces have done their work once the broker has them."""
    tx.execute(
        "DELETE FROM delivery WHERE accepted_ms>0 AND msg_id IN (SELECT msg_id FROM message WHERE kind='bounce')"
    )
    tx.execute("DELETE FROM message WHERE kind='bounce' AND msg_id NOT IN (SELECT msg_id FROM delivery)")
