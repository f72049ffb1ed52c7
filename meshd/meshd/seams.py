"""What is not deterministic, passed in: the clock, randomness, where threads' work is done, and when the process dies."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from mesh_protocol.crashpoints import Reached, unnoticed
from mesh_protocol.io.sqlite import Worker

Clock: TypeAlias = Callable[[], int]
"""Unix epoch milliseconds by this machine's clock."""

Rng: TypeAlias = Callable[[int], bytes]
"""That many unpredictable bytes."""

T = TypeVar("T")


class Threads(Protocol):
    """Runs blocking work outside the event loop (inline in a simulator)."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]: ...


@dataclass(frozen=True, slots=True)
class Seams:
    """One set for the whole daemon."""

    clock: Clock
    rng: Rng
    threads: Threads
    worker: Callable[[str], Worker]
    """Makes the worker of a database, by its name."""
    reached: Reached = unnoticed


def jitter(rng: Rng, ceiling: float) -> float:
    """Full jitter: uniform in 0 .. ceiling seconds."""
    return ceiling * int.from_bytes(rng(4), "big") / 2**32
