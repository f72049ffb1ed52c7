"""What makes a history repeatable: seeded bytes, a virtual wall clock, a seeded scheduler."""

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import TypeVar

import trio
import trio._core._run as scheduler
from trio.testing import MockClock

START_MS = 1_800_000_000_000
"""The world's wall clock when its virtual time is 0."""

T = TypeVar("T")


class SeededRng:
    """Bytes that look random and are the same each time. It goes on over restarts, so that nothing repeats."""

    def __init__(self, *words: object) -> None:
        self._seed = sha256(repr(words).encode()).digest()
        self._count = 0

    def __call__(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            self._count += 1
            found += sha256(self._seed + self._count.to_bytes(8, "big")).digest()
        return found[:size]


class WallClock:
    """Epoch milliseconds of one machine: virtual time, plus what its owner has set it wrong by."""

    def __init__(self) -> None:
        self.off_ms = 0

    def __call__(self) -> int:
        return START_MS + round(trio.current_time() * 1000) + self.off_ms


@contextmanager
def seeded_scheduler(seed: int) -> Iterator[None]:
    """Let trio order the tasks that are ready at once by `seed` alone. Uses two private names of trio; a test watches
    that they still do this."""
    allowed, state = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate()
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    scheduler._r.seed(seed)
    try:
        yield
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = allowed  # type: ignore[misc]
        scheduler._r.setstate(state)


def one_history(seed: int, story: Callable[[random.Random], Awaitable[T]]) -> T:
    """Run `story` in virtual time from its beginning to its end; the same seed gives the same run."""
    with seeded_scheduler(seed):
        return trio.run(story, random.Random(seed), clock=MockClock(autojump_threshold=0))
