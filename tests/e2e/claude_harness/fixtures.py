"""Fixtures for tests with the real binary; a conftest imports them by name."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from machines.machine import Machine

from .binary import BinaryUnavailable, find_binary
from .namespace import Place, open_place
from .settled import Settled, open_settled
from .stage import Stage, open_stage


@pytest.fixture(scope="session")
def claude_binary(request: pytest.FixtureRequest) -> Path:
    """The pinned binary. Where it cannot be had the test is skipped, and the report says why."""
    try:
        return find_binary()
    except BinaryUnavailable as error:
        _announce(request, f"CLAUDE CODE TESTS SKIPPED: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def _isolation_reported() -> set[bool]:
    return set()


@pytest.fixture
def claude_place(request: pytest.FixtureRequest, _isolation_reported: set[bool]) -> Iterator[Place]:
    """A loopback-only network namespace, or a line in the report that there is none."""
    with open_place() as place:
        if not place.isolated and not _isolation_reported:
            _isolation_reported.add(True)
            _announce(request, "CLAUDE CODE TESTS NOT ISOLATED: no network namespace may be made here")
        yield place


@pytest.fixture
async def claude_stage(claude_binary: Path, claude_place: Place) -> AsyncIterator[Stage]:
    """Binary, place, scripted API and homes for one test."""
    async with open_stage(claude_binary, claude_place) as stage:
        yield stage


@pytest.fixture
async def settled(claude_stage: Stage) -> AsyncIterator[Settled]:
    """That stage beside a running daemon with a mesh."""
    async with open_settled(claude_stage) as found:
        yield found


@pytest.fixture
def machine(settled: Settled) -> Machine:
    """The machine of that daemon."""
    return settled.machine


def _announce(request: pytest.FixtureRequest, line: str) -> None:
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.ensure_newline()
        reporter.write_line(line, yellow=True, bold=True)
