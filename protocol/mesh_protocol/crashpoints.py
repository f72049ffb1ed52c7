"""Named places at which a process may die. docs/crash-points.md says where each is and what must hold after a death there."""

from collections.abc import Callable
from typing import TypeAlias

Reached: TypeAlias = Callable[[str], None]
"""Told the name of each place as it is reached (`FP-09`). Called in the event loop and in the writer's thread alike."""


def unnoticed(point: str) -> None:
    """Nobody waits for it: what runs outside of tests."""
