"""Makes this folder's modules, the worlds of tests/meshd and the generators importable, and gives a world."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from trio.testing import MockClock

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "meshd"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from world.seeds import seeded_scheduler
from world.world import World, open_world

SEED = 20_262


@pytest.fixture
async def world(autojump_clock: MockClock) -> AsyncIterator[World]:
    """Machines, a network and a broker in virtual time, of one fixed seed."""
    with seeded_scheduler(SEED):
        async with open_world(SEED) as world:
            yield world
