"""The durable outbox: a message is on the disk before `send` returns, and stays until a signed receipt or its expiry."""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import apsw
import trio

from mesh_protocol.ids import DeviceId, MeshId, MsgId
from mesh_protocol.wire.errors import MeshError
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.sealing import seal_delivery
from meshd.store import outbox as store
from meshd.store.meshes import set_stream_sent
from meshd.store.outbox import LANES, DeliveryRow, MessageRow
from meshd.targets import Recipient

MAX_TEXT: Final = 64 * 1024
MAX_WAITING: Final = 10_000
"""Deliveries of one mesh that may wait for the broker (limits: outbox per mesh)."""
LIFETIME_MS: Final = 30 * 24 * 3600 * 1000
"""A message that was not stored by then is reported as expired (delivery design 3.1: 30 days)."""
SMALL_FANOUT: Final = 16
"""Devices sealed to at once in the event loop: 16 x 0.15 ms stays below a frame of 5 ms."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A message before it has an id. `scope` is the calling session or user, which an idempotency key belongs to."""

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

    def fingerprint(self) -> bytes:
        """What must be equal for two requests to be the same one."""
        parts = [self.text, self.lane, self.reply_to.hex(), *sorted(r.to for r in self.recipients)]
        return sha256(b"".join(len(p.encode()).to_bytes(8, "little") + p.encode() for p in parts)).digest()


@dataclass(slots=True)
class SendQueue:
    """What waits for one mesh's broker, in the order in which it goes out. In memory only; the disk has the truth."""

    more: trio.Event = field(default_factory=trio.Event)
    _heap: list[tuple[int, int, int, DeviceId, DeliveryRow]] = field(default_factory=list)
    _known: set[tuple[MsgId, DeviceId, int]] = field(default_factory=set)

    def offer(self, deliveries: Iterable[DeliveryRow]) -> None:
        """Add what is not here or in flight already."""
        for row in deliveries:
            mark = (row.msg_id, row.device, row.attempt)
            if mark not in self._known:
                self._known.add(mark)
                self.put_back(row)

    def put_back(self, row: DeliveryRow) -> None:
        """Return what was taken and could not be sent yet."""
        heapq.heappush(self._heap, (row.lane, row.queued_ms, row.stream_seq, row.device, row))
        self.more.set()

    def take(self) -> DeliveryRow | None:
        """The next delivery; it counts as known until `done`."""
        return heapq.heappop(self._heap)[4] if self._heap else None

    def done(self, row: DeliveryRow) -> None:
        self._known.discard((row.msg_id, row.device, row.attempt))

    def reset(self) -> None:
        """A new connection: nothing is in flight."""
        self._heap.clear()
        self._known.clear()

    def __len__(self) -> int:
        return len(self._known)


LocalStore = Callable[[MessageRow, DeliveryRow, bytes], Callable[[apsw.Connection], int]]
"""Prepares, in the event loop, what stores a delivery to this same device within the sender's transaction; that then
returns the number of the inbox row."""


class Outbox:
    """Takes messages in. Each mesh's link drains its queue."""

    def __init__(self, node: Node, store_local: LocalStore, surfaced: Callable[[int], None]) -> None:
        self._node = node
        self._store_local = store_local
        self._surfaced = surfaced
        self._queues: dict[MeshId, SendQueue] = {}

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
        text = draft.text.encode()
        if len(text) > MAX_TEXT:
            raise MeshError("too_large", what="the message", size=len(text), limit=MAX_TEXT)
        earlier = self.repeat_of(draft)
        if earlier is not None:
            return earlier
        queue = self.queue(draft.mesh.id)
        if len(queue) >= MAX_WAITING:
            raise MeshError("outbox_full", waiting=len(queue), limit=MAX_WAITING)
        message = self._message(draft, text)
        rows = self._deliveries(draft, message, text)
        local: list[int] = []
        store_local = [self._store_local(message, row, text) for row in rows if row.path == "local"]

        def work(tx: apsw.Connection) -> None:
            local.clear()
            store.add_message(tx, message, rows)
            local.extend(store_one(tx) for store_one in store_local)
            for row in rows:
                if row.stream_seq:
                    set_stream_sent(tx, row.mesh, row.device, row.stream_seq)

        try:
            await self._node.db.write(work)
        except apsw.ConstraintError:
            earlier = self.repeat_of(draft)  # two calls with one key at once: the other one won
            if earlier is None:
                raise
            return earlier
        queue.offer(row for row in rows if row.path == "mesh")
        for inbox_row in local:
            self._surfaced(inbox_row)
        self._node.changed(message.msg_id)
        return message.msg_id

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
        )

    def _deliveries(self, draft: Draft, message: MessageRow, text: bytes) -> list[DeliveryRow]:
        rows: list[DeliveryRow] = []
        for recipient in draft.recipients:
            for device in recipient.devices:
                is_local = device == self._node.device
                row = DeliveryRow(
                    msg_id=message.msg_id,
                    device=device,
                    mesh=draft.mesh.id,
                    member=recipient.member,
                    to_session=recipient.session,
                    path="local" if is_local else "mesh",
                    lane=LANES.index(draft.lane),
                    stream_seq=0 if is_local else draft.mesh.next_stream(device),
                    attempt=0,
                    envelope=None,
                    message_hash=None,
                    outer_hash=None,
                    expires_ms=message.expires_ms,
                    queued_ms=message.created_ms,
                    stored_ms=message.created_ms if is_local else 0,
                )
                if not is_local and len(rows) < SMALL_FANOUT:
                    # Sealed now where the prekey is at hand: then the first transmission needs no commit of its own.
                    row = seal_delivery(self._node, draft.mesh, message, text, row) or row
                rows.append(row)
        return rows
