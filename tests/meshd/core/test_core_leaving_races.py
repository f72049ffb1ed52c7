"""Keys that come in while a mesh is being left or forgotten, and two that come at once: nothing comes back, nothing is lost."""

import pytest
import trio

from mesh_protocol.seals import MeshKeys
from meshd.link.greeting import keep_keys
from world.world import World


@pytest.mark.parametrize("forget", [False, True])
async def test_keys_that_were_on_their_way_to_the_disk_do_not_bring_a_mesh_back(world: World, forget: bool) -> None:
    ann, bob = await world.mesh("ann", "bob")
    mesh, node = bob.mesh(), bob.app.node
    held = mesh.keys
    assert held is not None
    await world.unplug(ann)
    bob.disk.hold()
    mesh.keys = None  # they come for the first time
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_keys, node, mesh, held)
        await world.settle(1)
        nursery.start_soon(bob.app.leaving.drop if forget else bob.app.leaving.begin, mesh)
        await world.settle(5)
        bob.disk.release()
    assert mesh.keys is None
    stored = node.db.reader.execute("SELECT state FROM mesh WHERE mesh=?", (mesh.id,)).fetchall()
    assert stored == ([] if forget else [("leaving",)])
    assert forget or mesh.leaving


async def test_of_keys_that_come_at_once_all_are_kept(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    for _ in range(2):
        cid = await world.machine(f"cid{_}")
        await cid.call("mesh.join", url=await world.invite(ann), me=f"cid{_}")
        await ann.call("member.remove", peer=f"cid{_}", wait_s=0)
    await world.until(
        lambda: bob.mesh().keys is not None and len(bob.mesh().keys.epochs) == 3, what="bob has three keys"
    )  # type: ignore[union-attr]
    mesh, held = bob.mesh(), bob.mesh().keys
    assert held is not None
    mesh.keys = MeshKeys(held.name_key, {1: held.epochs[1]})
    bob.disk.hold()
    async with trio.open_nursery() as nursery:
        for epoch in (2, 3):
            nursery.start_soon(keep_keys, bob.app.node, mesh, MeshKeys(held.name_key, {epoch: held.epochs[epoch]}))
        await world.settle(1)
        bob.disk.release()
    assert mesh.keys is not None
    assert sorted(mesh.keys.epochs) == [1, 2, 3]
