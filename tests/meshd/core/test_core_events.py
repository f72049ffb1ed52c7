"""Subscriptions: gap-free numbers for each subscriber, its kinds only, and a number of what it was too slow for."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from meshd.events import BUFFER, Events
from world.world import World


async def test_a_subscriber_sees_what_happens_from_then_on() -> None:
    events = Events()
    events.publish("early", a=1)
    with events.subscribe() as one:
        events.publish("first", a=1)
        events.publish("second", b="x")
        assert await one.take() == [(1, "first", {"a": 1}), (2, "second", {"b": "x"})]


async def test_numbers_count_the_subscribers_own_events() -> None:
    events = Events()
    with events.subscribe(frozenset({"inbox"})) as inbox, events.subscribe() as every:
        for kind in ("link", "inbox", "link", "inbox"):
            events.publish(kind)
        assert [number for number, *_ in await inbox.take()] == [1, 2]
        assert [number for number, *_ in await every.take()] == [1, 2, 3, 4]


async def test_taking_waits_for_an_event(autojump_clock: trio.testing.MockClock) -> None:
    events = Events()

    async def later() -> None:
        await trio.sleep(5)
        events.publish("at last")

    async with trio.open_nursery() as nursery:
        with events.subscribe() as one:
            nursery.start_soon(later)
            assert [kind for _, kind, _ in await one.take()] == ["at last"]
            assert trio.current_time() >= 5


async def test_who_is_too_slow_is_told_how_many_it_missed() -> None:
    events = Events()
    with events.subscribe() as slow, events.subscribe() as quick:
        for number in range(BUFFER + 7):
            events.publish("n", number=number)
            if number % 100 == 0:
                await quick.take()
        taken = await slow.take()
        assert [number for number, *_ in taken[:-1]] == list(range(1, BUFFER + 1))
        assert taken[-1] == (BUFFER + 8, "lagged", {"missed": 7})
        events.publish("n")
        assert [number for number, *_ in await slow.take()] == [BUFFER + 9]
        assert all(kind == "n" for _, kind, _ in await quick.take())


async def test_who_left_costs_nothing() -> None:
    events = Events()
    with events.subscribe() as gone:
        pass
    events.publish("n")
    assert gone._events == []


@given(st.lists(st.integers(0, 2 * BUFFER), max_size=6))
def test_a_jump_in_the_numbers_is_exactly_what_was_missed(bursts: list[int]) -> None:
    async def story() -> None:
        events = Events()
        with events.subscribe() as one:
            expected = 1
            for burst in bursts:
                for _ in range(burst):
                    events.publish("n")
                if not burst:
                    continue
                for number, kind, data in await one.take():
                    if kind == "lagged":
                        assert data["missed"] == number - expected
                    else:
                        assert number == expected
                    expected = number + 1

    trio.run(story)


async def test_a_client_of_the_socket_follows_without_a_gap(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    talk = await bob.talk(bob.processes.shell)
    assert await talk.call("events.subscribe", kinds=["inbox"]) == {"next": 1}
    for number in range(3):
        await ann.send("bob", f"{number}", wait="stored")
    await bob.read()
    await world.settle(2)
    events = list(talk.events)
    assert [event["n"] for event in events] == list(range(1, len(events) + 1))
    assert {event["kind"] for event in events} == {"inbox"}
    assert len(events) >= 3


async def test_nothing_comes_before_the_answer_and_nothing_is_lost_behind_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that happen while the subscription is being answered."""
    ann = await world.machine("ann")
    talk = await ann.talk(ann.processes.shell)
    read: list[str] = []
    for name in ("_settle", "_notified"):
        original = getattr(talk.connection, name)
        monkeypatch.setattr(talk.connection, name, lambda *given, n=name, o=original: (read.append(n), o(*given))[1])

    async def storm() -> None:
        for number in range(200):
            ann.app.node.events.publish("storm", number=number)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(storm)
        await talk.call("events.subscribe", kinds=["storm"])
    await world.settle(1)
    assert read[0] == "_settle"
    assert [event["n"] for event in talk.events] == list(range(1, len(talk.events) + 1))
    numbers = [event["data"]["number"] for event in talk.events]
    assert numbers == list(range(numbers[0], 200))


async def test_a_client_that_goes_away_ends_its_subscription(world: World) -> None:
    ann = await world.machine("ann")
    await world.settle(1)
    own = len(ann.app.node.events._subscribers)  # the daemon's own parts
    talk = await ann.talk(ann.processes.shell)
    await talk.call("events.subscribe")
    assert len(ann.app.node.events._subscribers) == own + 1
    await talk.close()
    await world.settle(2)
    ann.app.node.events.publish("n")
    await world.settle(2)
    assert len(ann.app.node.events._subscribers) == own
