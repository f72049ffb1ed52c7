"""Which mailbox numbers are committed here: cumulative plus closed ranges, as the broker wants them. Pure."""

from typing import Final

MAX_RANGES: Final = 64


class AckTracker:
    """Starts at the broker's word for what was acknowledged; numbers may be committed in any order (lanes reorder)."""

    def __init__(self) -> None:
        self._done: set[int] = set()
        self._low = 0
        self.dirty = False

    def add(self, mseq: int) -> None:
        """`mseq` is committed."""
        if mseq > self._low:
            self._done.add(mseq)
            self.dirty = True
            self._close_up()

    def start_at(self, number: int) -> None:
        """Everything up to `number` is the broker's business no longer: it was acknowledged, or has expired there."""
        self._low = max(self._low, number)
        self._done = {done for done in self._done if done > self._low}
        self._close_up()

    def _close_up(self) -> None:
        """Move the cumulative number over what follows it without a hole."""
        while self._low + 1 in self._done:
            self._low += 1
            self._done.discard(self._low)

    def take(self) -> tuple[int, list[list[int]]]:
        """What to tell the broker now: the cumulative number, and at most 64 closed ranges above it.

        What is told need not be kept: the broker has deleted those rows, or will ask nothing about them again.
        """
        self.dirty = False
        ranges: list[list[int]] = []
        for number in sorted(self._done):
            if ranges and ranges[-1][1] == number - 1:
                ranges[-1][1] = number
            elif len(ranges) < MAX_RANGES:
                ranges.append([number, number])
            else:
                self.dirty = True
                break
        for low, high in ranges:
            self._done.difference_update(range(low, high + 1))
        return self._low, ranges
