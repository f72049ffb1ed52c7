"""Which of the messages that wait for a session is shown next, and when. Pure: times are passed in, in seconds.

`now` is shown at once, `next` when the session is idle, `low` only to who asks (it never gets here). Two budgets guard a
session against loops: so many `next` a minute, with what is too much summed up in one digest; and of each sender so many
`now` a minute, with what is too much waiting as `next` does.
"""

import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Final, NamedTuple, TypeAlias

PUSHES: Final = 6
"""Pushes to one session in `PERIOD_S`, the digest included (limits: push to one agent session)."""
URGENT: Final = 6
"""Messages with `now` of one sender that are shown to one session at once in `PERIOD_S`."""
MAX_SUMMED: Final = 200
"""Messages of one digest; of more the next minute's digest tells."""
PERIOD_S: Final = 60.0
LOOK_S: Final = 1.0
"""How often a working session is looked at: without hooks nothing else tells that it is idle again."""

EVERY_LANE: Final = frozenset({"now", "next"})
URGENT_ONLY: Final = frozenset({"now"})
NO_LANE: Final[frozenset[str]] = frozenset()

Mode: TypeAlias = str
"""push, inbox (only when it asks), or off."""


@dataclass(slots=True)
class Pace:
    """What happened in the last `PERIOD_S` seconds, and whether it may happen once more."""

    limit: int
    _times: deque[float] = field(default_factory=deque)

    def note(self, now: float) -> None:
        self._times.append(now)

    def room(self, now: float) -> int:
        """How many more may happen now."""
        while self._times and self._times[0] + PERIOD_S <= now:
            self._times.popleft()
        return max(0, self.limit - len(self._times))

    def wait(self, now: float) -> float:
        """Seconds until there is room; 0 when there is."""
        return 0.0 if self.room(now) else self._times[0] + PERIOD_S - now


class Waiting(NamedTuple):
    """A message that waits for a session. Rows count up in the order of arrival."""

    row: int
    lane: str
    sender: bytes


class Show(NamedTuple):
    """Push this one."""

    message: Waiting


class Sum(NamedTuple):
    """Push one digest of these."""

    messages: tuple[Waiting, ...]


class Demote(NamedTuple):
    """These are `next` from here on: their sender has had his share of `now`."""

    messages: tuple[Waiting, ...]


class Wait(NamedTuple):
    """Nothing is to be done before something happens, or before so many seconds (infinite: only an event helps).

    `look`: the session's own word on whether it is idle may have changed unsaid. `heeds`: the lanes of which another
    message would change anything.
    """

    seconds: float
    look: bool = False
    heeds: frozenset[str] = EVERY_LANE


Step: TypeAlias = Show | Sum | Demote | Wait


@dataclass(slots=True)
class Budgets:
    """Of one session. They live as long as its process, whatever waits."""

    pushes: Pace = field(default_factory=lambda: Pace(PUSHES))
    _urgent: dict[bytes, Pace] = field(default_factory=dict)

    def urgent(self, sender: bytes) -> Pace:
        """The budget of one sender's `now`."""
        return self._urgent.setdefault(sender, Pace(URGENT))

    def note(self, message: Waiting, now: float) -> None:
        """It was pushed."""
        (self.urgent(message.sender) if message.lane == "now" else self.pushes).note(now)


def choose(
    waiting: Collection[Waiting],
    budgets: Budgets,
    now: float,
    *,
    mode: Mode,
    status: str,
    busy_until: float,
    mid_turn: bool = True,
) -> Step:
    """The next step for a session. `busy_until`: a message that was pushed last is not proved to be seen until then.
    `mid_turn`: what is pushed into a turn is read before its end; else there is no use in it."""
    if mode != "push" or status == "dnd":
        return Wait(math.inf, heeds=NO_LANE)
    if not waiting:
        return Wait(math.inf)
    urgent = min((each for each in waiting if each.lane == "now"), default=None)
    if urgent is not None and (mid_turn or status == "idle"):
        if budgets.urgent(urgent.sender).room(now):
            return Show(urgent)
        return Demote(tuple(each for each in waiting if each.lane == "now" and each.sender == urgent.sender))
    if status != "idle":
        return Wait(LOOK_S, look=True, heeds=URGENT_ONLY)
    if busy_until > now:
        return Wait(busy_until - now, heeds=URGENT_ONLY)
    return _choose_next(waiting, budgets.pushes, now)


def _choose_next(waiting: Collection[Waiting], pushes: Pace, now: float) -> Step:
    room = pushes.room(now)
    if not room:
        return Wait(pushes.wait(now), heeds=URGENT_ONLY)
    # The last push of a minute is kept for all that is left, so that nothing waits unannounced behind it.
    if room == 1 and len(waiting) > 1:
        return Sum(tuple(nsmallest(MAX_SUMMED, waiting)))
    return Show(min(waiting))
