"""What may be spent and what was, as plain facts."""

from typing import Final, NamedTuple

from meshd.services.proxy.prices import NANO

DAY: Final = "day"
SESSION: Final = "session"
AGENTS: Final = "agents"
USD: Final = "usd"
_WHAT: Final = {DAY: "today", SESSION: "this session", AGENTS: "this sub-agent"}


class Budget(NamedTuple):
    """`scope` is day, session, or agents (a sub-agent with all that it starts); `key` names one, empty: each. `amount` is
    in nano-dollars or tokens of all classes, as `unit` says."""

    id: int
    scope: str
    key: str
    unit: str
    amount: int

    def shown(self, amount: int) -> str:
        """An amount of its unit for people."""
        if self.unit != USD:
            return f"{amount} tokens"
        return f"${amount / NANO:.2f}" if amount >= NANO // 100 or not amount else f"${amount / NANO:.4f}"


class Spent(NamedTuple):
    """What one day, session or agent has spent, and what it may."""

    budget: Budget
    key: str
    spent: int
    limit: int

    @property
    def beyond(self) -> int:
        """What was spent beyond the limit."""
        return max(0, self.spent - self.limit)

    @property
    def text(self) -> str:
        """For the client that is told."""
        return (
            f"the budget of {self.budget.shown(self.limit)} for {self.what} is used up"
            f" ({self.budget.shown(self.spent)}); your person can allow more: mesh budget allow {self.budget.id}"
        )

    @property
    def what(self) -> str:
        """For what the limit is: today, this session, this sub-agent."""
        return _WHAT[self.budget.scope]
