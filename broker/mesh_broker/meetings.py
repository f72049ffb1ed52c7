"""Where two devices of one person meet before one of them is in the mesh: frames pass between two connections.

A member's device opens a meeting by a public key; whoever proves that key comes in, the first as its host, the second as
its guest, and nobody else: a third ends it. Nothing is stored, nothing of what is said can be read here, and either side's
leaving ends it.
"""

from collections.abc import Callable
from typing import Final

from mesh_broker.chain import DONE
from mesh_broker.client import NO_BOX, Client, Session
from mesh_broker.limits import Buckets, Limits
from mesh_broker.outbound import notification
from mesh_broker.rooms import Room
from mesh_protocol.broker_meeting import MEET, MEET_ENDED, MeetEndedPush, MeetOpen, MeetPush, MeetSay
from mesh_protocol.ids import DeviceId, MeshId
from mesh_protocol.io.connection import Reply
from mesh_protocol.meeting import MAX_FRAME
from mesh_protocol.wire.errors import MeshError

SIDES: Final = 2
FRAMES: Final = 8
"""Frames of one side; linking a device takes two of each."""
OPENED_RATE: Final = 1 / 6
OPENED_BURST: Final = 10
"""Meetings that one device opens."""

__all__ = ["MAX_FRAME", "Meeting", "Meetings"]


class Meeting:
    """One meeting. `sides` are the host's and the guest's sessions, as far as they are there."""

    def __init__(self, room: Room, key: bytes, opener: DeviceId, until: float, ended: Callable[[], None]) -> None:
        self.room = room
        self.opener = opener
        self.until = until
        self.over = False
        self.sides: list[Session] = []
        self._key = key
        self._said: dict[Session, int] = {}
        self._ended = ended

    def enter(self, session: Session) -> None:
        self.sides.append(session)
        self._said[session] = 0

    def say(self, session: Session, frame: bytes) -> None:
        """Hand a frame to the other side. Raises `MeshError`."""
        others = [each for each in self.sides if each is not session]
        if not others:
            raise MeshError("not_allowed", why="nobody else is here yet")
        if self._said[session] >= FRAMES:
            self.end("over")
            raise MeshError("not_allowed", why="this meeting has said all it may")
        self._said[session] += 1
        others[0].client.outbound.must(notification(MEET, MeetPush(mesh=self.room.mesh), frame))

    def leave(self, session: Session) -> None:
        """A side's connection ended, or went on to something else."""
        self.sides = [each for each in self.sides if each is not session]
        self.end("left")

    def end(self, why: str) -> None:
        """It is over; who is still there is told."""
        if self.over:
            return
        self.over = True
        self._ended()
        told = notification(MEET_ENDED, MeetEndedPush(mesh=self.room.mesh, why=why))
        for session in self.sides:
            session.client.outbound.must(told)


class Meetings:
    """All meetings of one broker. `now` is a steady clock in seconds."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._limits = limits
        self._now = now
        self._open: dict[tuple[MeshId, bytes], Meeting] = {}
        self._opened: Buckets[tuple[MeshId, DeviceId]] = Buckets(OPENED_RATE, OPENED_BURST, now)
        self._entered: Buckets[str] = Buckets(limits.meet_rate, limits.meet_burst, now)

    def __len__(self) -> int:
        return len(self._open)

    async def open(self, session: Session, request: MeetOpen, body: bytes) -> Reply:
        room, place = session.room, (session.room.mesh, request.key)
        wait = self._opened.take((room.mesh, session.device))
        if wait:
            raise MeshError("rate_limited", retry_after=round(wait, 3))
        self._end_old(room.mesh, session.device)
        if place in self._open or request.key in room.state.devices:
            raise MeshError("not_allowed", why="this key is in use")
        if len(self._open) >= self._limits.meetings:
            raise MeshError("rate_limited", retry_after=60.0)
        until = self._now() + self._limits.meet_seconds
        self._open[place] = Meeting(room, request.key, session.device, until, lambda: self._forget(place))
        room.pins += 1
        return DONE

    def _forget(self, place: tuple[MeshId, bytes]) -> None:
        self._open.pop(place).room.pins -= 1

    def _end_old(self, mesh: MeshId, opener: DeviceId) -> None:
        """Those whose time is over, and the earlier one of the same device."""
        now = self._now()
        for meeting in [*self._open.values()]:
            if now > meeting.until or (meeting.room.mesh == mesh and meeting.opener == opener):
                meeting.end("over")

    def admit(self, client: Client, room: Room, key: DeviceId) -> Session:
        """The session of whoever proved `key`. Raises `MeshError`."""
        peer = client.peer
        wait = 0.0 if peer.loopback else self._entered.take(peer.address)
        if wait:
            raise MeshError("rate_limited", retry_after=round(wait, 3))
        meeting = self._open.get((room.mesh, key))
        if meeting is not None and self._now() > meeting.until:
            meeting.end("over")
        if meeting is None or meeting.over or not room.state.is_active(meeting.opener):
            raise MeshError("link_unknown")
        if len(meeting.sides) >= SIDES:
            meeting.end("second")  # somebody else has the secret: neither side can know which of them is the right one
            raise MeshError("link_used")
        session = Session(client, room, key, NO_BOX, 0, None, meeting)
        meeting.enter(session)
        return session

    async def say(self, session: Session, request: MeetSay, body: bytes) -> Reply:
        meeting = session.meeting
        if meeting is None:
            raise MeshError("not_allowed", why="say hello with the key of a meeting first")
        if self._now() > meeting.until:
            meeting.end("over")
        session.require_right()
        meeting.say(session, body)
        return DONE
