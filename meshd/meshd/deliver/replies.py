"""What sessions answer by their own means: one address for each correspondent of each session.

What a session's agent sends there with SendMessage is a message from that session to that correspondent, in answer to the
last one that was pushed from him. What the session itself tells there is for the ladder.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple, TypeAlias

import trio

from mesh_protocol.ids import DeviceId
from mesh_protocol.pae import lst
from mesh_protocol.wire.errors import MeshError
from meshd.claude.formats import PeerReceipt, PeerReply, reply_address
from meshd.claude.frame import Framed
from meshd.claude.inbox import Inboxes
from meshd.claude.listener import Listener
from meshd.claude.marks import new_mark, new_push_id
from meshd.deliver.digest import DIGEST_SENDER
from meshd.deliver.gate import Pace
from meshd.log import Word, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.outbox import Draft
from meshd.sessions import Session, Sessions
from meshd.store import inbox as store
from meshd.store.inbox import InboxRow
from meshd.targets import Recipient

log = get_logger("deliver")

MAX_ADDRESSES: Final = 32
"""Addresses of one session; of more correspondents the one who wrote longest ago loses his."""
COMPLAINTS: Final = 6
"""Answers a minute of which a session is told that they could not be sent."""

Told: TypeAlias = Callable[[Session, PeerReceipt], Awaitable[None]]
Send: TypeAlias = Callable[[Draft], Awaitable[object]]


class _Key(NamedTuple):
    """A process of a session, and the name of one of its addresses."""

    session: str
    pid: int
    name: str


@dataclass(slots=True, eq=False)
class _Address:
    """`last`: what was pushed from that correspondent last; None for the daemon's own digests, which nobody can answer."""

    uds: str
    life: trio.CancelScope
    last: InboxRow | None


@dataclass(slots=True, eq=False)
class Replies:
    """Made at the first push from a correspondent, gone with the session's process."""

    node: Node
    sessions: Sessions
    inboxes: Inboxes
    send: Send
    told: Told
    _nursery: trio.Nursery | None = None
    _addresses: dict[_Key, _Address] = field(default_factory=dict)
    _complaints: dict[str, Pace] = field(default_factory=dict)

    async def run(self) -> None:
        """Listen again where an earlier life of the daemon did, then serve for ever."""
        self._addresses.clear()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for session in self.sessions.live():
                for row in reversed(store.correspondents(self.node.db.reader, session.key, MAX_ADDRESSES)):
                    await self.address(session, row)
            await trio.sleep_forever()

    async def address(self, session: Session, row: InboxRow | None) -> str:
        """Where the session reaches who wrote `row` (None: nobody); empty where it cannot have such an address."""
        key = _Key(session.key, session.claude.pid, self._name(session, row))
        known = self._addresses.pop(key, None)
        if known is not None:
            self._addresses[key] = known  # the newest stands last
            known.last = row or known.last
            return known.uds
        listener = Listener(
            session.claude,
            self.inboxes.uid,
            self.inboxes.processes,
            lambda item: self._hear(session, key, item),
            credentials=self.inboxes.credentials,
        )
        path = listener.path(key.name)
        uds = reply_address(path) if path is not None else None
        if self._nursery is None or path is None or uds is None:
            return ""
        own = [each for each in self._addresses if each[:2] == key[:2]]
        if len(own) >= MAX_ADDRESSES:
            self._addresses.pop(own[0]).life.cancel()
        address = self._addresses[key] = _Address(uds, trio.CancelScope(), row)
        listens = await self._nursery.start(self._listen, session, key, address, listener, path)
        return uds if listens else ""

    def _name(self, session: Session, row: InboxRow | None) -> str:
        """The same in every life of the daemon, and nothing that others could work out."""
        parts = (row.mesh, row.from_member, row.from_session.encode()) if row is not None else ()
        named = lst(session.key.encode(), str(session.claude.pid).encode(), *parts)
        return blake2b(named, digest_size=8, key=self.node.store_key[:64], person=b"meshd-replies").hexdigest()

    async def _listen(
        self,
        session: Session,
        key: _Key,
        address: _Address,
        listener: Listener,
        path: str,
        *,
        task_status: trio.TaskStatus[bool],
    ) -> None:
        """Until the session's process ends, or the address is given to another correspondent."""
        try:
            with address.life:
                async with trio.open_nursery() as nursery:
                    listens = await nursery.start(listener.run, path)
                    task_status.started(listens)
                    while listens and session.alive and session.claude.pid == key.pid:
                        await session.stirred.wait()
                    nursery.cancel_scope.cancel()
        finally:
            if self._addresses.get(key) is address:
                del self._addresses[key]

    async def _hear(self, session: Session, key: _Key, item: PeerReply | PeerReceipt) -> None:
        address = self._addresses.get(key)
        try:
            if isinstance(item, PeerReceipt):
                await self.told(session, item)
            elif address is not None:
                await self._answer(session, address.last, item)
        except MeshError as error:
            log.warning("what a session said could not be taken in", code=Word(error.code))
            if isinstance(item, PeerReply) and error.code != "idempotency_conflict":  # that one was sent already
                await self._complain(session, error.message)

    async def _answer(self, session: Session, row: InboxRow | None, reply: PeerReply) -> None:
        mesh = self.node.meshes.get(row.mesh) if row is not None else None
        if row is None or mesh is None:
            raise MeshError("bad_request", what="this address is not one that can be answered: use send_message")
        if mesh.alarm:
            raise MeshError("broker_rollback", mesh=mesh.slug)
        await self.send(
            Draft(
                mesh=mesh,
                recipients=[self._recipient(mesh, row)],
                text=reply.text,
                origin="agent",
                from_session=session.name,
                lane="next",
                reply_to=row.msg_id,
                conv=row.conv,
                scope=f"session:{session.key}",
                idem_key=f"SendMessage:{reply.msg_id}",
            )
        )

    def _recipient(self, mesh: Mesh, row: InboxRow) -> Recipient:
        """Who wrote: the session on the machine it wrote from, or the person on all of his."""
        name = mesh.name_of(row.from_member)
        active = mesh.state.active_devices(row.from_member) if row.from_member in mesh.state.members else ()
        devices: tuple[DeviceId, ...] = tuple(
            device for device in active if not row.from_session or device == row.from_device
        )
        to = f"{name}/{row.from_session}" if row.from_session else name
        if not devices:
            raise MeshError("unknown_recipient", target=to, candidates=[])
        return Recipient(to, row.from_member, devices, row.from_session)

    async def _complain(self, session: Session, why: str) -> None:
        """Tell the agent that what it believes to be sent was not: SendMessage had no way to say so."""
        pace = self._complaints.setdefault(session.key, Pace(COMPLAINTS))
        now = trio.current_time()
        if not pace.room(now):
            return
        pace.note(now)
        rng = self.node.seams.rng
        text = f"Your last SendMessage to a mesh address was not sent: {why} [mesh notice {new_mark(rng)}]"
        await self.inboxes.push(session.claude, new_push_id(rng), DIGEST_SENDER, Framed(text, whole=True))
