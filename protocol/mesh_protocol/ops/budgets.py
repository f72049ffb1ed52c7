"""Limits of a person's own on what is spent through the API proxy."""

from typing import Annotated, Literal, TypeAlias

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op

Scope: TypeAlias = Literal["day", "session", "agents"]
Unit: TypeAlias = Literal["usd", "tokens"]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
BudgetId = Annotated[int, msgspec.Meta(ge=1, le=2**53, description="the budget's id, see mesh budget")]


class BudgetRow(Answer, frozen=True):
    """One budget: for each day, session, or sub-agent with all that it starts; `only` names one of them."""

    id: int
    per: str
    only: str
    amount: float
    unit: str


class HeldRow(Answer, frozen=True):
    """Who waits because the budget `id` is used up; `session` and `agent` sent the request that reached it last, from the
    `client` of that name (mesh proxy allow); each empty where it is not said."""

    id: int
    session: str
    agent: str
    client: str
    since_ms: int
    spent: float
    limit: float
    unit: str


class BudgetsAnswer(Answer, frozen=True):
    """All budgets, and what they hold now."""

    budgets: list[BudgetRow]
    held: list[HeldRow]


@op("budget.list", answer=BudgetsAnswer, tier=Tier.USER, command=Command("budget"))
class ListBudgets(Request, frozen=True):
    """List the budgets and the requests that they hold."""


class BudgetAnswer(Answer, frozen=True):
    """The budget as it is kept."""

    id: int
    per: str
    only: str
    amount: float
    unit: str


@op(
    "budget.set",
    answer=BudgetAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=("amount", "per", "unit", "only"),
    errors=("too_many",),
    command=Command("budget set", args=("amount",)),
)
class SetBudget(Request, frozen=True):
    """Limit what may be spent through the proxy; who reaches it waits until you allow more.

    A waiting request has sent nothing. After a minute it is answered with an error that says why, and its next try waits
    again.
    """

    amount: Annotated[Amount, msgspec.Meta(description="in dollars, or in tokens of all classes")]
    per: Annotated[Scope, msgspec.Meta(description="for each what; agents: each sub-agent with all that it starts")] = (
        "day"
    )
    unit: Annotated[Unit, msgspec.Meta(description="of the amount")] = "usd"
    only: Annotated[str, msgspec.Meta(max_length=128, description="for this one session or agent alone, by its id")] = (
        ""
    )


class RemoveAnswer(Answer, frozen=True):
    id: int


@op(
    "budget.remove",
    answer=RemoveAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=("id",),
    errors=("not_found",),
    command=Command("budget remove", args=("id",)),
)
class RemoveBudget(Request, frozen=True):
    """Take a budget away; what it holds goes on."""

    id: BudgetId


class AllowAnswer(Answer, frozen=True):
    """To whom more was allowed: a day, sessions, agents; nobody, if nothing waits and the budget names nobody."""

    id: int
    more: float
    unit: str
    to: list[str]


@op(
    "budget.allow",
    answer=AllowAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=("id", "more"),
    errors=("not_found",),
    command=Command("budget allow", args=("id",)),
)
class AllowMore(Request, frozen=True):
    """Let those go on whom a budget holds: they may spend more, once."""

    id: BudgetId
    more: Annotated[Amount, msgspec.Meta(description="how much more; default: the budget's amount once again")] = 0.0
