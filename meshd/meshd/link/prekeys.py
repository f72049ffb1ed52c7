"""Prekeys over one connection: our own are published and kept in stock, those of others are fetched and checked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from mesh_protocol.broker_api import MAX_ONETIME, PrekeyAnswer, PrekeyStock
from mesh_protocol.ids import DeviceId
from mesh_protocol.io.connection import Connection
from mesh_protocol.keys import CryptoError, SignedPrekey, verify_prekey
from mesh_protocol.op import read_answer
from mesh_protocol.prekeys import LOW, unpack_given, verify_batch
from mesh_protocol.wire.errors import MeshError, RemoteError
from mesh_protocol.wire.items import unpack_items
from mesh_protocol.wire.rpc import Params
from meshd.link.greeting import CALL_S
from meshd.log import Id, Word, get_logger
from meshd.mesh import Mesh
from meshd.node import Node
from meshd.prekeys import (
    REPLACE_ONETIME_MS,
    drop_batch,
    hands_out_again,
    is_due,
    make_batch,
    require_fresh,
    retire,
    rotate,
)
from meshd.store.prekeys import newest_onetime

log = get_logger("prekeys")

AT_ONCE: Final = 128
"""Signed prekeys in one call."""
PEERS_MS: Final = 12 * 3600 * 1000
"""Age at which others' signed prekeys are fetched anew: they make new ones daily, and delete the old ones a day later."""
LOOK_S: Final = 300.0
"""Between two looks at the age and the number of our own prekeys."""
SUPPLY_S: Final = 1.0
"""Between two calls for one-time prekeys of others: what is wanted meanwhile goes into one."""


async def fetch_prekeys(
    node: Node, connection: Connection, mesh: Mesh, devices: Sequence[DeviceId], onetime: Sequence[DeviceId] = ()
) -> None:
    """Learn the newest signed prekeys of `devices`, and a one-time prekey of each of `onetime`, at most 32 of them. One that
    does not verify, or is too old, is left out: its mail waits."""
    for start in range(0, len(devices), AT_ONCE):
        wanted, single = [*devices[start : start + AT_ONCE]], [] if start else [*onetime]
        mesh.shelf.asked(single, trio.current_time())
        request: Params = {"mesh": mesh.id, "devices": [*wanted]}
        if single:
            request["onetime"] = [*single]
        reply = await connection.call("prekey.take", request, seconds=CALL_S)
        items, answer = unpack_items(reply.body), read_answer(PrekeyAnswer, reply.result)
        for item in items[: answer.count]:
            try:
                prekey = SignedPrekey.decode(item)
                if prekey.device not in wanted:
                    raise MeshError("bad_envelope", why="a prekey nobody asked for")
                verify_prekey(prekey, mesh.id, prekey.device)
                require_fresh(node, prekey.made_ms)
            except (CryptoError, MeshError) as error:
                log.warning("a prekey cannot be used", mesh=Id(mesh.id), error=error)
                continue
            mesh.peer_prekeys[prekey.device] = prekey
        for item in items[answer.count :]:
            try:
                _take_onetime(node, mesh, item, single)
            except (CryptoError, MeshError) as error:
                log.warning("a one-time prekey cannot be used", mesh=Id(mesh.id), error=error)


def _take_onetime(node: Node, mesh: Mesh, item: bytes, asked: Sequence[DeviceId]) -> None:
    place, batch = unpack_given(item)
    if batch.device not in asked:
        raise MeshError("bad_envelope", why="a one-time prekey nobody asked for")
    verify_batch(batch, mesh.id, batch.device)
    require_fresh(node, batch.made_ms)
    mesh.shelf.put(batch.key(place))


@dataclass(slots=True, eq=False)
class PrekeyLink:
    """Our prekeys at the broker, and the supply of others' one-time ones, while a connection lives."""

    node: Node
    mesh: Mesh
    connection: Connection
    _low: trio.Event = field(default_factory=trio.Event)
    _withdrawn: bool = False
    """The private halves are about to go: nothing is published any more."""
    _again: bool = False

    async def withdraw(self) -> None:
        """Have the broker forget our prekeys, and publish no others. An older broker does not know that, and keeps them."""
        self._withdrawn = True
        try:
            await self.connection.call("prekey.withdraw", {"mesh": self.mesh.id}, seconds=CALL_S)
        except MeshError as error:
            log.warning("the broker keeps our prekeys", code=Word(error.code), mesh=Id(self.mesh.id))

    def put_back(self) -> None:
        """The private halves stay after all: publish again, soon."""
        self._withdrawn, self._again = False, True
        self._low.set()

    def _is_withdrawn(self) -> bool:
        return self._withdrawn  # asked anew after each step: it may change during one

    def told_low(self) -> None:
        """The broker has few of our one-time prekeys left."""
        self._low.set()

    async def publish(self) -> None:
        """Make the newest signed prekey anew if it is time, and tell the broker. Its private half is on the disk."""
        mesh = self.mesh
        if self._is_withdrawn():
            return
        if is_due(self.node, mesh):
            try:
                await rotate(self.node, mesh)
            except MeshError as error:  # no room: the one before is published once more
                log.warning("no new prekey now", code=Word(error.code), mesh=Id(mesh.id))
        if mesh.prekey is not None and not self._is_withdrawn():
            self._again = False
            self.node.seams.reached("FP-18")
            await self.connection.call("prekey.put", {"mesh": mesh.id}, mesh.prekey.encode(), seconds=CALL_S)

    async def refresh(self) -> None:
        """Others' signed prekeys that have been here for long are fetched anew. A refusal leaves them as they are."""
        mesh, now = self.mesh, self.node.now()
        if 0 <= now - mesh.peers_asked_ms < PEERS_MS:
            return
        known = [device for device in mesh.peer_prekeys if mesh.state.is_active(device)]
        try:
            await fetch_prekeys(self.node, self.connection, mesh, known)
        except RemoteError as error:
            log.debug("prekeys are not fetched anew now", code=Word(error.code), mesh=Id(mesh.id))
            return
        mesh.peers_asked_ms = now

    async def run(self) -> None:
        """Runs until the connection ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._supply)
            await self._look_after()

    async def _look_after(self) -> None:
        since = trio.current_time()
        while True:
            self._low = trio.Event()  # before the look: what is said meanwhile leads to another one
            try:
                await self._restock()
            except MeshError as error:  # no room here or there; an older broker that knows no one-time prekeys
                log.debug("no one-time prekeys now", code=Word(error.code), mesh=Id(self.mesh.id))
            with trio.move_on_after(LOOK_S):
                await self._low.wait()
            now = trio.current_time()
            connected_ms, since = round((now - since) * 1000), now
            try:
                await self.refresh()
                if self._again or is_due(self.node, self.mesh):
                    await self.publish()
                await retire(self.node, self.mesh, connected_ms)
            except MeshError as error:
                log.warning("the prekeys are as they were", code=Word(error.code), mesh=Id(self.mesh.id))

    async def _restock(self) -> None:
        """Add a batch when few are left, or put one in the place of those that must not be used any more."""
        mesh, now = self.mesh, self.node.now()
        if self._is_withdrawn():
            return
        made = newest_onetime(self.node.db.reader, mesh.id)
        old = made > 0 and now - made > REPLACE_ONETIME_MS and not self.node.clock_is_off
        reply = await self.connection.call("prekey.left", {"mesh": mesh.id}, seconds=CALL_S)
        stock = read_answer(PrekeyStock, reply.result)
        again = hands_out_again(self.node, mesh, stock.next)
        if again:
            log.warning("the broker would hand out one-time prekeys again", mesh=Id(mesh.id))
        gone = not made and stock.left > 0  # a restored device: the private halves are not here
        replace = mesh.replace_onetime or old or again or gone
        if not replace and stock.left >= LOW:
            return
        batch = await make_batch(self.node, mesh)
        if self._is_withdrawn():
            await drop_batch(self.node, mesh, batch)
            return
        self.node.seams.reached("FP-18")
        try:
            await self.connection.call(
                "prekey.add", {"mesh": mesh.id, "replace": replace}, batch.encode(), seconds=CALL_S
            )
        except RemoteError:
            await drop_batch(self.node, mesh, batch)
            raise
        mesh.replace_onetime = False

    async def _supply(self) -> None:
        """A one-time prekey of each device that was written to is fetched for the next message, many in one call."""
        shelf = self.mesh.shelf
        while True:
            ready, at = shelf.due(trio.current_time(), MAX_ONETIME)
            if not ready:
                shelf.changed = trio.Event()
                with trio.move_on_at(at):
                    await shelf.changed.wait()
                continue
            active = [device for device in ready if self.mesh.state.is_active(device)]
            shelf.asked(ready, trio.current_time())
            if active:
                try:
                    await fetch_prekeys(self.node, self.connection, self.mesh, active, active)
                except RemoteError as error:
                    log.debug("no one-time prekeys of others now", code=Word(error.code), mesh=Id(self.mesh.id))
            await trio.sleep(SUPPLY_S)
