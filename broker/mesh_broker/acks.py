"""Acknowledgements on their way to the store: what comes while one is being written is joined to the next.

They come as notifications, which nobody counts, so without this a peer could queue up writes without end.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from mesh_broker.store.interface import Store

Range: TypeAlias = tuple[int, int]

MAX_RANGES: Final = 256
"""Ranges kept while a write runs. What does not fit is forgotten, and its envelopes come again."""


class AckQueue:
    """The acknowledgements of one box: at most one write at a time."""

    def __init__(self, store: Store, box: int) -> None:
        self._store = store
        self._box = box
        self._acked = 0
        self._ranges: list[Range] = []
        self._writing = False

    def add(self, acked: int, ranges: Sequence[Range]) -> None:
        """Delete what is named, soon."""
        self._acked = max(self._acked, acked)
        self._ranges = merged([*self._ranges, *ranges])[:MAX_RANGES]
        if not self._writing:
            self._write()

    def _write(self) -> None:
        acked, ranges = self._acked, self._ranges
        self._acked, self._ranges = 0, []
        self._writing = True
        self._store.acknowledge(self._box, acked, ranges).settled(self._settled)

    def _settled(self) -> None:
        self._writing = False
        if self._acked or self._ranges:
            self._write()


def merged(ranges: Sequence[Range]) -> list[Range]:
    """The same numbers in the fewest closed ranges, in order."""
    found: list[Range] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return found
