"""What waits for one live session, what was pushed to it and is not proved yet, and how often that was tried."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from meshd.deliver.gate import EVERY_LANE, Budgets, Waiting
from meshd.deliver.watch import Expected
from meshd.sessions import Session

MAX_PUSHES: Final = 3
"""Times that one message is pushed where nothing proves that the session took it; then it waits to be asked for."""
RETRY_S: Final = 5.0
"""Pause after a push that the session did not take."""


@dataclass(slots=True, eq=False)
class Line:
    """Of one process of a session: when it is resumed in another one it gets a new line. Times are trio's."""

    session: Session
    waiting: dict[int, Waiting] = field(default_factory=dict)
    budgets: Budgets = field(default_factory=Budgets)
    awaited: dict[Expected, float] = field(default_factory=dict)
    """Pushes whose evidence has not come, and until when it is awaited."""
    not_before: float = 0.0
    served: bool = False
    """A worker is at it."""
    heeds: frozenset[str] = EVERY_LANE
    """The lanes of which a further message matters to the worker, as it waits now."""
    _tries: Counter[int] = field(default_factory=Counter)

    def add(self, message: Waiting) -> None:
        """One more that waits. What is here, or on its way, is not added again."""
        if all(expected.row != message.row for expected in self.awaited):
            self.waiting.setdefault(message.row, message)
            if message.lane in self.heeds:
                self.session.stir()

    @property
    def busy_until(self) -> float:
        """Until when the session may still be taking in what was pushed last; 0 for long ago."""
        return max(self.awaited.values(), default=0.0)

    def took(self, messages: Sequence[Waiting], now: float, *, digest: bool) -> None:
        """They were pushed, as one digest or alone."""
        for message in messages:
            self.waiting.pop(message.row, None)
            self._tries[message.row] += 1
        if digest:
            self.budgets.pushes.note(now)
        else:
            self.budgets.note(messages[0], now)

    def refused(self, messages: Sequence[Waiting], now: float) -> None:
        """They could not be pushed. Tried often enough they wait for who asks; the others are tried again."""
        self.not_before = now + RETRY_S
        for message in messages:
            self._tries[message.row] += 1
            if self._tries[message.row] >= MAX_PUSHES:
                self.waiting.pop(message.row, None)

    def put_back(self, message: Waiting) -> None:
        """It was pushed, nobody knows whether it arrived, and no evidence came: once more, unless that was the last try."""
        if self._tries[message.row] < MAX_PUSHES:
            self.waiting.setdefault(message.row, message)

    def forget(self, row: int) -> None:
        """It was shown, by whatever way."""
        self.waiting.pop(row, None)
        self._tries.pop(row, None)
