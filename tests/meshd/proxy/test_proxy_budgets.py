"""Budgets: who reaches one is held, asked about, and goes on or is told why not."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from meshd.services.proxy import budgets as budgets_module
from meshd.services.proxy.asking import QUIET_MS, Ask, Asks
from meshd.services.proxy.entries import local_day
from meshd.services.proxy.spending import Budget, Spent
from meshd.services.proxy.store import add_entries
from meshd.services.proxy.usage import Tokens
from proxy_kit.record import PLAIN
from proxy_kit.stage import SEAMS, Hearing, Stage, answering, open_stage, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
DOLLAR = 10**9


@asynccontextmanager
async def opened(folder: Path, heard: list[bytes] | None = None) -> AsyncIterator[Stage]:
    async with open_stage(folder, answering(OK, heard)) as stage:
        yield stage


async def spend(stage: Stage, session: str, cost: int = DOLLAR, *, agent: str = "", parent: str = "") -> None:
    """A request of today that cost so much, and a hundred tokens."""
    entry = msgspec.structs.replace(
        PLAIN,
        session=session,
        agent=agent,
        parent_agent=parent,
        source="header",
        cost=cost,
        tokens=Tokens(input=60, cache_read=30, output=10),
        day=local_day(SEAMS.clock()),
    )
    await stage.service.db.write(lambda tx: add_entries(tx, [(1, entry)]))


async def ask(
    stage: Stage, session: str = "", *, agent: str = "", parent: str = "", path: str = "/v1/messages"
) -> Hearing:
    client = await stage.client()
    named = [("session", session), ("agent", agent), ("parent-agent", parent)]
    lines = [
        f"X-Claude-Code-Session-Id: {value}\r\n" if name == "session" else f"x-claude-code-{name}-id: {value}\r\n"
        for name, value in named
        if value
    ]
    await client.send(stage.request(path, b"{}", more="".join(lines)))
    return client


async def passes(stage: Stage, session: str = "", **named: str) -> bool:
    """Whether such a request goes through at once; it is left alone where it is held."""
    assert not stage.service.budgets.held
    before = stage.service.recorder.counts.requests
    client = await ask(stage, session, **named)
    await until(lambda: bool(stage.service.budgets.held) or stage.service.recorder.counts.requests > before, "either")
    went = stage.service.recorder.counts.requests > before
    if went:
        await client.until(b"ok")
    return went


async def test_a_session_that_has_spent_its_budget_waits_and_goes_on_when_more_is_allowed(tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:
        kept = stage.service.budgets
        budget = await kept.add("session", "", "usd", DOLLAR)
        assert await passes(stage, "s-1")
        await spend(stage, "s-1")
        client = await ask(stage, "s-1")
        await until(lambda: len(kept.held) == 1, "the request is held")
        (held,) = kept.held.values()
        assert (held.session, held.over.spent, held.over.limit) == ("s-1", DOLLAR, DOLLAR)
        counting = await ask(stage, "s-1", path="/v1/messages/count_tokens")
        assert await counting.until(b"ok") == OK, "counting is free"
        other = await ask(stage, "s-2")
        assert await other.until(b"ok") == OK, "another session is not concerned"
        assert await kept.allow(budget, DOLLAR) == ["s-1"]
        assert await client.until(b"ok") == OK
        assert kept.held == {}
        await spend(stage, "s-1")
        await ask(stage, "s-1")
        await until(lambda: len(kept.held) == 1, "what was allowed is spent too")


@pytest.mark.parametrize(("scope", "agent"), [("session", ""), ("day", ""), ("agents", "a-1")])
async def test_however_far_beyond_its_budget_one_word_lets_it_go_on(tmp_path: Path, scope: str, agent: str) -> None:
    async with opened(tmp_path) as stage:
        kept = stage.service.budgets
        budget = await kept.add(scope, "", "usd", DOLLAR)
        await spend(stage, "s-1", 7 * DOLLAR, agent=agent)
        client = await ask(stage, "s-1", agent=agent)
        await until(lambda: len(kept.held) == 1, "the request is held")
        await spend(stage, "s-1", 2 * DOLLAR, agent=agent)  # what was under way meanwhile
        assert len(await kept.allow(budget, DOLLAR)) == 1
        assert await client.until(b"ok") == OK
        await spend(stage, "s-1", DOLLAR, agent=agent)
        assert not await passes(stage, "s-1", agent=agent), "what was allowed is spent"


async def test_a_day_is_allowed_more_when_nobody_asks_any_more(tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:
        budget = await stage.service.budgets.add("day", "", "usd", DOLLAR)
        await spend(stage, "s-1", 7 * DOLLAR)
        assert await stage.service.budgets.allow(budget, DOLLAR) == [local_day(SEAMS.clock())]
        assert await passes(stage, "s-1")


async def test_who_is_held_too_long_is_told_why_and_when_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgets_module, "HOLD_S", 0.01)
    heard: list[bytes] = []
    async with opened(tmp_path, heard) as stage:
        await stage.service.budgets.add("day", "", "usd", DOLLAR)
        await spend(stage, "s-1", 2 * DOLLAR)
        client = await ask(stage)
        answer = await client.rest()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: 30" in head
        error = json.loads(body)["error"]
        assert error["type"] == "rate_limit_error"
        assert "$1.00 for today" in error["message"]
        assert "mesh budget allow 1" in error["message"]
        assert heard == []
        assert stage.service.recorder.counts.requests == 0


async def test_a_question_stays_open_between_two_tries_and_is_answered_there_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgets_module, "HOLD_S", 0.01)
    told: list[Ask] = []

    async def tell(new: Ask) -> None:
        told.append(new)

    async with opened(tmp_path) as stage:
        kept = stage.service.budgets
        monkeypatch.setattr(kept, "_tell", tell)
        budget = await kept.add("session", "", "usd", DOLLAR)
        await spend(stage, "s-1")
        for _ in range(2):
            assert (await (await ask(stage, "s-1")).rest()).startswith(b"HTTP/1.1 429 ")
        assert not kept.held
        (asked,) = kept.asks.open()
        assert (asked.session, asked.over.key) == ("s-1", "s-1")
        assert [new.session for new in told] == ["s-1"], "once, not for each try"
        assert await kept.allow(budget, DOLLAR) == ["s-1"]
        assert kept.asks.open() == []
        assert await passes(stage, "s-1")


def test_a_question_is_forgotten_when_nobody_tries_any_more() -> None:
    now = [1_000]
    asks = Asks(lambda: now[0])
    over = Spent(Budget(1, "session", "", "usd", DOLLAR), "s-1", DOLLAR, DOLLAR)
    assert asks.note(over, "s-1", "") is not None
    now[0] += QUIET_MS - 1
    assert asks.note(over, "s-1", "") is None, "it is known"
    now[0] += QUIET_MS - 1
    assert [each.since_ms for each in asks.open()] == [1_000]
    now[0] += 1
    assert asks.open() == []


async def test_a_budget_in_tokens_counts_all_classes(tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:
        await stage.service.budgets.add("session", "s-1", "tokens", 101)
        await spend(stage, "s-1", 0)
        assert await passes(stage, "s-1")
        await spend(stage, "s-1", 0)
        assert not await passes(stage, "s-1")


async def test_a_sub_agent_answers_for_all_that_it_starts(tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:
        await stage.service.budgets.add("agents", "", "usd", 2 * DOLLAR)
        await spend(stage, "s-1", 9 * DOLLAR)
        await spend(stage, "s-1", agent="a-1")
        await spend(stage, "s-1", agent="a-2", parent="a-1")
        await spend(stage, "s-1", agent="b-1")
        assert await passes(stage, "s-1"), "the session itself is no sub-agent"
        assert await passes(stage, "s-1", agent="b-1")
        assert not await passes(stage, "s-1", agent="a-3", parent="a-2")


async def test_a_budget_that_is_taken_away_holds_nobody(tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:
        budget = await stage.service.budgets.add("day", "", "usd", 0)
        client = await ask(stage)
        await until(lambda: len(stage.service.budgets.held) == 1, "the request is held")
        await stage.service.budgets.remove(budget.id)
        assert await client.until(b"ok") == OK


async def test_nothing_is_spent_on_a_client_that_left_while_it_was_held(tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:
        budget = await stage.service.budgets.add("day", "", "usd", 0)
        client = await ask(stage)
        await until(lambda: len(stage.service.budgets.held) == 1, "the request is held")
        await client.stream.aclose()
        await stage.service.budgets.allow(budget, DOLLAR)
        await until(lambda: stage.service.connections == 0, "its connection ends")
        assert stage.service.recorder.counts.requests == 0


async def test_budgets_and_what_was_allowed_outlive_the_daemon(tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:
        budget = await stage.service.budgets.add("session", "s-1", "usd", DOLLAR)
        await stage.service.budgets.allow(budget, DOLLAR)
        await spend(stage, "s-1", round(1.5 * DOLLAR))
    async with opened(tmp_path) as stage:
        assert stage.service.budgets.all == [Budget(1, "session", "s-1", "usd", DOLLAR)]
        assert await passes(stage, "s-1")
        await spend(stage, "s-1")
        assert not await passes(stage, "s-1")


async def test_no_budget_gets_the_id_of_one_that_was_removed(tmp_path: Path) -> None:
    async with opened(tmp_path) as stage:
        first = await stage.service.budgets.add("day", "", "usd", DOLLAR)
        await stage.service.budgets.remove(first.id)
    async with opened(tmp_path) as stage:
        second = await stage.service.budgets.add("day", "", "usd", DOLLAR)
        assert [each.id for each in stage.service.budgets.all] == [second.id]
        assert second.id > first.id


def test_amounts_are_shown_in_their_unit() -> None:
    assert Budget(1, "day", "", "usd", DOLLAR).shown(DOLLAR // 2) == "$0.50"
    assert Budget(1, "day", "", "usd", DOLLAR).shown(DOLLAR // 1000) == "$0.0010", "no limit of nothing"
    assert Budget(1, "day", "", "usd", DOLLAR).shown(0) == "$0.00"
    assert Budget(1, "day", "", "tokens", 5).shown(5) == "5 tokens"
