"""The durable outbox: a message is on the disk before `send` returns, and stays until a signed receipt or its expiry."""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, TypeAlias

import apsw
import trio

from mesh_protocol.ids import DeviceId, MeshId, MsgId
from mesh_protocol.names import compare_form
from mesh_protocol.op import MAX_TEXT
from mesh_protocol.wire.errors import MeshError
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.sealing import seal_delivery
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
        parts = [self.text, self.lane, self.reply_to.hex(), *sorted(compare_form(r.to) for r in self.recipients)]
        return sha256(b"".join(len(p.encode()).to_bytes(8, "little") + p.encode() for p in parts)).digest()


Way: TypeAlias = tuple[DeviceId, int]
"""Recipient device and lane: what is kept in order."""


@dataclass(slots=True)
class SendQueue:
    """What waits for one mesh's broker. In memory only; the disk has the truth.

    Each way (device and lane) has one delivery in hand at a time, the lowest number of its stream first: whatever is
    refused and tried again, nothing overtakes it. Among the ways the more urgent lane goes first, then who waits longest.
    """

    more: trio.Event = field(default_factory=trio.Event)
    _ways: dict[Way, list[tuple[int, int, MsgId, DeliveryRow]]] = field(default_factory=dict)
    _heads: list[tuple[int, int, Way]] = field(default_factory=list)
    _busy: set[Way] = field(default_factory=set)
    _known: set[tuple[MsgId, DeviceId, int]] = field(default_factory=set)

    def offer(self, deliveries: Iterable[DeliveryRow]) -> None:
        """Add what is not here or in hand already."""
        for row in deliveries:
            mark = (row.msg_id, row.device, row.attempt)
            if mark not in self._known:
                self._known.add(mark)
                self._push(row)

    def take(self) -> DeliveryRow | None:
        """The next delivery of a way that has none in hand. It must be given to `done` or `put_back`."""
        while self._heads:
            way = heapq.heappop(self._heads)[2]
            rows = self._ways.get(way)
            if rows and way not in self._busy:
                self._busy.add(way)
                return heapq.heappop(rows)[3]
        return None

    def put_back(self, row: DeliveryRow) -> None:
        """Return what was taken and could not be sent yet."""
        self._busy.discard((row.device, row.lane))
        self._push(row)

    def done(self, row: DeliveryRow) -> None:
        """What was taken is sent, or never will be."""
        self._known.discard((row.msg_id, row.device, row.attempt))
        self._busy.discard((row.device, row.lane))
        self._show((row.device, row.lane))

    def reset(self) -> None:
        """A new connection: nothing is in hand."""
        self._ways.clear()
        self._heads.clear()
        self._busy.clear()
        self._known.clear()

    def _push(self, row: DeliveryRow) -> None:
        way = (row.device, row.lane)
        heapq.heappush(self._ways.setdefault(way, []), (row.stream_seq, row.queued_ms, row.msg_id, row))
        self._show(way)

    def _show(self, way: Way) -> None:
        """Let `take` know of a way. One that it knows already is passed over when its turn comes."""
        rows = self._ways.get(way)
        if not rows:
            self._ways.pop(way, None)
        elif way not in self._busy:
            heapq.heappush(self._heads, (way[1], rows[0][1], way))
            self.more.set()


LocalStore = Callable[[MessageRow, DeliveryRow, bytes], Callable[[apsw.Connection], int]]
"""Prepares, in the event loop, what stores a delivery to this same device within the sender's transaction; that then
returns the number of the inbox row."""


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
        keyed = (draft.mesh.id, draft.scope, draft.idem_key)
        while (
            draft.idem_key and keyed in self._storing
        ):  # two calls with one key at once: the second waits for the first
            await self._storing[keyed].wait()
        earlier = self.repeat_of(draft)
        if earlier is not None:
            return earlier
        self._require_room(draft)
        message = self._message(draft, text)
        rows = self._deliveries(draft, message, text)
        store_local = [self._store_local(message, row, text) for row in rows if row.path == "local"]
        local: list[int] = []

        def work(tx: apsw.Connection) -> None:
            local.clear()
            store.add_message(tx, message, rows)
            local.extend(store_one(tx) for store_one in store_local)
            for row in rows:
                if row.stream_seq:
                    set_stream_sent(tx, row.mesh, row.device, row.stream_seq)

        if draft.idem_key:
            self._storing[keyed] = trio.Event()
        pending = self._node.db.submit(work)
        pending.settled(lambda: self._settled(draft, rows, local, stored=pending.succeeded))
        await pending.wait()
        return message.msg_id

    def _require_room(self, draft: Draft) -> None:
        """Raises `outbox_full`. What stays on this machine needs no room in the queue to the broker."""
        if all(device == self._node.device for recipient in draft.recipients for device in recipient.devices):
            return
        waiting = store.count_waiting(self._node.db.reader, draft.mesh.id)
        if waiting >= self._max_waiting:
            raise MeshError("outbox_full", waiting=waiting, limit=self._max_waiting)

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
