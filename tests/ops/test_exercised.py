"""Every operation works, and every error that it declares comes to pass: no story, no operation."""

import importlib
from pathlib import Path

import pytest
from exercised import REFUSALS, WORKS
from trio.testing import MockClock

from mesh_protocol.registry import load_operations
from mesh_protocol.wire.errors import CODES
from world.world import World

for path in sorted(Path(__file__).parent.glob("stories_*.py")):
    importlib.import_module(path.stem)

OPERATIONS = load_operations()


def test_everything_declared_is_exercised() -> None:
    declared = {(method, code) for method, each in OPERATIONS.items() for code in each.errors}
    missing = [f"@works({method!r})" for method in sorted(OPERATIONS.keys() - WORKS.keys())]
    missing += [f"@refuses({method!r}, {code!r})" for method, code in sorted(declared - REFUSALS.keys())]
    assert not missing, f"write these stories in tests/ops/stories_*.py: {', '.join(missing)}"
    undeclared = [f"{method} ends with {code}" for method, code in sorted(REFUSALS.keys() - declared)]
    assert not undeclared, f"declare these errors in mesh_protocol/ops: {', '.join(undeclared)}"
    assert WORKS.keys() == OPERATIONS.keys()


@pytest.mark.parametrize("method", sorted(WORKS))
async def test_it_works(world: World, autojump_clock: MockClock, method: str) -> None:
    await WORKS[method](world)


@pytest.mark.parametrize(("method", "code"), sorted(REFUSALS))
async def test_it_refuses(world: World, autojump_clock: MockClock, method: str, code: str) -> None:
    assert code in CODES
    assert await REFUSALS[method, code](world) == code
