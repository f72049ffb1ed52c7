"""A world for every test that wants one, in virtual time and of one fixed seed."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
import trio
from trio.testing import MockClock

from world.seeds import seeded_scheduler
from world.world import World, open_world

SEED = int(os.environ.get("WORLD_SEED", "20261"))
"""Of every world here. Another one is another order of whatever happens at once: no test may depend on it."""


def run_virtually(
    test: Callable[[], Awaitable[object]], *, clock: trio.abc.Clock | None, instruments: Sequence[trio.abc.Instrument]
) -> object:
    """What pytest-trio runs a test in a world with; it would take a clock only from the test's own arguments."""
    with seeded_scheduler(SEED):
        return trio.run(test, clock=clock or MockClock(autojump_threshold=0), instruments=instruments)


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    for item in items:
        if "world" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.trio(run=run_virtually), append=False)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """An empty world."""
    async with open_world(SEED) as world:
        yield world
