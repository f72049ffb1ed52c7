"""What sessions were given of their waiting messages while nothing proves that they saw it. Pure: times are passed in.

Kept in memory alone: after a restart of the daemon what is not proved is given again, which repeats it and loses nothing.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

HANDED_S: Final = 120.0
"""A message that a tool call returned or a hook took along is not given again for so long, unless it is asked for by its
id: its proof comes with the model's next request, which a long answer or a tool may hold up."""


@dataclass(slots=True, eq=False)
class Given:
    """By the numbers of inbox rows. Times are seconds of trio's clock."""

    _previewed: set[int] = field(default_factory=set)
    _kept: set[int] = field(default_factory=set)
    _summed: dict[int, float] = field(default_factory=dict)
    _handed: dict[int, float] = field(default_factory=dict)
    _fetched: dict[int, int] = field(default_factory=dict)
    _loose: dict[int, str] = field(default_factory=dict)
    """Handed to a hook that Claude Code does not wait for, and to which session."""

    # Only a part of it was shown.

    def preview(self, row: int) -> None:
        """Its beginning is being shown: the rest is shown when it is fetched."""
        self._previewed.add(row)

    def unpreview(self, row: int) -> None:
        self._previewed.discard(row)

    def sum_up(self, rows: Iterable[int], until: float = math.inf) -> None:
        """A digest names them: they are not surfaced by themselves any more, or not before `until`."""
        self._summed.update(dict.fromkeys(rows, until))

    def unsum(self, rows: Iterable[int]) -> None:
        """Nothing proves that the digest was seen."""
        for row in rows:
            self._summed.pop(row, None)

    # Its session put it aside.

    def keep(self, row: int) -> None:
        """Its session holds or refused it: surfaced again it would only be put aside again."""
        self._kept.add(row)

    def release(self, rows: Iterable[int]) -> None:
        """Nobody keeps them any more."""
        self._kept.difference_update(rows)

    # It was handed over.

    def hand(self, row: int, now: float) -> None:
        """A tool call returns it, or a hook takes it along."""
        self._handed[row] = now + HANDED_S

    def hand_loosely(self, row: int, now: float, session: str) -> None:
        """A hook takes it along whose answer comes with the next tool; without one, not before the next prompt."""
        self.hand(row, now)
        self._loose[row] = session

    def is_loose(self, session: str) -> bool:
        """Whether such a hook of this session took something along that nothing proves."""
        return session in self._loose.values()

    def recall(self, session: str) -> None:
        """The turn ends: what its tools' hooks took along and nothing proves may be given again."""
        for row in [row for row, taker in self._loose.items() if taker == session]:
            del self._loose[row]
            self._handed.pop(row, None)
            self._previewed.discard(row)

    def is_handed(self, row: int, now: float) -> bool:
        return self._handed.get(row, 0.0) > now

    def note_part(self, row: int, start: int, end: int, size: int) -> bool:
        """The characters `start` to `end` of `size` are being given; whether its session has them all then."""
        reached = self._fetched.get(row, 0)
        if start <= reached:
            reached = self._fetched[row] = max(reached, end)
        return reached >= size

    # All of it.

    def surfaces_at(self, row: int) -> float:
        """From when on it may be surfaced by itself again; 0 for what was neither handed over nor summed up."""
        return max(self._handed.get(row, 0.0), self._summed.get(row, 0.0))

    def is_put_aside(self, row: int, now: float) -> bool:
        """It is not to be surfaced by itself: announced, handed over, shown in part, or kept by its session."""
        return row in self._previewed or row in self._kept or self.surfaces_at(row) > now

    def forget(self, row: int) -> None:
        """It was shown: nothing about it need be remembered."""
        self._previewed.discard(row)
        self._kept.discard(row)
        self._summed.pop(row, None)
        self._handed.pop(row, None)
        self._fetched.pop(row, None)
        self._loose.pop(row, None)
