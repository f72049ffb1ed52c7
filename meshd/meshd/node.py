"""What every part of the daemon shares: one record, built at start, passed in everywhere."""

from dataclasses import dataclass, field
from typing import Final

import trio

from mesh_protocol.ids import DeviceId, MeshId, MsgId
from mesh_protocol.io.sqlite import Database
from mesh_protocol.keys import SigningKey
from mesh_protocol.wire.errors import MeshError
from meshd.columns import open_column, seal_column
from meshd.events import Events
from meshd.mesh import Mesh
from meshd.seams import Seams
from meshd.verified import Pins

MAX_CLOCK_OFF_MS: Final = 3_600_000


@dataclass(slots=True, eq=False)
class Node:
    """This machine's daemon. `generation` rises at each start; `store_key` seals columns of the database."""

    seams: Seams
    db: Database
    key: SigningKey
    store_key: bytes
    generation: int
    events: Events = field(default_factory=Events)
    meshes: dict[MeshId, Mesh] = field(default_factory=dict)
    default_mesh: MeshId | None = None
    pins: Pins = field(default_factory=Pins)
    _broker_clock: tuple[int, float] | None = None
    """What a broker's clock said at the last hello, and when that was."""
    _waiting: dict[MsgId, list[trio.Event]] = field(default_factory=dict)

    @property
    def device(self) -> DeviceId:
        return self.key.public

    def now(self) -> int:
        """Epoch milliseconds."""
        return self.seams.clock()

    def compare_clock(self, broker_ms: int) -> None:
        """Note what a broker's clock says now."""
        self._broker_clock = (broker_ms, trio.current_time())

    @property
    def clock_is_known(self) -> bool:
        """A broker's clock was seen since the start."""
        return self._broker_clock is not None

    @property
    def clock_off_ms(self) -> int:
        """How far this machine's clock is from a broker's, as that must have gone on since the last hello; positive: ours
        is ahead. 0 before the first one."""
        if self._broker_clock is None:
            return 0
        broker_ms, since = self._broker_clock
        return self.now() - broker_ms - round((trio.current_time() - since) * 1000)

    @property
    def clock_is_off(self) -> bool:
        """More than an hour from the broker's: then nothing expires and no key is deleted by wall clock."""
        return abs(self.clock_off_ms) > MAX_CLOCK_OFF_MS

    def seal(self, table: str, column: str, row: bytes, plaintext: bytes) -> bytes:
        """Seal a column's value under the store key."""
        return seal_column(self.store_key, table, column, row, plaintext, self.seams.rng(24))

    def open(self, table: str, column: str, row: bytes, sealed: bytes) -> bytes:
        return open_column(self.store_key, table, column, row, sealed)

    def changed(self, msg_id: MsgId) -> None:
        """A message of this device got further: wake whoever waits for it."""
        for event in self._waiting.pop(msg_id, ()):
            event.set()
        self.events.publish("message", id=msg_id.hex())

    def next_change(self, msg_id: MsgId) -> trio.Event:
        """An event that is set at the message's next change."""
        event = trio.Event()
        self._waiting.setdefault(msg_id, []).append(event)
        return event

    def find_mesh(self, slug: str) -> Mesh:
        """The mesh of that local name, or the default one for an empty name. Raises `MeshError`."""
        if not self.meshes:
            raise MeshError("no_mesh")
        if not slug:
            mesh = self.meshes.get(self.default_mesh) if self.default_mesh is not None else None
            return mesh if mesh is not None else next(iter(self.meshes.values()))
        for mesh in self.meshes.values():
            if mesh.slug == slug:
                return mesh
        raise MeshError("unknown_mesh", mesh=slug, meshes=[*sorted(mesh.slug for mesh in self.meshes.values())])

    def free_slug(self, name: str) -> str:
        """A local name for a mesh called `name`, with a number behind it when that is taken."""
        wanted = "-".join(name.lower().split())[:48]
        taken = {mesh.slug for mesh in self.meshes.values()}
        slug, number = wanted, 2
        while slug in taken:
            slug, number = f"{wanted}-{number}", number + 1
        return slug
