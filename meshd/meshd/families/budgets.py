"""A person's limits on what is spent, and letting go what they hold."""

from typing import TYPE_CHECKING, Final

from mesh_protocol.ops.budgets import (
    AllowAnswer,
    AllowMore,
    BudgetAnswer,
    BudgetRow,
    BudgetsAnswer,
    HeldRow,
    ListBudgets,
    RemoveAnswer,
    RemoveBudget,
    SetBudget,
)
from mesh_protocol.wire.errors import MeshError
from meshd.local.dispatch import Call, handles

if TYPE_CHECKING:
    from meshd.services.proxy.asking import Ask
    from meshd.services.proxy.budgets import Budgets
    from meshd.services.proxy.spending import Budget

NANO: Final = 10**9
MAX_HELD: Final = 50
"""Questions in one answer, the oldest first."""


@handles(ListBudgets)
async def list_budgets(call: Call, request: ListBudgets) -> BudgetsAnswer:
    if not call.app.proxy.used:
        return BudgetsAnswer(budgets=[], held=[])
    budgets = call.app.proxy.service().budgets
    return BudgetsAnswer(
        budgets=[
            BudgetRow(id=each.id, per=each.scope, only=each.key, amount=_shown(each, each.amount), unit=each.unit)
            for each in budgets.all
        ],
        held=[held_row(ask) for ask in budgets.asks.open()[:MAX_HELD]],
    )


def held_row(ask: "Ask") -> HeldRow:
    """A question for its person."""
    over = ask.over
    return HeldRow(
        id=over.budget.id,
        session=ask.session,
        agent=ask.agent,
        client=ask.client,
        since_ms=ask.since_ms,
        spent=_shown(over.budget, over.spent),
        limit=_shown(over.budget, over.limit),
        unit=over.budget.unit,
    )


@handles(SetBudget)
async def set_budget(call: Call, request: SetBudget) -> BudgetAnswer:
    from meshd.services.proxy.budgets import MAX_BUDGETS

    budgets = call.app.proxy.service().budgets
    if len(budgets.all) >= MAX_BUDGETS:
        raise MeshError("too_many", what="budgets", limit=MAX_BUDGETS)
    if request.only and request.per == "day":
        raise MeshError("bad_request", what="a budget for each day is for all: leave --only out")
    amount = round(request.amount * (NANO if request.unit == "usd" else 1))
    made = await budgets.add(request.per, request.only, request.unit, amount)
    return BudgetAnswer(id=made.id, per=made.scope, only=made.key, amount=_shown(made, made.amount), unit=made.unit)


@handles(RemoveBudget)
async def remove_budget(call: Call, request: RemoveBudget) -> RemoveAnswer:
    budgets, budget = _find(call, request.id)
    await budgets.remove(budget.id)
    return RemoveAnswer(id=budget.id)


@handles(AllowMore)
async def allow_more(call: Call, request: AllowMore) -> AllowAnswer:
    budgets, budget = _find(call, request.id)
    more = round(request.more * (NANO if budget.unit == "usd" else 1)) or budget.amount
    if not more:
        raise MeshError("bad_request", what="a budget of nothing has no amount to allow again: give --more AMOUNT")
    to = await budgets.allow(budget, more)
    return AllowAnswer(id=budget.id, more=_shown(budget, more), unit=budget.unit, to=to)


def _find(call: Call, number: int) -> "tuple[Budgets, Budget]":
    budgets = call.app.proxy.service().budgets if call.app.proxy.used else None
    for budget in budgets.all if budgets is not None else ():
        if budgets is not None and budget.id == number:
            return budgets, budget
    raise MeshError("not_found", what="budget", id=str(number))


def _shown(budget: "Budget", amount: int) -> float:
    return amount / NANO if budget.unit == "usd" else float(amount)
