"""Prekeys whatever crashes when: of every prekey that anybody else holds, its owner has the private half, on its disk.

Two machines make meshes, join each other's, replace and retire their prekeys and write to each other while they are killed
and lose their power; the broker's tables, its requests to join and what the others have fetched are compared with what the
owners can open.
"""

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import pytest
import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mesh_protocol.ids import InviteId, MeshId
from mesh_protocol.invite import claimed_invite, invite_key, open_join_request, parse_link
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.keys import PrekeyPrivate, SignedPrekey
from mesh_protocol.prekeys import OneTimeBatch, OneTimePrekey
from mesh_protocol.wire.errors import MeshError
from meshd.mesh import Mesh
from meshd.prekeys import ROTATE_MS, retire
from meshd.store.prekeys import read_onetime
from sim.keeper import FallibleDisk
from world.broker import BrokerHouse
from world.dose import dose
from world.guest import GuestRun
from world.machine import Machine
from world.network import Cable
from world.world import World, open_world

MOST_MESHES = 4


class PrekeyMachine(RuleBasedStateMachine):
    """`invites`: links by the name of who made them."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = GuestRun(11)
        self.world: World = self.loop.hold(open_world(11))
        self.invites: list[tuple[str, str]] = []
        self.meshes = 0
        self._keys: dict[InviteId, bytes] = {}
        self.loop.call(self._begin)

    async def _begin(self) -> None:
        self.house: BrokerHouse = await self.world.broker()
        self.machines = [await self.world.machine(name) for name in ("ann", "bob")]
        for machine in self.machines:
            await machine.crash()
            machine.power = FallibleDisk(random.Random(11), machine.kill)
            await machine.start()

    # What the machines do.

    @precondition(lambda self: self.meshes < MOST_MESHES)
    @rule(place=st.integers(0, 1), after=st.integers(0, 14))
    def make(self, place: int, after: int) -> None:
        """A new mesh; with `after`, the power goes at that change of the disk."""
        self.meshes += 1
        machine = self.machines[place]
        name = f"mesh {self.meshes}"
        self.loop.call(
            lambda: self._dare(
                machine, after, lambda: machine.call("mesh.new", name=name, me=machine.name, broker=self.house.url)
            )
        )

    @rule(place=st.integers(0, 1))
    def invite(self, place: int) -> None:
        machine = self.machines[place]
        for mesh in [mesh.slug for mesh in machine.app.node.meshes.values() if mesh.active]:
            link = self.loop.call(lambda mesh=mesh: self._invite(machine, mesh))
            if link:
                self.invites.append((machine.name, link))
                parsed = parse_link(link)
                self._keys[parsed.invite_id] = invite_key(parsed.secret).public

    async def _invite(self, machine: Machine, mesh: str) -> str:
        try:
            return await self.world.invite(machine, mesh)
        except MeshError:
            return ""

    @precondition(lambda self: self.invites)
    @rule(data=st.data(), after=st.integers(0, 30))
    def join(self, data: st.DataObject, after: int) -> None:
        maker, link = data.draw(st.sampled_from(self.invites))
        machine = next(each for each in self.machines if each.name != maker)
        self.loop.call(
            lambda: self._dare(machine, after, lambda: machine.call("mesh.join", url=link, me=machine.name, wait_s=2.0))
        )

    async def _dare(self, machine: Machine, after: int, deed: Callable[[], Awaitable[object]]) -> None:
        assert machine.power is not None
        if after:
            machine.power.cut(after=after)
        with trio.move_on_after(5):
            try:
                await deed()
            except (MeshError, LinkClosed):
                pass
        if after:
            machine.power.cut()
            await self._rise(machine)

    async def _rise(self, machine: Machine) -> None:
        assert machine.power is not None
        machine.kill()
        await machine.ended.wait()
        machine.power.restore()
        self.world.take_errors()
        await machine.start()

    @rule(place=st.integers(0, 1))
    def kill(self, place: int) -> None:
        self.loop.call(lambda: self._rise(self.machines[place]))

    @rule(place=st.integers(0, 1), down=st.booleans())
    def plug(self, place: int, down: bool) -> None:
        """While who could let it in is away, a request to join waits at the broker."""
        cable = self.world.cable(self.machines[place])
        cable.down = down
        if down:
            self.loop.call(cable.cut)

    @rule()
    def restart_the_broker(self) -> None:
        self.loop.call(self.house.restart)

    @precondition(lambda self: self.meshes)
    @rule(place=st.integers(0, 1), after=st.integers(0, 9))
    def rotate(self, place: int, after: int) -> None:
        """A day is over: what is published next is a new signed prekey; with `after`, the power goes meanwhile."""
        machine = self.machines[place]
        for mesh in machine.app.node.meshes.values():
            if mesh.prekey is not None and mesh.active:
                mesh.prekey = replace(mesh.prekey, made_ms=mesh.prekey.made_ms - ROTATE_MS)
        cable = self.world.cable(machine)
        self.loop.call(lambda: self._dare(machine, after, lambda: self._return(cable)))

    async def _return(self, cable: Cable) -> None:
        await cable.cut()
        await trio.sleep(4)

    @precondition(lambda self: self.meshes)
    @rule(place=st.integers(0, 1), days=st.integers(0, 2))
    def retire(self, place: int, days: int) -> None:
        """It was connected for so long. Whoever fetched a prekey long ago asks anew after twelve hours."""
        machine = self.machines[place]
        for each in self.machines:
            for mesh in each.app.node.meshes.values():
                mesh.peer_prekeys.clear()
        self.loop.call(lambda: self._retire(machine, days))

    async def _retire(self, machine: Machine, days: int) -> None:
        for mesh in machine.app.node.meshes.values():
            if mesh.active and self._published(machine, mesh):
                await retire(machine.app.node, mesh, days * ROTATE_MS)

    def _published(self, machine: Machine, mesh: Mesh) -> bool:
        """Retiring begins when the newest prekey is at the broker."""
        found = [prekey for mesh_id, prekey in self._advertised() if mesh_id == mesh.id]
        return any(prekey == mesh.prekey for prekey in found if prekey.device == machine.app.node.device)

    @precondition(lambda self: self.meshes)
    @rule(place=st.integers(0, 1))
    def talk(self, place: int) -> None:
        """Messages that use one-time prekeys up, in every mesh that both are in."""
        author, reader = self.machines[place], self.machines[1 - place]
        for mesh in [
            mesh.slug for mesh in author.app.node.meshes.values() if mesh.active and len(mesh.state.members) > 1
        ]:
            self.loop.call(lambda mesh=mesh: self._say(author, reader, mesh))

    async def _say(self, author: Machine, reader: Machine, mesh: str) -> None:
        try:
            await author.send(reader.name, "for once", mesh=mesh)
        except MeshError:
            return
        await trio.sleep(12)

    @rule(place=st.integers(0, 1), after=st.integers(0, 9))
    def restock(self, place: int, after: int) -> None:
        """What lies at the broker of one-time prekeys is replaced, perhaps by one that dies of it."""
        machine = self.machines[place]
        for mesh in machine.app.node.meshes.values():
            mesh.replace_onetime = True
        cable = self.world.cable(machine)
        self.loop.call(lambda: self._dare(machine, after, lambda: self._return(cable)))

    @rule(seconds=st.sampled_from((0.1, 3, 40)))
    def let_time_pass(self, seconds: float) -> None:
        self.loop.call(lambda: trio.sleep(seconds))

    # What holds at any time, and in the end.

    @invariant()
    def every_prekey_out_there_can_be_opened(self) -> None:
        for mesh_id, prekey in self._advertised():
            owner = next(each for each in self.machines if each.app.node.device == prekey.device)
            mesh = owner.app.node.meshes.get(mesh_id)
            assert mesh is not None, f"{owner.name} has advertised a prekey for a mesh that it does not know"
            private = mesh.prekeys.get(prekey.prekey_id)
            assert private is not None, f"{owner.name} has lost the private half of a prekey that is out there"
            assert private.public == prekey.pub, f"{owner.name} has another private half than the one it advertised"

    @invariant()
    def every_one_time_prekey_that_may_be_given_out_can_be_opened(self) -> None:
        sql = (
            "SELECT mesh.id, device.id, onetime.data, given FROM onetime JOIN device ON device.no = onetime.device"
            " JOIN mesh ON mesh.no = device.mesh"
        )
        for mesh_id, device, data, given in self.house.database.reader.execute(sql).fetchall():
            owner = next(each for each in self.machines if each.app.node.device == device)
            batch = OneTimeBatch.decode(data)
            for place in range(given, len(batch.pubs)):
                self._require_private(owner, batch.key(place), mesh_id)
        for machine in self.machines:
            for mesh in machine.app.node.meshes.values():
                for key in mesh.shelf.held():
                    owner = next(each for each in self.machines if each.app.node.device == key.device)
                    self._require_private(owner, key, mesh.id)

    def _require_private(self, owner: Machine, key: OneTimePrekey, mesh_id: bytes) -> None:
        node = owner.app.node
        sealed = read_onetime(node.db.reader, MeshId(mesh_id), key.prekey_id)
        assert sealed is not None, f"{owner.name} has lost the private half of a one-time prekey that nobody has used"
        seed = node.open("onetime", "sealed", mesh_id + key.prekey_id.to_bytes(8, "little"), sealed)
        assert PrekeyPrivate.from_seed(seed).public == key.pub

    def _advertised(self) -> Iterator[tuple[MeshId, SignedPrekey]]:
        reader = self.house.database.reader
        sql = "SELECT mesh.id, prekey FROM device JOIN mesh ON mesh.no = device.mesh WHERE prekey IS NOT NULL"
        for mesh_id, encoded in reader.execute(sql).fetchall():
            yield MeshId(mesh_id), SignedPrekey.decode(encoded)
        sql = "SELECT mesh.id, joining.data FROM joining JOIN mesh ON mesh.no = joining.mesh"
        for mesh_id, encoded in reader.execute(sql).fetchall():
            yield MeshId(mesh_id), open_join_request(encoded, self._keys[claimed_invite(encoded)]).spk
        for machine in self.machines:
            for mesh in machine.app.node.meshes.values():
                for prekey in mesh.peer_prekeys.values():
                    yield mesh.id, prekey

    def teardown(self) -> None:
        try:
            for machine in self.machines:
                self.world.cable(machine).down = False
            self.loop.call(lambda: trio.sleep(90))
            self.every_prekey_out_there_can_be_opened()
            self.every_one_time_prekey_that_may_be_given_out_can_be_opened()
            self.loop.call(self._talk)
        finally:
            self.loop.close()

    async def _talk(self) -> None:
        """In every mesh that both are in, both can still write to each other."""
        ann, bob = self.machines
        for mesh_id, mesh in ann.app.node.meshes.items():
            other = bob.app.node.meshes.get(mesh_id)
            if other is None or not (mesh.active and other.active) or len(mesh.state.members) < 2:
                continue
            for sender, reader, name in ((ann, bob, mesh.slug), (bob, ann, other.slug)):
                sent = await sender.send(reader.name, "still here", mesh=name, wait="stored", timeout=60)
                assert sent["reached"], f"{sender.name} cannot write to {reader.name} in {name}: {sent['state']}"


def test_a_request_to_join_waits_and_is_looked_at() -> None:
    """The machine's own rules reach what it is for."""
    state = PrekeyMachine()
    try:
        state.make(0, 0)
        state.invite(0)
        state.plug(0, True)
        link = state.invites[0][1]
        state.loop.call(lambda: state.machines[1].call("mesh.join", url=link, me="bob", wait_s=1.0))
        waiting = [prekey.device for _, prekey in state._advertised()]
        assert state.machines[1].app.node.device in waiting
        state.every_prekey_out_there_can_be_opened()
        mesh = next(iter(state.machines[1].app.node.meshes.values()))
        kept = mesh.prekeys.pop(1)
        with pytest.raises(AssertionError, match="has lost the private half"):
            state.every_prekey_out_there_can_be_opened()
        mesh.prekeys[1] = kept
    finally:
        state.teardown()


TestPrekeyMachine = PrekeyMachine.TestCase
TestPrekeyMachine.settings = dose(10, 14)
