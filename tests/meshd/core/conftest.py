"""A world for every test that wants one, in virtual time."""

from collections.abc import AsyncIterator

import pytest
from trio.testing import MockClock
from world.seeds import seeded_scheduler
from world.world import World, open_world

SEED = 20_261


@pytest.fixture
async def world(autojump_clock: MockClock) -> AsyncIterator[World]:
    """A world of one fixed seed."""
    with seeded_scheduler(SEED):
        async with open_world(SEED) as world:
            yield world
