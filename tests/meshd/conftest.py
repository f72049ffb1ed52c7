"""Makes the kits importable, and gives a town of daemons in virtual time."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "broker"))

from core_kit.town import Town, open_town


@pytest.fixture
async def town(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> AsyncIterator[Town]:
    """Alice and bob in two meshes at two brokers; time jumps whenever nobody has anything to do."""
    async with open_town(tmp_path) as town:
        yield town
