"""What a person is asked because a budget is used up: until he answers, or nobody tries any more.

A client whose request was held for a minute is answered, and tries again half a minute later; in between nothing waits, and
the question is still open.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple

from meshd.seams import Clock
from meshd.services.proxy.spending import Spent

QUIET_MS: Final = 15 * 60 * 1000
"""Who has not tried for so long has given up."""
MAX_ASKS: Final = 256


class Ask(NamedTuple):
    """`session` and `agent` (empty: not said) of `client` (empty: it has no name) ran into `over`; times in Unix epoch
    milliseconds."""

    over: Spent
    session: str
    agent: str
    since_ms: int
    tried_ms: int
    client: str = ""


Tell = Callable[[Ask], Awaitable[None]]
"""Brings a new question to its person, wherever he is."""


async def tell_nobody(ask: Ask) -> None:
    """Where there is nobody else to tell."""


class Asks:
    """The open questions, one for each budget and what it is used up for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asks: dict[tuple[int, str], Ask] = {}

    def note(self, over: Spent, session: str, agent: str, client: str = "") -> Ask | None:
        """Somebody ran into `over`; the question if it is a new one."""
        now, key = self._clock(), (over.budget.id, over.key)
        known = next((ask for ask in self.open() if (ask.over.budget.id, ask.over.key) == key), None)
        if known is None and len(self._asks) >= MAX_ASKS:
            return None
        new = Ask(over, session, agent, known.since_ms if known is not None else now, now, client)
        self._asks[key] = new
        return new if known is None else None

    def open(self) -> list[Ask]:
        """The oldest first. Those that nobody waits for any more are forgotten."""
        now = self._clock()
        self._asks = {key: ask for key, ask in self._asks.items() if 0 <= now - ask.tried_ms < QUIET_MS}
        return sorted(self._asks.values(), key=lambda ask: ask.since_ms)

    def keys(self, budget: int) -> set[str]:
        """For whom a budget is asked about."""
        return {ask.over.key for ask in self.open() if ask.over.budget.id == budget}

    def answered(self, budget: int, keys: Iterable[str]) -> None:
        """The person has answered for these."""
        for key in keys:
            self._asks.pop((budget, key), None)
