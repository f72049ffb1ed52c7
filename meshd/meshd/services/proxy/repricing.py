"""Recorded requests at the prices of today: after the table was edited, or where a model had no price."""

from typing import Final, NamedTuple

import apsw

from meshd.services.proxy.asked import Kind
from meshd.services.proxy.entries import called
from meshd.services.proxy.prices import Prices
from meshd.services.proxy.usage import Tokens

AT_ONCE: Final = 1_000
"""Rows of one transaction: what is recorded meanwhile waits behind it."""


class Repriced(NamedTuple):
    """`last` is the row that was looked at last, 0 after all. Costs in nano-dollars, of the rows that were looked at."""

    last: int
    looked: int
    changed: int
    before: int
    after: int


class _Row(NamedTuple):
    row: int
    day: str
    account: str
    session: str
    agent: str
    model: str
    kind: str
    conversation: str
    tools: str
    tier: str
    client: str
    cost: int | None


def reprice(tx: apsw.Connection, prices: Prices, after: int) -> Repriced:
    """The rows behind `after`, some of them; the sums change with them, in the same transaction."""
    last = looked = changed = before = now = 0
    rows = tx.execute(
        "SELECT row, day, account, session, agent, model, kind, conversation, tools, tier, client, cost,"
        " input, cache_write_5m, cache_write_1h, cache_read, output, thinking, searches FROM request"
        " WHERE row > ? ORDER BY row LIMIT ?",
        (after, AT_ONCE),
    ).fetchall()
    for found in rows:
        row, tokens = _Row(*found[:12]), Tokens(*found[12:])  # type: ignore[arg-type]  # the columns above
        cost = prices.cost(row.model, row.day, tokens, row.tier)
        last, looked = row.row, looked + 1
        before, now = before + (row.cost or 0), now + (cost or 0)
        if cost != row.cost:
            changed += 1
            _change(tx, row, cost)
    return Repriced(last if looked == AT_ONCE else 0, looked, changed, before, now)


def _change(tx: apsw.Connection, row: _Row, cost: int | None) -> None:
    more, unpriced = (cost or 0) - (row.cost or 0), int(cost is None) - int(row.cost is None)
    tx.execute("UPDATE request SET cost=? WHERE row=?", (cost, row.row))
    tx.execute(
        "UPDATE total SET cost = cost + ?, unpriced = unpriced + ?"
        " WHERE day=? AND account=? AND session=? AND agent=? AND model=? AND kind=?",
        (more, unpriced, row.day, row.account, row.session, row.agent, row.model, row.kind),
    )
    tx.execute(
        "UPDATE day_total SET cost = cost + ?, unpriced = unpriced + ?"
        " WHERE day=? AND account=? AND model=? AND kind=?",
        (more, unpriced, row.day, row.account, row.model, row.kind),
    )
    tx.execute(
        "UPDATE client_total SET cost = cost + ?, unpriced = unpriced + ? WHERE day=? AND client=?",
        (more, unpriced, row.day, called(row.client)),
    )
    for tool in dict.fromkeys(row.tools.split("\n") if row.tools else ()):
        tx.execute("UPDATE tool_total SET cost = cost + ? WHERE day=? AND tool=?", (more, row.day, tool))
    if row.conversation and row.kind != Kind.OTHER:
        tx.execute("UPDATE conversation SET cost = cost + ? WHERE id=?", (more, row.conversation))
