"""A connection that is lost while a machine goes over to another history."""

from core_kit.forked import forked
from world.world import World


async def test_a_machine_that_loses_its_broker_while_it_goes_over_to_another_history_has_gone_over(
    world: World,
) -> None:
    ann, _, cid = await forked(world)
    chosen = ann.mesh().state.head
    assert cid.mesh().state.head != chosen
    cid.disk.hold()
    await ann.call("resolve.choose", head=chosen.hex())
    await world.settle(10)
    await world.unplug(cid)
    await world.settle(5)
    cid.disk.release()
    await world.settle(5)
    stored = cid.app.node.db.reader.execute("SELECT count(*) FROM chain").fetchall()
    assert stored == [(len(ann.mesh().hashes),)], "the disk has gone over"
    await world.plug(cid)
    await world.until(lambda: cid.mesh().state.head == ann.mesh().state.head, what="and so has what is in memory")
    assert (cid.mesh().alarm, cid.mesh().fork) == ("", None)
    await ann.send("cid", "after all", wait="stored")
