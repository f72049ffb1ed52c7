"""Leaving a mesh: everything of it on this machine goes at once, and the others are told, now or as soon as they can be.

In one commit the keys, prekeys, messages and views of the mesh are deleted, and a signed wish for those who may take this
machine out is stored in their place (`releasing` has their side). What remains until one of them has signed is the chain,
which they are found by. Then the broker serves this machine no more, and the rest is deleted too.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import apsw
import trio

from mesh_protocol.chain_state import ChainState
from mesh_protocol.ids import DeviceId, MeshId
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.wire.errors import MeshError
from meshd.brokers import Brokers
from meshd.link.meshlink import MeshLink
from meshd.link.table import LinkState
from meshd.log import Id, get_logger
from meshd.mesh import LEAVING, Mesh
from meshd.node import Node
from meshd.notes import LEAVE
from meshd.ownmail import own_delivery, own_message
from meshd.releasing import who_may_release
from meshd.store.leavers import forget_mesh, forget_secrets
from meshd.store.meshes import MeshRow
from meshd.store.outbox import DeliveryRow, MessageRow, add_message

log = get_logger("leaving")

LIFETIME_MS: Final = 30 * 24 * 3600 * 1000
"""As long as any mail waits at a broker."""
MAX_TOLD: Final = 64
"""Machines that the wish goes to: as many as a mesh has signers."""
GOODBYE_S: Final = 0.5
WITHDRAW_S: Final = 3.0
FORM: Final = b"\x01"
"""The content of a wish: all it says is in what the envelope's signature covers, who and in which stay in which mesh."""

ALONE: Final = "alone"
ASKED: Final = "asked"
WAITING: Final = "waiting"
OUT: Final = "out"


class Terms(NamedTuple):
    """What leaving means here. `how`: alone (nobody else is in it), asked (others sign it), waiting (this machine was not
    let in yet), out (it was removed), leaving (it was said already). `askable` machines may sign it."""

    how: str
    askable: tuple[DeviceId, ...]
    returns: bool
    """Another invite may let this machine in again."""


def read_terms(mesh: Mesh, own: DeviceId) -> Terms:
    """Raises `MeshError` while nobody could sign that this machine goes."""
    chain = mesh.chain
    if mesh.leaving:
        return Terms(LEAVING, (), True)
    if mesh.row.state != "active" or chain is None:
        return Terms(WAITING, (), True)
    if not chain.is_active(own):
        return Terms(OUT, (), not chain.devices[own].revoked if own in chain.devices else True)
    if not any(listed.active and device != own for device, listed in chain.devices.items()):
        return Terms(ALONE, (), False)
    askable = who_may_release(chain, own)
    if not askable:
        raise MeshError("not_allowed", why=_why_not(mesh, chain, own))
    return Terms(ASKED, (*askable,), len(chain.active_devices(mesh.row.member)) == 1)


def _why_not(mesh: Mesh, chain: ChainState, own: DeviceId) -> str:
    member = chain.member_of(own)
    if member is not None and member.role == "owner":
        return (
            f"you are the last owner of {mesh.slug} who can sign, and others are in it: make somebody else an owner first"
            " (mesh role NAME owner)"
        )
    return f"nobody in {mesh.slug} can sign that you leave; mesh leave --forget drops it here without telling anybody"


@dataclass(slots=True, eq=False)
class _Job:
    """What somebody asked for and waits for, unless he goes away: it is done all the same."""

    work: Callable[[], Awaitable[int]]
    done: trio.Event = field(default_factory=trio.Event)
    result: int = 0
    error: Exception | None = None

    async def do(self) -> None:
        try:
            self.result = await self.work()
        except Exception as error:  # noqa: BLE001 - it is raised where somebody waits for it
            self.error = error
        finally:
            self.done.set()


@dataclass(slots=True, eq=False)
class Leaving:
    """`forget` clears what other parts of the daemon hold of a mesh in memory."""

    node: Node
    brokers: Brokers
    forget: Callable[[Mesh], None]
    _jobs: deque[_Job] = field(default_factory=deque)
    _done: list[Mesh] = field(default_factory=list)
    _wake: trio.Event = field(default_factory=trio.Event)

    async def run(self) -> None:
        """Do what was asked for, one after the other, and finish what others have signed; for ever."""
        while True:
            self._wake = trio.Event()
            while self._jobs:
                await self._jobs.popleft().do()
            while self._done:
                await self._drop(self._done[0])
                self._done.pop(0)
            if not self._jobs:
                await self._wake.wait()

    async def _whole(self, work: Callable[[], Awaitable[int]]) -> int:
        """Let `run` do it: a caller who goes away leaves nothing half done. Raises as `work`."""
        job = _Job(work)
        self._jobs.append(job)
        self._wake.set()
        await job.done.wait()
        if job.error is not None:
            raise job.error
        return job.result

    def departed(self, mesh: Mesh) -> None:
        """The broker does not count this machine to the mesh any more."""
        self._done.append(mesh)
        self._wake.set()

    async def begin(self, mesh: Mesh) -> int:
        """Drop all secrets of the mesh and say that this machine leaves; how many machines it is said to.

        Where nobody needs to be asked the mesh is gone when this returns. Raises `MeshError`.
        """
        return await self._whole(lambda: self._begin(mesh))

    async def _begin(self, mesh: Mesh) -> int:
        if self.node.meshes.get(mesh.id) is not mesh:  # another call was first
            return 0
        terms = read_terms(mesh, self.node.device)
        if terms.how == LEAVING:
            return 0
        if terms.how != ASKED:
            return await self._drop(mesh)
        message, deliveries = self._wish(mesh, terms.askable[:MAX_TOLD])
        link = await self._say_goodbye(mesh)
        row = mesh.row._replace(state=LEAVING, secret=self.node.seal("mesh", "secret", mesh.id, b""), trouble="")

        def work(tx: apsw.Connection) -> None:
            forget_secrets(tx, row, default)
            add_message(tx, message, deliveries)

        before, default = mesh.row, self._default_without(mesh)
        # From here on nothing of this mesh is stored any more: what is queued behind this finds it gone.
        pending = self.node.db.submit(work)
        mesh.row = row
        pending.settled(lambda: self._stored(mesh, before, stored=pending.succeeded))
        await self._stored_or_back(link, pending.wait)
        self.node.db.cut_log()
        log.info("leaving a mesh", mesh=Id(mesh.id), told=len(deliveries))
        self._tell(mesh)
        await self.brokers.reenter(mesh)
        return len(deliveries)

    def _stored(self, mesh: Mesh, before: MeshRow, *, stored: bool) -> None:
        """All is gone from the disk, so it goes from memory; or there was no room, and it is as it was."""
        if stored:
            self.node.default_mesh = self._default_without(mesh)
            mesh.forget_secrets()
            self.forget(mesh)
        else:
            mesh.row = before

    async def drop(self, mesh: Mesh) -> None:
        """Delete everything of a mesh here, whoever knows of it."""
        await self._whole(lambda: self._drop(mesh))

    async def wait_left(self, mesh: Mesh, seconds: float) -> bool:
        """Whether the mesh is gone from here within `seconds`."""
        with self.node.events.subscribe(frozenset({"mesh"})) as changes, trio.move_on_after(seconds):
            while self.node.meshes.get(mesh.id) is mesh:
                await changes.take()
        return self.node.meshes.get(mesh.id) is not mesh

    async def _drop(self, mesh: Mesh) -> int:
        node = self.node
        if node.meshes.get(mesh.id) is not mesh:
            return 0
        link = await self._say_goodbye(mesh)
        before, default = mesh.row, self._default_without(mesh)
        mesh.row = mesh.row._replace(state=LEAVING)  # nothing of it is stored any more
        try:
            await self._stored_or_back(link, lambda: node.db.write(lambda tx: forget_mesh(tx, mesh.id, default)))
        except BaseException:
            mesh.row = before
            raise
        del node.meshes[mesh.id]
        node.default_mesh = default
        mesh.forget_secrets()
        self.forget(mesh)
        node.db.cut_log()
        log.info("a mesh is gone from this machine", mesh=Id(mesh.id))
        self._tell(mesh)
        await self.brokers.remove(mesh)
        return 0

    def _default_without(self, mesh: Mesh) -> MeshId | None:
        """The default mesh once this one does not count: as before if it is another one, else the oldest that is not left."""
        node = self.node
        if node.default_mesh != mesh.id:
            return node.default_mesh
        return next((each.id for each in node.meshes.values() if each is not mesh and not each.leaving), None)

    def _wish(self, mesh: Mesh, devices: tuple[DeviceId, ...]) -> tuple[MessageRow, list[DeliveryRow]]:
        message = own_message(self.node, mesh, LEAVE, "now", FORM, LIFETIME_MS)
        return message, [own_delivery(mesh, message, device) for device in devices]

    async def _say_goodbye(self, mesh: Mesh) -> MeshLink | None:
        """Tell who is online, and take our prekeys from the broker while their private halves are still here: nobody is to
        seal anything to them from now on. The link on which that was said; None: the broker cannot be reached."""
        link = self.brokers.link_of(mesh)
        if link is None or not mesh.active or mesh.link is not LinkState.ONLINE:
            return None
        try:
            with trio.move_on_after(GOODBYE_S):
                await link.publish(online=False)
            with trio.move_on_after(WITHDRAW_S):
                await link.prekeys.withdraw()
        except LinkClosed:
            return None
        return link

    async def _stored_or_back(self, link: MeshLink | None, store: Callable[[], Awaitable[None]]) -> None:
        """Wait for `store`; where it fails the private halves are still here, and the prekeys are published again."""
        try:
            await store()
        except BaseException:
            if link is not None:
                link.prekeys.put_back()
            raise

    def _tell(self, mesh: Mesh) -> None:
        self.node.events.publish("mesh", mesh=mesh.slug)
        self.node.events.publish("groups")
