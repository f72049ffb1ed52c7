"""What was recorded is told piece by piece: no list is too long for an answer, and no row is told twice."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from trio.testing import MockClock

from mesh_protocol.io.sqlite import InlineWorker
from meshd.services.proxy.entries import Window, local_day
from meshd.services.proxy.store import add_entries
from meshd.services.proxy.usage import Tokens
from proxy_kit.record import PLAIN
from world.machine import Machine
from world.seeds import seeded_scheduler
from world.world import World, open_world

LONG = "l" * 128


@pytest.fixture
async def ann(autojump_clock: MockClock) -> AsyncIterator[Machine]:
    with seeded_scheduler(20_263):
        async with open_world(20_263) as world:
            yield await recorded(world)


async def recorded(world: World) -> Machine:
    """A long conversation of many agents, and many conversations with long names."""
    ann = await world.machine("ann")
    ann.app.node.seams = replace(ann.app.node.seams, worker=lambda name: InlineWorker())
    await ann.call("proxy.on")
    plain = msgspec.structs.replace(PLAIN, source="header", account=LONG, request_id=LONG, tools=["Bash"] * 9)
    entries = [
        msgspec.structs.replace(
            plain, session="long", agent=f"agent-{number % 90}", started_ms=PLAIN.started_ms + number
        )
        for number in range(300)
    ]
    entries += [
        msgspec.structs.replace(plain, session=f"{number:0128}", started_ms=PLAIN.started_ms + 1_000 + number)
        for number in range(300)
    ]
    numbered = list(enumerate(entries, 1))
    await ann.app.proxy.service().db.write(lambda tx: add_entries(tx, numbered))
    return ann


async def test_a_conversation_of_many_requests_and_agents_is_told_whole(ann: Machine) -> None:
    told: dict[str, Any] = await ann.call("usage.conversation", id="long", limit=500)
    assert told["requests"] == 300
    rows = [turn["row"] for turn in told["turns"]]
    assert rows == [*range(301 - len(rows), 301)], "the newest first of all, the oldest of them at the top"
    assert len(rows) >= 20
    while told["more"]:
        told = await ann.call("usage.conversation", id="long", limit=500, before=rows[0], skip=500)
        assert told["threads"] == []
        rows = [turn["row"] for turn in told["turns"]] + rows
    assert rows == [*range(1, 301)]
    agents: list[str] = []
    more = True
    while more:
        told = await ann.call("usage.conversation", id="long", limit=1, before=1, skip=len(agents))
        assert told["turns"] == []
        agents += [thread["agent"] for thread in told["threads"]]
        more = told["more_threads"]
    assert sorted(agents) == sorted(f"agent-{number}" for number in range(90))


async def test_groups_and_conversations_are_told_whole(ann: Machine) -> None:
    for method, name, key, params in (
        ("usage.show", "rows", "key", {"by": "session"}),
        ("usage.conversations", "conversations", "id", {}),
    ):
        keys: list[str] = []
        more: object = True
        while more:
            told: dict[str, Any] = await ann.call(method, limit=500, skip=len(keys), **params)
            keys += [row[key] for row in told[name]]
            more = told["more"]
        assert len(keys) == len(set(keys)) == 301, method


async def test_each_thread_names_the_branch_that_it_leaves_and_what_has_no_price(ann: Machine) -> None:
    chains = [[b"a" * 16], [b"a" * 16, b"b" * 16], [b"a" * 16, b"c" * 16]]
    entries = [
        (number, msgspec.structs.replace(PLAIN, session="tree", source="header", chain=chain, cost=None))
        for number, chain in enumerate(chains, 1000)
    ]
    await ann.app.proxy.service().db.write(lambda tx: add_entries(tx, entries))
    told = await ann.call("usage.conversation", id="tree")
    (main, branch) = told["threads"]
    assert (main["branch"], main["origin"], main["origin_branch"], main["unpriced"]) == ("main", 0, "", 2)
    assert branch["branch"].startswith("branch_")
    assert (branch["origin"], branch["origin_branch"], branch["unpriced"]) == (told["turns"][0]["row"], "main", 1)
    assert [turn["unpriced"] for turn in told["turns"]] == [True] * 3


async def test_a_window_says_what_went_through_since_it_began(ann: Machine) -> None:
    hour = 3_600_000
    now = ann.app.node.now()
    started = [(now - 9 * 24 * hour, 100), (now - 6 * 24 * hour, 10), (now - 4 * hour, 1), (now - hour, 1)]
    for number, (at, input_tokens) in enumerate(started):
        entry = msgspec.structs.replace(
            PLAIN,
            account="key-2",
            session="w",
            started_ms=at,
            day=local_day(at),
            cost=10**9,
            tokens=Tokens(input=input_tokens),
            windows=windows(now) if number == 3 else [],
        )
        await ann.app.proxy.service().db.write(lambda tx, entry=entry: add_entries(tx, [(2000, entry)]))
    found = {row["window"]: row for row in (await ann.call("usage.show"))["windows"] if row["account"] == "key-2"}
    assert [found["7d"][name] for name in ("requests", "tokens", "cost_usd")] == [3, 12, 3.0]
    assert (await ann.call("usage.conversation", id="w"))["requests"] == 4, "an id may be short"
    assert [found["5h"][name] for name in ("requests", "tokens", "cost_usd")] == [2, 2, 2.0]


def windows(now_ms: int) -> list[Window]:
    """Both end in half an hour."""
    return [Window(name, 0.5, "allowed", now_ms + 1_800_000) for name in ("5h", "7d")]
