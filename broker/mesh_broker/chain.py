"""Membership chains: append by compare-and-set, read, and the epoch seals that lie beside them.

The broker verifies every record on its own copy with the same fold as a daemon, so that it cannot be made to carry a
chain that nobody accepts. It could still lie; daemons verify for themselves.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import trio

from mesh_broker.client import Session
from mesh_broker.limits import Buckets, Limits
from mesh_broker.metrics import Metrics
from mesh_broker.rooms import Room
from mesh_broker.store.interface import ChainEnd, Growth, Store
from mesh_protocol.broker_api import Done, TipAnswer
from mesh_protocol.broker_chain import ChainAnswer, ChainAppend, ChainRead, SealsAck, SealsAnswer, SealsRead
from mesh_protocol.chain import AddMember, Record, decode_body
from mesh_protocol.ids import DeviceId, InviteId, MeshId
from mesh_protocol.io.connection import Reply
from mesh_protocol.members import ChainError, ChainState, extend
from mesh_protocol.op import write_answer
from mesh_protocol.pae import BadEncoding, lst, unlst
from mesh_protocol.seals import EpochSeal
from mesh_protocol.tip import EMPTY_LOG_HEAD, log_head, marker
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.framing import MAX_BODY

MAX_APPEND_RECORDS: Final = 64
MAX_APPEND_SEALS: Final = 2048
DECODE_STEP: Final = 128
PAGE_BYTES: Final = 256 * 1024
PAGE_RECORDS: Final = 256
START: Final = ChainEnd(0, b"", 0, EMPTY_LOG_HEAD)
Settle: TypeAlias = Callable[[Room, bytes, Sequence[Record], Sequence[EpochSeal]], Awaitable[bool]]
DONE: Final = Reply(write_answer(Done()))


class Chains:
    """The chain operations of one broker. `require_room` raises `storage_full` while the disk is nearly full; `settle`
    takes an append that ends a fork, and refuses one that a fork forbids."""

    def __init__(
        self,
        store: Store,
        limits: Limits,
        metrics: Metrics,
        now: Callable[[], float],
        require_room: Callable[[], None],
        settle: Settle,
    ) -> None:
        self._store = store
        self._limits = limits
        self._metrics = metrics
        self._require_room = require_room
        self._settle = settle
        self._rate: Buckets[tuple[MeshId, DeviceId]] = Buckets(limits.append_rate, limits.append_burst, now)

    async def append(self, session: Session, request: ChainAppend, body: bytes) -> Reply:
        """Verify, commit, tell everybody. Of appends at the same time exactly one wins."""
        room = session.room
        wait = self._rate.take((room.mesh, session.device))
        if wait:
            raise MeshError("rate_limited", retry_after=round(wait, 3))
        self._require_room()
        records, seals = await read_append(body)
        if session.recovery and any(record.signer != session.device for record in records):
            raise MeshError("not_allowed", why="the recovery key appends only what it has signed")
        async with room.appending:
            session.require_right()  # the append we waited for may have removed this device
            if room.branches and await self._settle(room, request.previous, records, seals):
                return Reply(write_answer(TipAnswer(tip=room.tip)))
            if request.previous != room.state.head:
                self._metrics.count("chain_conflicts_total")
                raise MeshError("chain_conflict")
            if room.state.seq + len(records) > self._limits.chain_records:
                raise MeshError("too_large", what="the chain", size=room.state.seq, limit=self._limits.chain_records)
            state = judge(room.state, records)
            growth = grow(room.state, room.end, state, records, seals)
            promise = self._store.append(room.mesh, request.previous, growth)
            # Whoever asked may go away meanwhile: what became durable must be known here all the same.
            room.pins += 1
            promise.settled(lambda: self._settled(room, promise.succeeded, state, growth.end))
            await promise.wait()
        return Reply(write_answer(TipAnswer(tip=room.tip)))

    def _settled(self, room: Room, succeeded: bool, state: ChainState, end: ChainEnd) -> None:
        room.pins -= 1
        if succeeded:
            room.advance(state, end)
            room.silence_removed()
            room.announce()
            self._metrics.count("chain_appends_total")

    async def read(self, session: Session, request: ChainRead, body: bytes) -> Reply:
        end = session.room.end.seq
        records = self._store.records(session.room.mesh, request.after, PAGE_RECORDS, PAGE_BYTES)
        return Reply(write_answer(ChainAnswer(more=request.after + len(records) < end)), lst(*records))

    async def read_seals(self, session: Session, request: SealsRead, body: bytes) -> Reply:
        seals = self._store.seals(session.box, MAX_BODY - 64 * 1024)
        return Reply(write_answer(SealsAnswer(count=len(seals))), lst(*seals))

    async def drop_seals(self, session: Session, request: SealsAck, body: bytes) -> Reply:
        await self._store.drop_seals(session.box, request.epoch).wait()
        return DONE


async def read_append(body: bytes) -> tuple[list[Record], list[EpochSeal]]:
    """The records and seals of an append's body, a few at a time. Raises `chain_invalid`."""
    try:
        parts = unlst(body, max_items=2)
        if len(parts) != 2:
            raise BadEncoding("an append has a list of records and a list of seals")
        records = [Record.decode(item) for item in unlst(parts[0], max_items=MAX_APPEND_RECORDS)]
        items = unlst(parts[1], max_items=MAX_APPEND_SEALS)
        seals: list[EpochSeal] = []
        for start in range(0, len(items), DECODE_STEP):
            seals += [EpochSeal.decode(item) for item in items[start : start + DECODE_STEP]]
            await trio.lowlevel.checkpoint()
    except BadEncoding as error:
        raise MeshError("chain_invalid", why=str(error)) from None
    if not records:
        raise MeshError("chain_invalid", why="an append without a record")
    return records, seals


def judge(state: ChainState | None, records: Sequence[Record]) -> ChainState:
    """The state after `records`. Raises `chain_invalid` with the rule that was broken."""
    try:
        return extend(state, records)
    except ChainError as error:
        raise MeshError("chain_invalid", why=str(error), reason=error.reason, seq=error.seq) from None


def grow(
    before: ChainState | None,
    end: ChainEnd,
    state: ChainState,
    records: Sequence[Record],
    seals: Sequence[EpochSeal],
) -> Growth:
    """What an append to a judged chain writes. Raises `chain_invalid` for a seal that belongs to nobody here."""
    for seal in seals:
        if not state.is_active(seal.to_device) or seal.epoch > state.epoch:
            raise MeshError("chain_invalid", why="a seal for no device or no epoch of this mesh")
    encoded = [record.encode() for record in records]
    markers: list[tuple[bytes, bytes]] = []
    log_end = end.log_head
    for n, record in enumerate(records, end.log_seq + 1):
        item = marker(record.seq, record.hash)
        log_end = log_head(state.mesh_id, n, log_end, item)
        markers.append((item, log_end))
    admitted: list[tuple[InviteId, DeviceId]] = []
    for record in records:
        admission = decode_body(record) if record.type == "add_member" else None
        if isinstance(admission, AddMember) and admission.invite_id:
            admitted.append((InviteId(admission.invite_id), admission.device))
    known = before.devices if before is not None else {}
    open_before = before.invites if before is not None else {}
    return Growth(
        first=end.seq + 1,
        records=encoded,
        log_first=end.log_seq + 1,
        markers=markers,
        end=ChainEnd(state.seq, state.head, end.log_seq + len(markers), log_end),
        devices=[device for device in state.devices if device not in known],
        seals=[(seal.to_device, seal.epoch, seal.encode()) for seal in seals],
        admitted=admitted,
        gone=[
            device
            for device, was in known.items()
            if was.active and (not state.is_active(device) or state.devices[device].added_seq != was.added_seq)
        ],
        closed=[invite for invite, was in open_before.items() if was.open and not state.invites[invite].open],
    )
