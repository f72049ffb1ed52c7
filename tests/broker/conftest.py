"""Makes the kit of this folder importable, and gives every test a broker over each wire it names."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from broker_kit.stand import Stand, open_memory_stand, open_websocket_stand


@pytest.fixture
async def memory_stand(tmp_path: Path) -> AsyncIterator[Stand]:
    """A broker reached through memory: one seed, one history."""
    async with open_memory_stand(tmp_path) as stand:
        yield stand


@pytest.fixture(params=["memory", "websocket"])
def wire(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def stand(wire: str, tmp_path: Path) -> AsyncIterator[Stand]:
    """A broker over memory and over WebSocket in turn: one suite for both."""
    opened = open_memory_stand(tmp_path) if wire == "memory" else open_websocket_stand(tmp_path)
    async with opened as stand:
        yield stand
