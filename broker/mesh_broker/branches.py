"""Other histories of a chain: kept beside the one that is served, so that daemons on either side see both.

A broker that was restored from a backup and went on has signed two records on one head. It cannot undo that, nor choose:
`forks.judge` does, the same here as in every daemon. A history is taken only with a tip that this broker signed itself,
so that a member gone bad cannot freeze a mesh by a record signed on an old head. While the mesh is frozen nothing is
appended but the resolve that ends it.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final

from mesh_broker.chain import START, grow
from mesh_broker.client import Session
from mesh_broker.forking import Weighed, weigh
from mesh_broker.limits import Limits
from mesh_broker.metrics import Metrics
from mesh_broker.rooms import Room
from mesh_broker.store.interface import ChainEnd, Store, Switch
from mesh_protocol.broker_api import TipAnswer
from mesh_protocol.broker_chain import BranchesAnswer, ChainBranch, ChainBranches
from mesh_protocol.chain import Epoch, Record, decode_body
from mesh_protocol.forks import Frozen, Settled, shared, standing
from mesh_protocol.io.connection import Reply
from mesh_protocol.members import ChainError
from mesh_protocol.op import write_answer
from mesh_protocol.pae import CryptoError, lst, unlst
from mesh_protocol.seals import EpochSeal
from mesh_protocol.tip import Tip, marker, verify_tip
from mesh_protocol.wire.errors import MeshError

MAX_BRANCH_RECORDS: Final = 1_024
"""Records kept beside a chain, and in one offer: verifying them takes some 60 ms."""
PAGE_BYTES: Final = 256 * 1024


class Branches:
    """The other histories of one broker's chains; `public` is the broker's own key."""

    def __init__(
        self, store: Store, limits: Limits, metrics: Metrics, public: bytes, require_room: Callable[[], None]
    ) -> None:
        self._store = store
        self._limits = limits
        self._metrics = metrics
        self._public = public
        self._require_room = require_room

    async def read(self, session: Session, request: ChainBranches, body: bytes) -> Reply:
        """The records kept beside the chain, lowest first."""
        records = sorted(session.room.branches.values(), key=lambda record: (record.seq, record.hash))[request.after :]
        page: list[bytes] = []
        room = PAGE_BYTES
        for record in records:
            page.append(record.encode())
            room -= len(page[-1])
            if room < 0:
                break
        return Reply(write_answer(BranchesAnswer(more=len(page) < len(records))), lst(*page))

    async def offer(self, session: Session, request: ChainBranch, body: bytes) -> Reply:
        """Keep a history that this broker once signed; serve it from now on if a resolve chose it."""
        room = session.room
        self._require_room()
        records = self._read_offer(room, request.tip, body)
        async with room.appending:
            session.require_right()
            served = self._store.records(room.mesh, records[0].seq - 1, len(records), 2**31)
            known = {*served, *(record.encode() for record in room.branches.values())}
            new = {record.hash: record for record in records if record.encode() not in known}
            if new:
                if len(room.branches) + len(new) > MAX_BRANCH_RECORDS:
                    raise MeshError(
                        "too_large",
                        what="other histories",
                        size=len(room.branches) + len(new),
                        limit=MAX_BRANCH_RECORDS,
                    )
                weighed = await self._weigh(room, new)
                await self._take(room, weighed, new, ())
        return Reply(write_answer(TipAnswer(tip=room.tip)))

    def _read_offer(self, room: Room, encoded_tip: bytes, body: bytes) -> list[Record]:
        """Linked records, the last of which the tip names. Raises `chain_invalid`."""
        try:
            tip = Tip.decode(encoded_tip)
            verify_tip(tip, room.mesh, self._public)
            records = [Record.decode(item) for item in unlst(body, max_items=MAX_BRANCH_RECORDS)]
        except CryptoError as error:
            raise MeshError("chain_invalid", why=str(error)) from None
        if not records or records[-1].hash != tip.ref.chain_hash:
            raise MeshError("chain_invalid", why="the tip names another record than the last of these")
        if any(after.prev_hash != before.hash for before, after in pairwise(records)):
            raise MeshError("chain_invalid", why="these records do not follow each other")
        return records

    async def settle(self, room: Room, previous: bytes, records: Sequence[Record], seals: Sequence[EpochSeal]) -> bool:
        """Append to a chain of which other histories are known: a resolve, or nothing while the mesh is frozen.

        False for an append that no other history concerns. Raises `chain_conflict` or `chain_invalid`.
        """
        if previous == room.state.head and not room.frozen:
            return False
        if records[0].type != "resolve" or (previous != room.state.head and previous not in room.branches):
            raise MeshError("chain_conflict")
        weighed = await self._weigh(room, {record.hash: record for record in records})
        result = weighed.result
        if isinstance(result, Frozen) or result.state.head != records[-1].hash:
            raise MeshError("chain_invalid", why="this resolve does not end the fork", reason="bad_resolve")
        await self._take(room, weighed, {}, seals)
        return True

    async def _weigh(self, room: Room, new: Mapping[bytes, Record]) -> Weighed:
        """What the room comes to with `new`. Raises `chain_invalid` unless all of that follows from the chain."""
        branches = {**room.branches, **new}
        try:
            weighed = await weigh(self._store, room.mesh, branches)
        except ChainError as error:
            raise MeshError("chain_invalid", why=str(error), reason=error.reason, seq=error.seq) from None
        if not new.keys() <= standing(weighed.result, [*weighed.served, *branches.values()]):
            raise MeshError("chain_invalid", why="these records do not follow from the chain")
        return weighed

    async def _take(
        self, room: Room, weighed: Weighed, new: Mapping[bytes, Record], seals: Sequence[EpochSeal]
    ) -> None:
        """Store what `weighed` says, then act on it."""
        served, result = weighed
        branches = {**room.branches, **new}
        if isinstance(result, Frozen) or result.records == served:
            promise = self._store.keep_branch(room.mesh, [(digest, record.encode()) for digest, record in new.items()])
            room.pins += 1
            promise.settled(lambda: self._kept(room, promise.succeeded, branches, isinstance(result, Frozen)))
        else:
            switch = self._switch(room, served, result, branches, seals)
            promise = self._store.switch(room.mesh, room.state.head, switch)
            room.pins += 1
            promise.settled(lambda: self._switched(room, promise.succeeded, result, switch))
        await promise.wait()

    def _switch(
        self,
        room: Room,
        served: tuple[Record, ...],
        result: Settled,
        branches: Mapping[bytes, Record],
        seals: Sequence[EpochSeal],
    ) -> Switch:
        if len(result.records) > self._limits.chain_records:
            limit = self._limits.chain_records
            raise MeshError("too_large", what="the chain", size=len(result.records), limit=limit)
        kept = len(shared(served, result.records))
        start = START
        if kept:
            last = result.records[kept - 1]
            log_seq, log_head = self._store.log_place(room.mesh, marker(last.seq, last.hash))
            start = ChainEnd(kept, last.hash, log_seq, log_head)
        now_served = {record.hash for record in result.records[kept:]}
        beside = {**branches, **{record.hash: record for record in served[kept:]}}
        parted = [*served[kept:], *result.records[kept:]]
        epochs = [body.epoch for record in parted if isinstance(body := decode_body(record), Epoch)]
        growth = grow(None, start, result.state, result.records[kept:], seals)
        return Switch(
            growth=growth,
            first_epoch=min(epochs, default=result.state.epoch + 1),
            branches={digest: record.encode() for digest, record in beside.items() if digest not in now_served},
        )

    def _kept(self, room: Room, succeeded: bool, branches: Mapping[bytes, Record], frozen: bool) -> None:
        room.pins -= 1
        if succeeded:
            room.branches = {**branches}
            room.frozen = frozen
            room.announce()
            self._metrics.count("chain_branches_total")

    def _switched(self, room: Room, succeeded: bool, result: Settled, switch: Switch) -> None:
        room.pins -= 1
        if succeeded:
            room.branches = {digest: Record.decode(data) for digest, data in switch.branches.items()}
            room.frozen = False
            room.advance(result.state, switch.growth.end)
            room.silence_removed()
            room.announce()
            self._metrics.count("chain_switches_total")
