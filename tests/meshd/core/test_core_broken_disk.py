"""A disk that does not give back what it holds: the daemon ends and says so, and goes on where it was when it can be read."""

import random

from world.power import PowerDisk
from world.world import World


async def test_a_file_that_cannot_be_read_ends_the_daemon_and_loses_nothing(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.send("bob", "before", wait="stored")
    await bob.crash()
    disk = bob.power = PowerDisk(random.Random(1))
    try:
        await bob.start()
        await bob.until_online()
        disk.fail_reads(1000)
        sent = await ann.send("bob", "after")
        await bob.ended.wait()
        assert bob.app.exit_status == 70
        disk.fail_reads(0)
        world.bugs.clear()
        assert "the database failed; nothing can be promised any more" in world.take_errors()
        await bob.start()
        await ann.until_state(sent, "stored", 120)
        assert await bob.read() == ["before", "after"]
        await bob.crash()
    finally:
        disk.close()


async def test_a_call_that_a_failed_fsync_undid_is_told_that_the_daemon_stops(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.crash()
    disk = ann.power = PowerDisk(random.Random(1))
    try:
        await ann.start()
        await ann.until_online()
        disk.fail_syncs(1)
        assert await ann.refusal("message.send", to="bob", message="undone") == "shutting_down"
        await ann.ended.wait()
        assert ann.app.exit_status == 70
        world.take_errors()
        await ann.start()
        await ann.send("bob", "done", wait="stored")
        assert await bob.read() == ["done"]
        await ann.crash()
    finally:
        disk.close()
