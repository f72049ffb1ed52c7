"""Whoever leaves or forgets a mesh: no prekey of his is advertised any more, and nothing is left half done."""

import pytest
import trio

from core_kit.stock import stock
from world.world import World


@pytest.mark.parametrize("forget", [False, True])
async def test_who_goes_takes_his_prekeys_from_the_broker_though_nobody_has_signed_that_he_is_out(
    world: World, forget: bool
) -> None:
    ann, bob = await world.mesh("ann", "bob")
    (house,) = world.network.brokers.values()
    await world.until(lambda: len(stock(house, bob)) == 2, what="his prekeys lie there")
    await world.unplug(ann)
    await bob.call("mesh.leave", forget=forget, wait_s=1)
    assert stock(house, bob) == [], "nobody seals to a key whose private half is gone"
    await world.settle(700)
    assert stock(house, bob) == [], "and none is published after it"


async def test_who_left_without_a_connection_takes_his_prekeys_away_when_there_is_one(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    (house,) = world.network.brokers.values()
    await world.until(lambda: len(stock(house, bob)) == 2, what="his prekeys lie there")
    await world.unplug(ann)
    await world.unplug(bob)
    await bob.call("mesh.leave", wait_s=1)
    assert len(stock(house, bob)) == 2
    world.cable(bob).down = False
    await world.until(lambda: stock(house, bob) == [], what="they are gone")
    assert ann.mesh().state.is_active(bob.app.node.device)


@pytest.mark.parametrize("forget", [False, True])
async def test_a_caller_who_goes_away_meanwhile_leaves_nothing_half_done(world: World, forget: bool) -> None:
    ann, bob = await world.mesh("ann", "bob")
    mesh, leaving = bob.mesh(), bob.app.leaving
    await world.unplug(ann)
    bob.disk.hold()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leaving.drop if forget else leaving.begin, mesh)
        await world.settle(10)
        nursery.cancel_scope.cancel()
    bob.disk.release()
    await world.settle(10)
    assert mesh.keys is None
    if forget:
        assert bob.app.node.meshes == {}
        return
    assert mesh.leaving
    await world.plug(ann)
    await world.until(lambda: not bob.app.node.meshes, what="his wish went out, on a connection of one that leaves")
