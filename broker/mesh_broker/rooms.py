"""The meshes that somebody is connected to, in memory: the verified chain, the signed tip, the live sessions."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from mesh_broker.client import Session
from mesh_broker.forking import VERIFY_STEP, weigh
from mesh_broker.outbound import notification
from mesh_broker.store.interface import ChainEnd, Store
from mesh_protocol.broker_api import TIP, TipPush
from mesh_protocol.chain import Record
from mesh_protocol.forks import Frozen
from mesh_protocol.ids import DeviceId, MeshId
from mesh_protocol.keys import SigningKey
from mesh_protocol.members import ChainState, extend, settled
from mesh_protocol.tip import TipRef, sign_tip


class Room:
    """One mesh. `state` is what the broker itself verified; `end` and `tip` say how far it has come."""

    def __init__(self, mesh: MeshId, state: ChainState, end: ChainEnd, key: SigningKey, store: Store) -> None:
        self.mesh = mesh
        self.appending = trio.Lock()
        self.sessions: dict[DeviceId, Session] = {}
        self.invited: set[Session] = set()
        self.channels: dict[bytes, dict[Session, None]] = {}
        self.pins = 0
        self.branches: dict[bytes, Record] = {}
        """Records of other histories, by hash."""
        self.frozen = False
        """They stand against the chain, and no resolve has chosen."""
        self._key = key
        self._store = store
        self._boxes: dict[DeviceId, int] = {}
        self.advance(state, end)

    def advance(self, state: ChainState, end: ChainEnd) -> None:
        """Take over what an append made durable."""
        self.state = state
        self.end = end
        self.tip = sign_tip(self._key, self.mesh, TipRef(*end)).encode()

    def announce(self) -> None:
        """Push the tip to every connection of the mesh."""
        frame = notification(TIP, TipPush(mesh=self.mesh, tip=self.tip, branches=len(self.branches)))
        for session in (*self.sessions.values(), *self.invited):
            session.client.outbound.tip(self.mesh, frame)

    def silence_removed(self) -> None:
        """Push no mail and no live frame any more to a device that the chain has taken out. It is told the tip still,
        and why, when it asks for what is behind it."""
        for session in self.sessions.values():
            if not self.state.is_active(session.device):
                if session.stream is not None:
                    session.stream.stop()
                self.subscribe(session, frozenset())

    def box(self, device: DeviceId) -> int | None:
        """The box of a device that the chain has ever listed."""
        box = self._boxes.get(device)
        if box is None and device in self.state.devices:
            box = self._store.box(self.mesh, device)
            if box is not None:
                self._boxes[device] = box
        return box

    def attach(self, session: Session) -> Session | None:
        """Let a session in; the one of the same device that it replaces is returned."""
        self.pins += 1
        if session.meeting is not None:
            return None  # not of the mesh: it is told nothing of it
        if session.invite is not None or session.recovery:
            self.invited.add(session)
            return None
        older = self.sessions.get(session.device)
        self.sessions[session.device] = session
        return older

    def detach(self, session: Session) -> None:
        """Forget a session; one that was replaced takes nothing of its successor along."""
        self.pins -= 1
        self.invited.discard(session)
        if self.sessions.get(session.device) is session:
            del self.sessions[session.device]
        self.subscribe(session, frozenset())
        if session.stream is not None:
            session.stream.stop()
        if session.meeting is not None:
            session.meeting.leave(session)

    def subscribe(self, session: Session, channels: frozenset[bytes]) -> None:
        """Replace the channels of a session."""
        for channel in session.channels - channels:
            listeners = self.channels[channel]
            del listeners[session]
            if not listeners:
                del self.channels[channel]
        for channel in channels - session.channels:
            self.channels.setdefault(channel, {})[session] = None
        session.channels = channels


class Rooms:
    """All rooms of a broker. Those that nobody needs stay while their chains have `kept_records` together."""

    def __init__(self, store: Store, key: SigningKey, kept_records: int) -> None:
        self._store = store
        self._kept_records = kept_records
        self._key = key
        self._rooms: OrderedDict[MeshId, Room] = OrderedDict()
        self._loading: dict[MeshId, trio.Lock] = {}

    def __iter__(self) -> Iterator[Room]:
        return iter(tuple(self._rooms.values()))

    @contextmanager
    def held(self, room: Room) -> Iterator[Room]:
        """Keep a room in memory for as long as the context."""
        room.pins += 1
        try:
            yield room
        finally:
            room.pins -= 1
            self._forget_unused()

    async def find(self, mesh: MeshId) -> Room | None:
        """The room of a mesh, loaded and verified if need be; None for a mesh that is not here.

        Hold it before the next await.
        """
        room = self._rooms.get(mesh)
        if room is not None:
            self._rooms.move_to_end(mesh)
            return room
        if self._store.chain_end(mesh) is None:
            return None
        lock = self._loading.setdefault(mesh, trio.Lock())
        async with lock:
            room = self._rooms.get(mesh) or await self._load(mesh)
            self._rooms[mesh] = room
        self._loading.pop(mesh, None)
        return room

    async def _load(self, mesh: MeshId) -> Room:
        state: ChainState | None = None
        while True:
            end = self._store.chain_end(mesh)
            assert end is not None
            after = 0 if state is None else state.seq
            if after == end.seq:
                assert state is not None
                room = Room(mesh, state, end, self._key, self._store)
                room.branches = {record.hash: record for record in map(Record.decode, self._store.branch(mesh))}
                if room.branches:
                    room.frozen = isinstance((await weigh(self._store, mesh, room.branches)).result, Frozen)
                return room
            page = [Record.decode(data) for data in self._store.records(mesh, after, VERIFY_STEP, 2**31)]
            state = extend(state, page[: settled(page)])  # a page may end inside an append
            await trio.lowlevel.checkpoint()

    def _forget_unused(self) -> None:
        kept = 0
        for room in [room for room in reversed(self._rooms.values()) if not room.pins]:
            kept += room.end.seq
            if kept > self._kept_records:
                del self._rooms[room.mesh]
