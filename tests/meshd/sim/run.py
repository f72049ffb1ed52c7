"""From a number to a history and its judgement."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

import mesh_protocol.io.sqlite as sqlite
from sim.book import MARK
from sim.clients import Violation
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
    trace: tuple[str, ...]


class Failed(Exception):
    """A history in which something did not hold; `trace` tells it."""

    def __init__(self, seed: int, trace: list[str]) -> None:
        super().__init__(f"seed {seed} failed")
        self.trace = trace


def run_seed(seed: int, *, faults: frozenset[str] | None = None, trace: list[str] | None = None) -> Outcome:
    """One simulated hour and its judgement. With `trace` every frame is written there. Raises what did not hold."""
    lines = trace if trace is not None else []

    async def story(chance: random.Random) -> Outcome:
        chosen = draw(chance) if faults is None else faults
        counted = await _live(chance, chosen, lines, every_frame=trace is not None)
        return Outcome(seed, tuple(sorted(chosen)), counted, tuple(lines))

    pages, sqlite.CHECKPOINT_PAGES = sqlite.CHECKPOINT_PAGES, PAGES  # type: ignore[misc]
    try:
        return one_history(seed, story)
    finally:
        sqlite.CHECKPOINT_PAGES = pages  # type: ignore[misc]


async def _live(chance: random.Random, faults: frozenset[str], lines: list[str], *, every_frame: bool) -> Counter[str]:
    async with open_world(chance.randrange(2**32)) as world:
        note = _writer(lines)
        note(f"faults: {', '.join(sorted(faults))}")
        world.network.tap = _require_sealed
        async with trio.open_nursery() as nursery:
            story = Story(world, chance, faults, note)
            story.nursery = nursery
            await story.settle(chance.randrange(3, 6), chance.randrange(0, 4))
            if every_frame:
                world.network.history = lines
            async with trio.open_nursery() as story.storm:
                await _bad_hour(story)
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


async def _bad_hour(story: Story) -> None:
    """Deeds of the people and of the nemeses, in bursts between long silences."""
    chance = story.chance
    names = sorted(story.faults)
    steps = chance.randrange(40, 90)
    quiet = {chance.randrange(steps): chance.choice((200.0, 500.0, 900.0)) for _ in range(6)}
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
    await trio.sleep_until(begun + HOUR_S)


def _writer(lines: list[str]) -> Callable[[str], None]:
    return lambda text: lines.append(f"{trio.current_time():.3f} -- {text}")


def _require_sealed(frame: bytes) -> None:
    if MARK in frame:
        raise Violation("plaintext: on the wire")
