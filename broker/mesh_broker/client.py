"""One live connection, and what it may do in each mesh."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import trio

from mesh_broker.link import BrokerLink
from mesh_broker.log import Log
from mesh_broker.metrics import Metrics
from mesh_broker.outbound import Outbound
from mesh_protocol.ids import DeviceId, InviteId, MeshId
from mesh_protocol.io.connection import Connection, Reply
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.framing import MAX_BODY, MAX_HEADER, PREFIX
from mesh_protocol.wire.rpc import NotificationReceived, Peer, RequestReceived

if TYPE_CHECKING:
    from mesh_broker.acks import AckQueue
    from mesh_broker.meetings import Meeting
    from mesh_broker.rooms import Room
    from mesh_broker.stream import MailStream
    from mesh_broker.turns import Turns

HELLO_MESSAGE = 16 * 1024
"""Before its hello a connection may send this much at once: the hello, and at most two records of a new mesh."""
CLOSE_GOING_AWAY = 1001
CLOSE_POLICY = 1008
NO_BOX = -1
"""Of a session that is no device's."""
CLOSE_REPLACED = 4001
"""A newer connection of the same device took over. In the range that RFC 6455 7.4.2 leaves to applications."""


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """Where a connection comes from. `loopback`: from this machine, not through a proxy."""

    address: str
    loopback: bool


THIS_PROCESS = PeerInfo("this process", True)


class Session:
    """A connection that proved a key for one mesh: a device's, with `invite` the key of an open invite, with `meeting` that
    of a meeting, or the mesh's recovery key. Only a device has a box."""

    __slots__ = (
        "acks",
        "asked",
        "box",
        "channels",
        "client",
        "device",
        "generation",
        "invite",
        "meeting",
        "recovery",
        "room",
        "stream",
        "turns",
    )

    def __init__(
        self,
        client: "Client",
        room: "Room",
        device: DeviceId,
        box: int,
        generation: int,
        invite: InviteId | None,
        meeting: "Meeting | None" = None,
    ) -> None:
        self.client = client
        self.room = room
        self.device = device
        self.box = box
        """The device's box in the store, or `NO_BOX`."""
        self.generation = generation
        self.invite = invite
        self.meeting = meeting
        self.recovery = device == room.state.genesis.recovery_pub
        self.asked: DeviceId | None = None
        """The device that asked to be admitted over this connection."""
        self.stream: MailStream | None = None
        self.acks: AckQueue | None = None
        self.turns: Turns | None = None
        self.channels: frozenset[bytes] = frozenset()

    def require_right(self) -> None:
        """Raises `not_allowed` when the chain has taken back what the hello proved, or has answered the invite."""
        state = self.room.state
        if self.recovery:
            return  # nothing in the chain can take it back
        if self.meeting is not None:
            if self.meeting.over or not state.is_active(self.meeting.opener):
                raise MeshError("not_allowed", why="this meeting is over")
            return
        if self.invite is None:
            if not state.is_active(self.device):
                raise MeshError("not_allowed", why="this device is no longer in the mesh")
        elif not state.invites[self.invite].open and not (self.asked and state.is_active(self.asked)):
            raise MeshError("not_allowed", why="this invite is used up or closed")

    def require_signer(self) -> None:
        if self.device not in self.room.state.signers:
            raise MeshError("not_allowed", why="only a signer of the mesh may do this")


Serve: TypeAlias = Callable[["Client", RequestReceived], Awaitable[Reply]]
Notified: TypeAlias = Callable[["Client", NotificationReceived], None]


class Client:
    """One live connection. `nursery` lives as long as it does."""

    def __init__(
        self,
        link: BrokerLink,
        peer: PeerInfo,
        challenge: bytes,
        nursery: trio.Nursery,
        *,
        serve: Serve,
        notified: Notified,
        log: Log,
        metrics: Metrics,
        reference: Callable[[], str],
    ) -> None:
        self.link = link
        self.peer = peer
        self.challenge = challenge
        self.sessions: dict[MeshId, Session] = {}
        self.hellos_refused = 0
        self.greeted = trio.Event()
        """Set by the first hello that is answered."""
        self.ended = False
        """Nothing may be started any more."""
        link.max_message = HELLO_MESSAGE
        self._rpc = Peer()
        self._nursery = nursery
        self._log = log
        self._metrics = metrics
        self._reference = reference
        self.connection = Connection(
            link,
            serve=lambda request: serve(self, request),
            notified=lambda notification: notified(self, notification),
            failed=self.failed,
            peer=self._rpc,
        )
        self.outbound = Outbound(link, self.spawn, self._too_slow, metrics)

    @property
    def answering(self) -> int:
        """Requests that are not answered yet."""
        return self._rpc.answering

    def greet(self) -> None:
        """A hello was answered: from here on whole frames are taken."""
        self.link.max_message = PREFIX + MAX_HEADER + MAX_BODY
        self.greeted.set()

    def session(self, mesh: MeshId) -> Session:
        """The session of a mesh. Raises `not_allowed` without a hello for it."""
        session = self.sessions.get(mesh)
        if session is None:
            raise MeshError("not_allowed", why="say hello for this mesh first")
        return session

    def spawn(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` beside the connection, if it still lives. An exception of it ends this connection and no other."""
        if not self.ended:
            self._nursery.start_soon(self._contained, work)

    async def _contained(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - one connection's bug must not end the others
            self.failed("task", error)
            await self.close(CLOSE_GOING_AWAY, "internal error")

    def failed(self, method: str, error: BaseException) -> str:
        """Report an unexpected exception; returns the reference that the log names too."""
        reference = self._reference()
        self._metrics.count("failures_total")
        self._log.bug("failure", error, method=method, reference=reference)
        return reference

    async def close(self, code: int, reason: str) -> None:
        """End the connection and say why."""
        self.link.close_with(code, reason)
        await self.connection.aclose(reason)

    def close_soon(self, code: int, reason: str, *, after: float = 0.0) -> None:
        """`close` from outside a task; `after` gives an answer the seconds to go out first."""

        async def close() -> None:
            await trio.sleep(after)
            await self.close(code, reason)

        self.spawn(close)

    def _too_slow(self) -> None:
        self.close_soon(CLOSE_POLICY, "this connection does not read")
