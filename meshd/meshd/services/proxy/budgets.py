"""A person's own limits: who has reached one waits, is asked about, and goes on or is told so. Never a silent end.

A held request has sent no byte to the API. After `HOLD_S`, which is less than a client's patience, it is answered 429 with
the reason and `retry-after`; the client's own next try waits again, and passes once the person has allowed more.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import apsw
import trio

from mesh_protocol.io.sqlite import Database
from meshd.log import get_logger
from meshd.seams import Clock
from meshd.services.proxy.asking import Ask, Asks, Tell, tell_nobody
from meshd.services.proxy.entries import local_day
from meshd.services.proxy.guards import Refusal
from meshd.services.proxy.heads import Head
from meshd.services.proxy.spending import AGENTS, DAY, SESSION, USD, Budget, Spent

log = get_logger("proxy")

HOLD_S: Final = 60.0
RETRY_AFTER_S: Final = 30
MAX_BUDGETS: Final = 100


@dataclass(frozen=True, slots=True)
class Held:
    """A request that waits for its person."""

    over: Spent
    session: str
    agent: str
    since_ms: int
    client: str


class Budgets:
    """The budgets of a record, what they hold, and what the person is asked; `tell` brings him a new question."""

    def __init__(self, db: Database, clock: Clock, tell: Tell = tell_nobody) -> None:
        self._db = db
        self._clock = clock
        self._tell = tell
        self.asks = Asks(clock)
        self._changed = trio.Event()
        self._number = 0
        self.held: dict[int, Held] = {}
        self.all = _read(db.reader)

    async def gate(self, head: Head, client: str) -> Refusal | None:
        """Wait while a budget is used up; a refusal when that takes too long. `client`: its name, if it has one."""
        if not self.all or head.method != b"POST" or not head.target.partition(b"?")[0].endswith(b"/messages"):
            return None
        over = last = self.check(head)
        if over is None or last is None:
            return None
        self._number += 1
        number = self._number
        session, agent = _header(head, b"session"), _header(head, b"agent")
        self.held[number] = Held(over, session, agent, self._clock(), client)
        try:
            with trio.move_on_after(HOLD_S):
                while over is not None:
                    changed = self._changed
                    new = self.asks.note(over, session, agent, client)
                    if new is not None:
                        await self._tell(new)
                    await changed.wait()
                    over = self.check(head)
                    last = over or last
                return None
        finally:
            del self.held[number]
        return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "rate_limit_error", last.text, RETRY_AFTER_S)

    def check(self, head: Head) -> Spent | None:
        """The first budget that a request would go beyond."""
        session, agent = _header(head, b"session"), _header(head, b"agent")
        try:
            for budget in self.all:
                spent = self._spent(budget, session, agent, _header(head, b"parent-agent"))
                if spent is not None and spent.spent >= spent.limit:
                    return spent
        except apsw.Error as error:  # a record that cannot be read must not end the work it is about
            log.warning("a budget could not be looked at", error=error)
        return None

    def _spent(self, budget: Budget, session: str, agent: str, parent: str) -> Spent | None:
        db = self._db.reader
        if budget.scope == DAY:
            key = local_day(self._clock())
            spent = _sum_day(db, budget.unit, key)
        elif not session or (budget.scope == AGENTS and not agent):
            return None
        elif budget.scope == SESSION:
            key = session
            spent = _sum_agents(db, budget.unit, session, None)
        else:
            parents = _parents(db, session)
            key = _topmost(agent, {**parents, agent: parent or parents.get(agent, "")})
            tree = {each for each in {*parents, agent} if _topmost(each, parents) == key}
            spent = _sum_agents(db, budget.unit, session, tree)
        if budget.scope != DAY and budget.key not in ("", key):
            return None
        return Spent(budget, key, spent, budget.amount + _allowed(db, budget.id, key))

    async def add(self, scope: str, key: str, unit: str, amount: int) -> Budget:
        """A new budget. Raises `MeshError("storage_full")`."""

        def work(tx: apsw.Connection) -> int:
            number = _next_id(tx)
            tx.execute(
                "INSERT INTO budget(id, scope, key, unit, amount, made_ms) VALUES(?,?,?,?,?,?)",
                (number, scope, key, unit, amount, self._clock()),
            )
            return number

        made = Budget(await self._db.write(work), scope, key, unit, amount)
        self._again()
        return made

    async def remove(self, budget: int) -> None:
        """Forget a budget; what it holds goes on."""

        def work(tx: apsw.Connection) -> None:
            tx.execute("DELETE FROM budget WHERE id=?", (budget,))
            tx.execute("DELETE FROM allowance WHERE budget=?", (budget,))

        await self._db.write(work)
        self.asks.answered(budget, self.asks.keys(budget))
        self._again()

    async def allow(self, budget: Budget, more: int) -> list[str]:
        """Allow so much more than was spent to whom the person is asked about, or to this day. Returns to whom."""
        beyond = {ask.over.key: self._beyond(ask) for ask in self.asks.open() if ask.over.budget.id == budget.id}
        if not beyond:
            key = local_day(self._clock()) if budget.scope == DAY else budget.key
            spent = self._spent(budget, key, "", "") if budget.scope != AGENTS else None
            beyond = {key: spent.beyond if spent is not None else 0} if key else {}

        def work(tx: apsw.Connection) -> None:
            for key, over in beyond.items():
                tx.execute(
                    "INSERT INTO allowance(budget, key, amount) VALUES(?,?,?)"
                    " ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
                    (budget.id, key, over + more),
                )

        await self._db.write(work)
        self.asks.answered(budget.id, beyond)
        self._again()
        return sorted(beyond)

    def _beyond(self, ask: Ask) -> int:
        """By how much the limit is passed by now: what was under way when it was reached has ended since."""
        now = self._spent(ask.over.budget, ask.session, ask.agent, "")
        return now.beyond if now is not None and now.key == ask.over.key else ask.over.beyond

    def _again(self) -> None:
        self.all = _read(self._db.reader)
        changed, self._changed = self._changed, trio.Event()
        changed.set()


def _header(head: Head, name: bytes) -> str:
    """What Claude Code says of itself in its headers."""
    full = b"x-claude-code-session-id" if name == b"session" else b"x-claude-code-" + name + b"-id"
    return head.value(full).decode("latin-1")[:128]


def _topmost(agent: str, parents: dict[str, str]) -> str:
    """The sub-agent that the session itself started, above `agent` or it itself."""
    for _ in range(64):
        above = parents.get(agent, "")
        if not above:
            break
        agent = above
    return agent


def _read(db: apsw.Connection) -> list[Budget]:
    rows = db.execute("SELECT id, scope, key, unit, amount FROM budget ORDER BY id LIMIT ?", (MAX_BUDGETS,))
    return [Budget(*row) for row in rows]


def _next_id(tx: apsw.Connection) -> int:
    """An id that no budget has had: an answer to an old question must not allow more of another."""
    rows = tx.execute("SELECT (SELECT max(id) FROM budget), (SELECT value FROM meta WHERE key = 'last_budget')")
    ((highest, noted),) = rows
    number = max(highest or 0, int.from_bytes(noted or b"", "little")) + 1
    tx.execute("INSERT OR REPLACE INTO meta(key, value) VALUES('last_budget', ?)", (number.to_bytes(8, "little"),))
    return number


def _sum_day(db: apsw.Connection, unit: str, day: str) -> int:
    rows = db.execute(
        "SELECT coalesce(sum(cost), 0),"
        " coalesce(sum(input + cache_write_5m + cache_write_1h + cache_read + output), 0) FROM day_total WHERE day=?",
        (day,),
    )
    ((cost, tokens),) = rows
    return int(cost if unit == USD else tokens)


def _sum_agents(db: apsw.Connection, unit: str, session: str, agents: set[str] | None) -> int:
    """Of a session: all of it, or these agents of it."""
    rows = db.execute(
        "SELECT agent, sum(cost), sum(input + cache_write_5m + cache_write_1h + cache_read + output) FROM total"
        " WHERE session=? GROUP BY agent",
        (session,),
    )
    return sum(cost if unit == USD else tokens for agent, cost, tokens in rows if agents is None or agent in agents)


def _parents(db: apsw.Connection, session: str) -> dict[str, str]:
    """The agents of a session, each with the one that started it."""
    rows = db.execute(
        "SELECT agent, max(parent_agent) FROM request WHERE conversation=? AND agent != '' GROUP BY agent", (session,)
    )
    return dict(iter(rows))


def _allowed(db: apsw.Connection, budget: int, key: str) -> int:
    rows = db.execute("SELECT amount FROM allowance WHERE budget=? AND key=?", (budget, key))
    return sum(amount for (amount,) in rows)
