"""The world itself: one seed is one history, and what it simulates behaves as the tests rely on."""

import random

import pytest
import trio

from world.seeds import START_MS, SeededRng, one_history, seeded_scheduler
from world.world import World, open_world


async def exchange(chance: random.Random) -> list[str]:
    """Three machines, a session, messages both ways, a cut cable and a restart; every frame of it."""
    async with open_world(chance.randrange(2**32)) as world:
        world.network.history = []
        ann, bob, eve = await world.mesh("ann", "bob", "eve")
        web = await bob.claude("web")
        await ann.until_knows("bob/web")
        first = await ann.send("bob", "to bob")
        await eve.send(["ann", "bob"], "to both", priority="now")
        await world.unplug(bob)
        later = await ann.send("bob/web", "while he is away")
        await world.plug(bob)
        await web.tool("send_message", to="ann", message="here I am")
        await ann.restart()
        await ann.until_state(first, "turn_started")
        await ann.until_state(later, "turn_started")
        await world.settle(60)
        return world.network.history


def test_one_seed_is_one_history() -> None:
    one = one_history(7, exchange)
    assert len(one) > 200
    assert one_history(7, exchange) == one


def test_another_seed_is_another_history() -> None:
    assert one_history(7, exchange) != one_history(8, exchange)


def test_trio_still_lets_its_scheduler_be_seeded() -> None:
    """`seeded_scheduler` uses private names: where they lose their effect, this fails and says why histories differ."""

    async def order() -> list[int]:
        ran: list[int] = []

        async def note(number: int) -> None:
            for _ in range(5):
                await trio.lowlevel.checkpoint()
                ran.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(note, number)
        return ran

    def run(seed: int) -> list[int]:
        with seeded_scheduler(seed):
            return trio.run(order)

    assert run(1) == run(1)
    assert len({tuple(run(seed)) for seed in range(5)}) == 5


def test_seeded_bytes_go_on_and_never_repeat() -> None:
    rng, same, other = SeededRng(1, "ann"), SeededRng(1, "ann"), SeededRng(1, "bob")
    first = [rng(size) for size in (16, 32, 100)]
    assert [same(size) for size in (16, 32, 100)] == first
    assert other(16) != first[0]
    assert rng(16) not in b"".join(first)


async def test_time_is_virtual_and_a_machines_clock_can_be_wrong(world: World) -> None:
    ann = await world.machine("ann")
    assert ann.app.node.now() == START_MS
    await trio.sleep(3600)
    assert ann.app.node.now() == START_MS + 3_600_000
    ann.clock.off_ms = -86_400_000
    assert ann.app.node.now() == START_MS + 3_600_000 - 86_400_000


async def test_an_internal_error_of_a_daemon_fails_the_story(world: World) -> None:
    ann = await world.machine("ann")
    ann.app.failed("somewhere", RuntimeError("a bug"))
    with pytest.raises(AssertionError, match="internal error in somewhere"):
        world.check()
    world.bugs.clear()
    assert world.take_errors() == ["a call failed"]


async def test_a_cable_that_is_cut_or_down_or_silent_is_noticed_as_such(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    cable = world.cable(ann)
    assert len(cable.links) == 1
    await world.unplug(ann)
    assert cable.links == []
    await world.until(lambda: "connection refused" in ann.mesh().link_why, what="it tried again")
    await world.plug(ann)
    cable.silent = True
    await world.until(lambda: ann.mesh().link.value == "offline", 60, "the silence was noticed")
    cable.silent = False
    await ann.until_online()
