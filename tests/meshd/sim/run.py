"""From a number to a history and its judgement."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import trio

import mesh_protocol.io.sqlite as sqlite
from sim.book import MARK
from sim.clients import Violation
from sim.crashes import BROKER, DAEMON, STARTING
from sim.faults import DEEDS, draw
from sim.oracles import judge
from sim.story import PEACE_S, Story
from world.seeds import one_history
from world.world import open_world

HOUR_S: Final = 3600.0
PAUSES: Final = (0.0, 0.0, 0.0, 0.002, 0.02, 0.2, 1.0, 3.0, 10.0, 45.0)
PAGES: Final = 60
"""Of the log, before a checkpoint: an hour here writes less than a day outside."""
EXPECTED_ERRORS: Final = {
    "the database failed; nothing can be promised any more",
    "the broker's mailbox went back",
    "another history of a mesh",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A history that held. `trace` has its lines if they were asked for."""

    seed: int
    faults: tuple[str, ...]
    counted: Counter[str]
    simulated_s: float
    trace: tuple[str, ...]


def run_seed(
    seed: int, *, faults: frozenset[str] | None = None, trace: list[str] | None = None, length_s: float = HOUR_S
) -> Outcome:
    """One simulated hour and its judgement. With `trace` every frame is written there. Raises what did not hold."""
    lines = trace if trace is not None else []

    async def history(chance: random.Random) -> Outcome:
        chosen = draw(chance) if faults is None else faults
        size = (chance.randrange(3, 6), chance.randrange(0, 4))
        counted = await _live(
            chance, chosen, size, lambda story: _bad_hour(story, length_s), lines, every_frame=trace is not None
        )
        return Outcome(seed, tuple(sorted(chosen)), counted, trio.current_time(), tuple(lines))

    return _run(seed, history)


def die_at(point: str, seed: int) -> Outcome:
    """A short history in which somebody dies at a crash point. Raises `Violation` if nobody gets there."""
    lines: list[str] = []

    async def history(chance: random.Random) -> Outcome:
        counted = await _live(chance, frozenset(), (3, 2), lambda story: _meet(story, point), lines, every_frame=False)
        return Outcome(seed, (point,), counted, trio.current_time(), tuple(lines))

    return _run(seed, history)


def _run(seed: int, history: Callable[[random.Random], Awaitable[Outcome]]) -> Outcome:
    pages, sqlite.CHECKPOINT_PAGES = sqlite.CHECKPOINT_PAGES, PAGES  # type: ignore[misc]
    try:
        return one_history(seed, history)
    finally:
        sqlite.CHECKPOINT_PAGES = pages  # type: ignore[misc]


async def _live(
    chance: random.Random,
    faults: frozenset[str],
    size: tuple[int, int],
    weather: Callable[[Story], Awaitable[None]],
    lines: list[str],
    *,
    every_frame: bool,
) -> Counter[str]:
    """Good weather, the given one, peace, judgement. `size`: machines and sessions."""
    async with open_world(chance.randrange(2**32)) as world:
        note = _writer(lines)
        note(f"faults: {', '.join(sorted(faults))}")
        world.network.tap = require_sealed
        async with trio.open_nursery() as nursery:
            story = Story(world, chance, faults, note)
            story.nursery = nursery
            await story.settle(*size)
            if every_frame:
                world.network.history = lines
            async with trio.open_nursery() as story.storm:
                await weather(story)
                story.storm.cancel_scope.cancel()
            await story.heal()
            world.raise_bugs()
            await story.probe()
            await trio.sleep(PEACE_S)
            counted = judge(story)
            counted["deaths"] = sum(keeper.deaths for keeper in story.keepers.values())
            counted["commits"] = sum(m.app.node.db.commits for m in story.machines) + story.broker.database.commits
            note(f"judged: {dict(counted)}")
            nursery.cancel_scope.cancel()
        for keeper in story.keepers.values():
            keeper.process.kill()
            await keeper.process.ended.wait()
            keeper.disk.close()
        unexpected = set(world.take_errors()) - EXPECTED_ERRORS
        if unexpected:
            raise Violation(f"errors were logged: {unexpected}")
        return counted


async def _bad_hour(story: Story, length_s: float) -> None:
    """Deeds of the people and of the nemeses, in bursts between long silences."""
    chance = story.chance
    names = sorted(story.faults)
    steps = max(12, round(chance.randrange(40, 90) * length_s / HOUR_S))
    quiet = {chance.randrange(steps): chance.choice((0.05, 0.14, 0.25)) * length_s for _ in range(6)}
    begun = trio.current_time()
    for step in range(steps):
        await trio.sleep(quiet.get(step) or chance.choice(PAUSES))
        story.world.raise_bugs()
        if names and chance.random() < 0.35:
            name = chance.choice(names)
            story.note(f"fault: {name}")
            story.storm.start_soon(DEEDS[name], story)
        elif chance.random() < 0.65:
            for _ in range(chance.choice((1, 1, 1, 2, 8))):
                story.nursery.start_soon(story.send)
        else:
            story.nursery.start_soon(chance.choice((story.read, story.read, story.repeat)))
    await trio.sleep_until(begun + length_s)


async def _meet(story: Story, point: str) -> None:
    """Arm one trap, and live until somebody has met it."""
    name = "broker" if point in BROKER and (point not in DAEMON or story.chance.random() < 0.5) else "bob"
    if point == "FP-20":
        name = story.sitters[0].machine.name
    keeper = story.keepers[name]
    if point in STARTING:
        keeper.kill(0.1)
        await trio.sleep(0)
    keeper.trap.arm(point, 0)
    for _ in range(200):
        if not keeper.trap.armed:
            return
        story.nursery.start_soon(story.send)
        story.nursery.start_soon(story.read)
        await trio.sleep(story.chance.choice((0.0, 0.01, 1.0)))
        if point == "FP-04":
            await _write_offline(story, "bob")
    raise Violation(f"{point}: nobody got there")


async def _write_offline(story: Story, name: str) -> None:
    """A daemon that has just started knows nobody's prekey: what it is given is sealed when it is online."""
    machine = story.world.machines[name]
    cable = story.cable(machine)
    cable.down = True
    story.keepers[name].kill(0.1)
    await trio.sleep(0.2)
    await story.post(story.letter(machine, None, (("ann", ""), ("eve", ""))))
    cable.down = False


def _writer(lines: list[str]) -> Callable[[str], None]:
    return lambda text: lines.append(f"{trio.current_time():.3f} -- {text}")


def require_sealed(frame: bytes) -> None:
    if MARK in frame:
        raise Violation("plaintext: on the wire")
