"""Death at a named place: a trap that is armed kills the process that reaches it, at that very place."""

from collections import Counter
from collections.abc import Callable
from typing import Final

REACHED: Counter[str] = Counter()
"""How often each crash point was reached, by whomever, since this program began: what shows that none is forgotten."""
DIED: Counter[str] = Counter()
"""How often somebody died there."""

DAEMON: Final = (
    "FP-01",
    "FP-02",
    "FP-03",
    "FP-04",
    "FP-05",
    "FP-06",
    "FP-10",
    "FP-11",
    "FP-12",
    "FP-13",
    "FP-15",
    "FP-18",
    "FP-19",
    "FP-20",
    "FP-22",
)
BROKER: Final = ("FP-07", "FP-08", "FP-09", "FP-14", "FP-15")


STARTING: Final = ("FP-04", "FP-18", "FP-19")
"""Met by a daemon that starts, or that has only just begun."""


class Trap:
    """One process's. `die` ends it there and then."""

    def __init__(self, die: Callable[[str], None]) -> None:
        self._die = die
        self._deed = die
        self._point = ""
        self._passes = 0

    def arm(self, point: str, passes: int, deed: Callable[[str], None] | None = None) -> None:
        """Die, or do `deed`, when `point` is reached after it was passed so many times."""
        self._point, self._passes, self._deed = point, passes, deed or self._die

    @property
    def armed(self) -> bool:
        """Nobody has met it yet."""
        return bool(self._point)

    def disarm(self) -> None:
        self._point = ""

    def reached(self, point: str) -> None:
        REACHED[point] += 1
        if point != self._point:
            return
        if self._passes:
            self._passes -= 1
            return
        self._point = ""
        DIED[point] += 1
        self._deed(point)
