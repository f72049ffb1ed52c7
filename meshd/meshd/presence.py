"""Encrypted presence: what each device's sessions do now, with a lease. Live only; nothing of it reaches a disk but the
replay counters. "Last heard" is all it claims: it is not proof of life.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final

import msgspec

from mesh_protocol.details import DetailsKey
from mesh_protocol.ids import DeviceId, MeshId
from mesh_protocol.keys import CryptoError
from mesh_protocol.live import LiveFrame, channel_id, open_live, peek_live, seal_live
from mesh_protocol.wire.codec import CodecError, Limits, check
from meshd.log import Id, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.store.confirmed import put_confirmed
from meshd.store.meshes import put_live_seen

log = get_logger("presence")

CHANNEL: Final = "presence"
INTERVAL_S: Final = 30.0
LEASE_MS: Final = 90_000
DIM_MS: Final = 30_000
"""A peer silent for longer is shown dimmed (decision 13)."""
MAX_CONTENT: Final = 2_048
MAX_SKEW_MS: Final = 12 * 3_600_000
"""A frame made longer ago, or that far ahead, is a replay or a broken clock."""
_LIMITS: Final = Limits(size=MAX_CONTENT, depth=4, elements=512, string=512)


class SessionView(msgspec.Struct, frozen=True, array_like=True):
    """A session as peers see it."""

    name: Annotated[str, msgspec.Meta(max_length=64)]
    status: Annotated[str, msgspec.Meta(max_length=16)]
    since_ms: Annotated[int, msgspec.Meta(ge=0)]
    summary: Annotated[str, msgspec.Meta(max_length=500)]
    role: Annotated[str, msgspec.Meta(max_length=64)] = ""
    title: Annotated[str, msgspec.Meta(max_length=100)] = ""
    visible: bool = True


class Presence(msgspec.Struct, frozen=True, array_like=True):
    """All of a device. `online` false is a goodbye: the daemon stops in good order."""

    online: bool
    sessions: list[SessionView]


class Heard(msgspec.Struct, frozen=True):
    """The newest presence of a device; `at_ms` by our clock. `epoch` is that of its key, which the device thus holds."""

    at_ms: int
    presence: Presence
    epoch: int = 0


@dataclass(slots=True, eq=False)
class PresenceBoard:
    """What this machine knows of the others, and the frames it sends itself."""

    node: Node
    _heard: dict[tuple[MeshId, DeviceId], Heard] = field(default_factory=dict)
    _seen: dict[tuple[MeshId, DeviceId], tuple[int, int]] = field(default_factory=dict)
    _dirty: set[tuple[MeshId, DeviceId]] = field(default_factory=set)
    details: dict[tuple[MeshId, DeviceId], DetailsKey] = field(default_factory=dict)
    """Those that this machine has, its own too."""
    _n: int = 0

    def restore(self, mesh: MeshId, seen: dict[DeviceId, tuple[int, int]]) -> None:
        """Replay counters from the disk."""
        for device, pair in seen.items():
            self._seen[(mesh, device)] = pair

    def forget(self, mesh: MeshId) -> None:
        """The mesh is left."""
        for kept in (self._heard, self._seen, self.details):
            for who in [each for each in kept if each[0] == mesh]:
                del kept[who]
        self._dirty = {each for each in self._dirty if each[0] != mesh}

    def frame(self, mesh: Mesh, sessions: Sequence[SessionView], *, online: bool = True) -> tuple[bytes, bytes]:
        """A sealed presence frame of this device: its channel and its bytes. Sessions are shortened to fit."""
        assert mesh.keys is not None
        epoch = mesh.state.epoch
        return self._seal(mesh, epoch, mesh.keys.epochs[epoch], Presence(online, list(sessions)))

    def frames(self, mesh: Mesh, sessions: Sequence[SessionView], *, online: bool) -> list[tuple[bytes, bytes]]:
        """What to publish: a frame for everybody; where not everybody may read what the sessions do, one without them, and
        another for who has the key."""
        details = self.details.get((mesh.id, self.node.device))
        if details is None or not details.key:
            return [self.frame(mesh, sessions, online=online)]
        whole = Presence(online, list(sessions))
        return [self.frame(mesh, [], online=online), self._seal(mesh, details.version, details.key, whole)]

    def _seal(self, mesh: Mesh, epoch: int, key: bytes, presence: Presence) -> tuple[bytes, bytes]:
        assert mesh.keys is not None
        self._n += 1
        channel = channel_id(mesh.keys.epochs[mesh.state.epoch], CHANNEL)
        frame = LiveFrame(
            mesh_id=mesh.id,
            device=self.node.device,
            epoch=epoch,
            generation=self.node.generation,
            n=self._n,
            channel=channel,
            kind=CHANNEL,
            created_ms=self.node.now(),
            tip=mesh.tip,
            content=_fit(presence),
        )
        return channel, seal_live(frame, key, self.node.key, self.node.seams.rng(24))

    def channels(self, mesh: Mesh) -> list[bytes]:
        """The channels to listen on: the current epoch's, and the one before while its last frames arrive."""
        assert mesh.keys is not None
        epochs = [e for e in (mesh.state.epoch, mesh.state.epoch - 1) if e in mesh.keys.epochs]
        return [channel_id(mesh.keys.epochs[e], CHANNEL) for e in epochs]

    def hear(self, mesh: Mesh, data: bytes) -> bool:
        """Take in a frame; returns whether its device has yet to hear of us: it has just come online, or to a newer epoch.

        Anything forged, replayed, old, foreign or malformed is dropped.
        """
        frame = self._open(mesh, data)
        if frame is None:
            return False
        try:
            check(frame.content, _LIMITS)
            presence = msgspec.msgpack.decode(frame.content, type=Presence)
        except (CodecError, msgspec.DecodeError) as error:
            log.warning("a presence frame was dropped", mesh=Id(mesh.id), error=error)
            return False
        who = (mesh.id, frame.device)
        generation, number = self._seen.get(who, (-1, -1))
        if (frame.generation, frame.n) <= (generation, number):
            return False
        now = self.node.now()
        self._seen[who] = (frame.generation, frame.n)
        self._dirty.add(who)
        before = self._heard.get(who)
        # A daemon that was started anew knows of nobody, however short it was away.
        came = presence.online and (frame.generation > generation or not self.is_online(mesh.id, frame.device))
        epoch = frame.epoch
        details = self.details.get(who)
        if details is not None and details.key:
            if frame.epoch == details.version:  # which says nothing about epochs
                epoch = before.epoch if before is not None else 0
            elif before is not None and presence.online and before.presence.online:
                presence = before.presence  # the frame that says what its sessions do comes beside this one
        self._heard[who] = Heard(now, presence, epoch)
        confirmed = mesh.confirmations.note(frame.device, frame.tip, mesh.hashes)
        if came or before is None or before.presence != presence or before.epoch != epoch or confirmed:
            self.node.events.publish("presence", mesh=mesh.slug)
        # What we said under the new key before it listened on that channel it has not heard.
        return came or (before is not None and presence.online and epoch > before.epoch)

    def _open(self, mesh: Mesh, data: bytes) -> LiveFrame | None:
        """A verified frame of an active device of this mesh, or None."""
        try:
            route = peek_live(data)
            if route.mesh_id != mesh.id or route.device == self.node.device or mesh.keys is None:
                return None
            if not mesh.state.is_active(route.device):
                return None
            details = self.details.get((mesh.id, route.device))
            if details is not None and details.key and details.version == route.epoch:
                key, channels = details.key, self.channels(mesh)
            elif route.epoch in mesh.keys.epochs and route.epoch >= mesh.state.epoch - 1:
                key = mesh.keys.epochs[route.epoch]
                channels = [channel_id(key, CHANNEL)]
            else:
                return None
            frame = open_live(data, key)
        except CryptoError as error:
            log.warning("a presence frame was dropped", mesh=Id(mesh.id), error=error)
            return None
        ours = frame.kind == CHANNEL and frame.channel in channels
        return frame if ours and abs(self.node.now() - frame.created_ms) <= MAX_SKEW_MS else None

    def of(self, mesh: MeshId, device: DeviceId) -> Heard | None:
        """The newest presence of a device in this daemon's life."""
        return self._heard.get((mesh, device))

    def is_online(self, mesh: MeshId, device: DeviceId) -> bool:
        heard = self._heard.get((mesh, device))
        return heard is not None and heard.presence.online and self.node.now() - heard.at_ms <= LEASE_MS

    def online_count(self, mesh: Mesh) -> int:
        """Other devices heard within the lease."""
        if mesh.chain is None:
            return 0
        others = (each for each in mesh.chain.devices if each != self.node.device and mesh.chain.is_active(each))
        return sum(self.is_online(mesh.id, device) for device in others)

    def save(self) -> None:
        """Queue the replay counters that rose; nobody waits for this."""
        rows: dict[MeshId, list[tuple[DeviceId, int, int]]] = {}
        for mesh, device in self._dirty:
            rows.setdefault(mesh, []).append((device, *self._seen[(mesh, device)]))
        self._dirty.clear()
        for mesh, seen in rows.items():
            self.node.db.submit(lambda tx, mesh=mesh, seen=seen: put_live_seen(tx, mesh, seen))  # type: ignore[misc]
        for each in self.node.meshes.values():
            news = each.confirmations.take_news()
            if news:
                self.node.db.submit(lambda tx, mesh=each.id, news=news: put_confirmed(tx, mesh, news))  # type: ignore[misc]


def _fit(presence: Presence) -> bytes:
    """At most 1 KiB: summaries go first, then titles, then the last sessions."""
    shorten: Iterable[int] = (500, 120, 0)
    for length in shorten:
        sessions = [
            msgspec.structs.replace(s, summary=s.summary[:length], title=s.title if length else "")
            for s in presence.sessions
        ]
        data = msgspec.msgpack.encode(Presence(presence.online, sessions))
        if len(data) <= 1024:
            return data
    while len(data) > 1024:
        sessions = sessions[:-1]
        data = msgspec.msgpack.encode(Presence(presence.online, sessions))
    return data
