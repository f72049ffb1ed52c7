"""What is to be settled for each mesh: at once when it changed, when a mesh did, and now and then.

Several parts tell other devices what this one decided or is; each does it by going round the meshes.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from mesh_protocol.wire.errors import MeshError
from meshd.events import Subscriber
from meshd.log import Id, Word, get_logger
from meshd.mesh import Mesh
from meshd.node import Node

log = get_logger("rounds")

LOOK_S: Final = 3600.0
"""After so long without a change everything is looked at once more."""
RETRY_S: Final = 5.0
"""After which what did not fit onto the disk is tried again."""


class Rounds:
    """Calls `settle` for each mesh, again and again; `what` names it in the log. Changes that come within `pause_s` are one
    round."""

    def __init__(self, node: Node, what: str, settle: Callable[[Mesh], Awaitable[None]], pause_s: float = 0.0) -> None:
        self._node = node
        self._what = what
        self._settle = settle
        self._pause_s = pause_s
        self._due = trio.Event()

    def due(self) -> None:
        """Something changed."""
        self._due.set()

    async def run(self) -> None:
        """For ever. A mesh for which there is no room on the disk holds up no other."""
        with self._node.events.subscribe(frozenset({"mesh", "joined"})) as changes:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, changes)
                while True:
                    self._due = trio.Event()
                    wait = LOOK_S if await self._go() else RETRY_S
                    await trio.sleep(self._pause_s)
                    with trio.move_on_after(wait):
                        await self._due.wait()

    async def _go(self) -> bool:
        """Whether all went well."""
        well = True
        for mesh in list(self._node.meshes.values()):
            try:
                await self._settle(mesh)
            except MeshError as error:
                log.warning("a mesh was not settled", what=Word(self._what), code=Word(error.code), mesh=Id(mesh.id))
                well = False
        return well

    async def _watch(self, changes: Subscriber) -> None:
        while True:
            await changes.take()
            self._due.set()
