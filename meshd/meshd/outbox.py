"""The durable outbox: a message is on the disk before `send` returns, and stays until a signed receipt or its expiry."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NamedTuple

import apsw
import trio

from mesh_protocol.attachments import Attachment
from mesh_protocol.envelope import MAX_LABEL
from mesh_protocol.ids import DeviceId, MemberId, MeshId, MsgId
from mesh_protocol.names import compare_form
from mesh_protocol.op import MAX_TEXT
from mesh_protocol.pae import BadEncoding
from mesh_protocol.wire.errors import MeshError
from meshd.contents import keep_said
from meshd.grants import require_send
from meshd.link.table import LinkState
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.sealing import seal_delivery, seal_shared, wrap_deliveries
from meshd.sendqueue import SendQueue
from meshd.store import outbox as store
from meshd.store.meshes import set_stream_sent
from meshd.store.outbox import LANES, DeliveryRow, MessageRow
from meshd.targets import Recipient

MAX_WAITING: Final = 10_000
"""Deliveries of one mesh that may wait for the broker (limits: outbox per mesh)."""
LIFETIME_MS: Final = 30 * 24 * 3600 * 1000
"""A message that was not stored by then is reported as expired (delivery design 3.1: 30 days)."""
SMALL_FANOUT: Final = 16
"""Devices sealed to at once in the event loop: 16 x 0.15 ms stays below a frame of 5 ms."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A message before it has an id. `scope` is the calling session or user, which an idempotency key belongs to;
    `audience` is what the caller wrote where that was more than names (`@group`, `*`)."""

    mesh: Mesh
    recipients: Sequence[Recipient]
    text: str
    origin: str
    from_session: str
    lane: str
    reply_to: bytes
    conv: bytes
    scope: str
    idem_key: str
    audience: str = ""
    attachments: Sequence[Attachment] = ()
    wanted: Sequence[str] = ()
    """The targets in full as the caller named them: the same ones may mean others by the time he asks again."""

    def fingerprint(self) -> bytes:
        """What must be equal for two requests to be the same one."""
        parts = [
            self.text,
            self.lane,
            self.reply_to.hex(),
            *(self.wanted or sorted(compare_form(r.to) for r in self.recipients)),
            *(f"{each.name}\0{each.size}\0{each.digest.hex()}" for each in self.attachments),
        ]
        return sha256(b"".join(len(p.encode()).to_bytes(8, "little") + p.encode() for p in parts)).digest()


LocalStore = Callable[[MessageRow, DeliveryRow, bytes], Callable[[apsw.Connection], list[int]]]
"""Prepares, in the event loop, what stores a delivery to this same device within the sender's transaction; that then
returns the numbers of the inbox rows."""


class Target(NamedTuple):
    """One recipient device of a message, and the label that says for whom on it."""

    device: DeviceId
    member: MemberId
    label: str


class Outbox:
    """Takes messages in. Each mesh's link drains its queue."""

    def __init__(
        self, node: Node, store_local: LocalStore, surfaced: Callable[[int], None], max_waiting: int = MAX_WAITING
    ) -> None:
        self._node = node
        self._store_local = store_local
        self._surfaced = surfaced
        self._max_waiting = max_waiting
        self._storing: dict[tuple[MeshId, str, str], trio.Event] = {}
        self._queues: dict[MeshId, SendQueue] = {}
        self._waiting_bound: dict[MeshId, int] = {}
        """At most so many wait for a mesh's broker."""

    def queue(self, mesh: MeshId) -> SendQueue:
        return self._queues.setdefault(mesh, SendQueue())

    def repeat_of(self, draft: Draft) -> MsgId | None:
        """The message that this draft's idempotency key stands for. Raises `idempotency_conflict` for another request."""
        if not draft.idem_key:
            return None
        found = store.find_keyed(self._node.db.reader, draft.mesh.id, draft.scope, draft.idem_key)
        if found is None:
            return None
        if found[1] != draft.fingerprint():
            raise MeshError("idempotency_conflict", key=draft.idem_key)
        return found[0]

    async def send(self, draft: Draft) -> MsgId:
        """Store a message and its deliveries in one commit; returns its id, or the earlier one of a repeated key."""
        size = len(draft.text.encode())
        if size > MAX_TEXT:
            raise MeshError("too_large", what="the message", size=size, limit=MAX_TEXT)
        try:
            text = keep_said(draft.text, draft.attachments)
        except BadEncoding as error:
            raise MeshError("bad_request", what=str(error)) from None
        keyed = (draft.mesh.id, draft.scope, draft.idem_key)
        while (
            draft.idem_key and keyed in self._storing
        ):  # two calls with one key at once: the second waits for the first
            await self._storing[keyed].wait()
        earlier = self.repeat_of(draft)
        if earlier is not None:
            return earlier
        require_send(draft.mesh, draft.recipients)
        self._node.pins.require_unchanged(draft.mesh, draft.recipients, draft.wanted, bool(draft.audience))
        self._require_room(draft)
        message, rows = self._deliveries(draft, self._message(draft, text), text)
        store_local = [self._store_local(message, row, text) for row in rows if row.path == "local"]
        local: list[int] = []
        reached = self._node.seams.reached

        def work(tx: apsw.Connection) -> None:
            local.clear()
            store.add_message(tx, message, rows)
            reached("FP-02")
            for store_one in store_local:
                local.extend(store_one(tx))
            for row in rows:
                if row.stream_seq:
                    set_stream_sent(tx, row.mesh, row.device, row.stream_seq)

        if draft.idem_key:
            self._storing[keyed] = trio.Event()
        reached("FP-01")
        pending = self._node.db.submit(work)
        pending.settled(lambda: self._settled(draft, rows, local, stored=pending.succeeded))
        await pending.wait()
        return message.msg_id

    def _require_room(self, draft: Draft) -> None:
        """Raises `outbox_full`. What stays on this machine needs no room in the queue to the broker."""
        if all(device == self._node.device for recipient in draft.recipients for device in recipient.devices):
            return
        mesh = draft.mesh.id
        waiting = self._waiting_bound.get(mesh, self._max_waiting)
        if (
            waiting >= self._max_waiting
        ):  # only our own sends add to it, so it is counted anew when they may be too many
            waiting = store.count_waiting(self._node.db.reader, mesh)
            if waiting >= self._max_waiting:
                raise MeshError("outbox_full", waiting=waiting, limit=self._max_waiting)
        self._waiting_bound[mesh] = waiting + sum(len(recipient.devices) for recipient in draft.recipients)

    def _settled(self, draft: Draft, rows: Sequence[DeliveryRow], local: Sequence[int], *, stored: bool) -> None:
        """A message is durable: from here on it goes out whatever became of its caller, in the order of its numbers.
        Or it is not, and its numbers are given back."""
        event = self._storing.pop((draft.mesh.id, draft.scope, draft.idem_key), None)
        if event is not None:
            event.set()
        for row in reversed(rows):
            if row.stream_seq and not stored:
                draft.mesh.return_stream(row.device, row.stream_seq)
        if stored:
            self._node.seams.reached("FP-03")
            self.queue(draft.mesh.id).offer(row for row in rows if row.path == "mesh")
            for inbox_row in local:
                self._surfaced(inbox_row)
            self._node.changed(rows[0].msg_id)

    def _message(self, draft: Draft, text: bytes) -> MessageRow:
        node = self._node
        msg_id = MsgId(node.seams.rng(16))
        now = node.now()
        return MessageRow(
            msg_id=msg_id,
            mesh=draft.mesh.id,
            kind="text",
            scope=draft.scope,
            idem_key=draft.idem_key or None,
            fingerprint=draft.fingerprint(),
            from_session=draft.from_session,
            origin=draft.origin,
            lane=draft.lane,
            reply_to=draft.reply_to,
            conv=draft.conv or msg_id,
            created_ms=now,
            expires_ms=now + LIFETIME_MS,
            content=node.seal("message", "content", msg_id, text),
            audience=draft.audience,
        )

    def _deliveries(self, draft: Draft, message: MessageRow, text: bytes) -> tuple[MessageRow, list[DeliveryRow]]:
        """The message and a delivery for each device. To several devices it is sealed once, with its key for each."""
        rows = [self._delivery(draft, message, target) for target in _targets(draft.recipients)]
        away = [row for row in rows if row.path == "mesh"]
        here = [row for row in rows if row.path == "local"]
        node, mesh = self._node, draft.mesh
        # Sealed now where the prekeys are at hand: then the first transmission needs no commit of its own. Not while the
        # broker is away: until it is back, they may have had their time.
        online = mesh.link is LinkState.ONLINE
        if len(away) > 1:
            try:
                message, away = seal_shared(node, mesh, message, text, away)
            except BadEncoding:
                for row in reversed(away):
                    mesh.return_stream(row.device, row.stream_seq)
                raise MeshError(
                    "too_large", what="the message with its recipients", size=len(text), limit=MAX_TEXT
                ) from None
            sealed = {
                row.device: row for row in wrap_deliveries(node, mesh, message, away[:SMALL_FANOUT] if online else [])
            }
            away = [sealed.get(row.device, row) for row in away]
        elif online:
            away = [seal_delivery(node, mesh, message, text, row) or row for row in away]
        return message, [*here, *away]

    def _delivery(self, draft: Draft, message: MessageRow, target: Target) -> DeliveryRow:
        is_local = target.device == self._node.device
        return DeliveryRow(
            msg_id=message.msg_id,
            device=target.device,
            mesh=draft.mesh.id,
            member=target.member,
            to_session=target.label,
            path="local" if is_local else "mesh",
            lane=LANES.index(draft.lane),
            stream_seq=0 if is_local else draft.mesh.next_stream(target.device),
            attempt=0,
            envelope=None,
            message_hash=None,
            outer_hash=None,
            expires_ms=message.expires_ms,
            queued_ms=message.created_ms,
            stored_ms=message.created_ms if is_local else 0,
        )


def _targets(recipients: Sequence[Recipient]) -> list[Target]:
    """Each device once, with the labels of all its recipients joined. Raises `MeshError` before anything is changed."""
    labels: dict[DeviceId, dict[str, None]] = {}
    members: dict[DeviceId, MemberId] = {}
    for recipient in recipients:
        for device in recipient.devices:
            labels.setdefault(device, {})[recipient.session] = None
            members[device] = recipient.member
    targets = [Target(device, members[device], ",".join(found)) for device, found in labels.items()]
    for target in targets:
        if len(target.label.encode()) > MAX_LABEL:
            raise MeshError("bad_request", what="too many sessions of one machine: name a group, or send two messages")
    return targets
