"""The guard against loops: six pushes a minute, the rest summed up; six `now` a minute of one sender, the rest as `next`."""

import trio

from meshd.deliver.gate import PERIOD_S, PUSHES, URGENT
from meshd.deliver.ladder import DEMOTED
from world.claude import Claude
from world.machine import Machine
from world.talk import Answer
from world.world import World


def texts(session: Claude) -> list[str]:
    """What was shown on its own, without the digests."""
    return [body.split("\n")[4] for body in session.seen if not is_digest(body)]


def is_digest(body: str) -> bool:
    return "[mesh digest " in body.partition("\n")[0]


def digests(session: Claude) -> list[str]:
    return [body for body in session.seen if is_digest(body)]


async def pair(world: World) -> tuple[Machine, Machine, Claude]:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    return ann, bob, web


async def held_back(world: World, count: int) -> tuple[Machine, Machine, Claude, list[Answer]]:
    """A session that gets `count` messages at once, because it was busy when they came."""
    ann, bob, web = await pair(world)
    web.begin_turn()
    await web.hook("UserPromptSubmit")
    sent = [await ann.send("bob/web", f"number {n}", wait="stored") for n in range(count)]
    web.end_turn()
    await web.hook("Stop")
    return ann, bob, web, sent


async def test_six_come_one_by_one_and_no_digest(world: World) -> None:
    _, _, web, _ = await held_back(world, PUSHES)
    await world.until(lambda: len(web.seen) == PUSHES, what="all were shown")
    await world.settle(90)
    assert texts(web) == [f"number {n}" for n in range(PUSHES)]


async def test_of_more_the_sixth_push_is_a_digest_that_shows_none_of_them(world: World) -> None:
    ann, bob, web, sent = await held_back(world, 15)
    await world.until(lambda: digests(web), what="the digest came")
    assert texts(web) == [f"number {n}" for n in range(PUSHES - 1)]
    (digest,) = digests(web)
    left = sent[PUSHES - 1 :]
    assert digest.startswith(f"{len(left)} messages wait")
    assert f"ann: {len(left)} messages" in digest
    for number, each in enumerate(left, PUSHES - 1):
        assert f'{each["id"][:8]} "number {number}"' in digest
    await world.settle(150)
    assert len(web.seen) == PUSHES, "what was summed up is not pushed again"
    assert {(await ann.progress(each))["state"] for each in left} == {"stored"}
    (row,) = (await bob.call("session.list"))["sessions"]
    assert row["waiting"] == len(left)
    await web.tool("check_messages", limit=50)
    for each in left:
        await ann.until_state(each, "shown")


async def test_one_message_of_a_digest_can_be_asked_for(world: World) -> None:
    ann, _, web, sent = await held_back(world, 8)
    await world.until(lambda: digests(web), what="the digest came")
    assert "number 7" in await web.tool("check_messages", id=sent[7]["id"][:8])
    await ann.until_state(sent[7], "shown")
    assert (await ann.progress(sent[6]))["state"] == "stored"


async def test_a_flood_makes_six_pushes_in_any_minute_and_loses_nothing(world: World) -> None:
    ann, _, web = await pair(world)
    seen_at: list[float] = []
    for number in range(150):
        await ann.send("bob/web", f"number {number}")
        for _ in range(4):
            await world.settle(0.25)
            seen_at.extend([trio.current_time()] * (len(web.seen) - len(seen_at)))
    await world.settle(2 * PERIOD_S)
    for start in seen_at:
        assert sum(start <= at < start + PERIOD_S - 0.5 for at in seen_at) <= PUSHES
    named = sum(int(body.split(" ")[0]) for body in digests(web))
    assert named + len(texts(web)) == 150
    assert len(digests(web)) >= 3


async def test_after_a_quiet_minute_messages_come_one_by_one_again(world: World) -> None:
    ann, _, web, _ = await held_back(world, 9)
    await world.until(lambda: digests(web), what="the digest came")
    await world.settle(PERIOD_S)
    await ann.send("bob/web", "later", wait="shown")
    assert texts(web)[-1] == "later"


async def test_the_seventh_now_of_a_minute_waits_as_next_and_its_sender_is_told(world: World) -> None:
    ann, bob, web = await pair(world)
    web.begin_turn()
    await web.hook("UserPromptSubmit")
    sent = [await ann.send("bob/web", f"number {n}", priority="now", wait="stored") for n in range(URGENT + 1)]
    await world.settle(5)
    web.end_tool()
    assert texts(web) == [f"number {n}" for n in range(URGENT)]
    for each in sent[:URGENT]:
        assert (await ann.until_state(each, "turn_started"))["reason"] == ""
    row = await ann.progress(sent[URGENT])
    assert (row["state"], row["reason"]) == ("stored", DEMOTED)
    (waiting,) = [row for row in (await bob.call("inbox.read", all=True))["messages"] if row["unread"]] or [None]
    assert waiting is None, "it is the session's, not the person's"
    web.end_turn()
    await web.hook("Stop")
    await ann.until_state(sent[URGENT], "turn_started")


async def test_another_sender_has_a_budget_of_his_own(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    await cid.until_knows("bob/web")
    web.begin_turn()
    await web.hook("UserPromptSubmit")
    for number in range(URGENT + 2):
        await ann.send("bob/web", f"ann {number}", priority="now", wait="stored")
    await cid.send("bob/web", "cid", priority="now", wait="stored")
    await world.settle(5)
    web.end_tool()
    assert texts(web) == [*(f"ann {n}" for n in range(URGENT)), "cid"]


async def test_between_sessions_of_one_machine_a_demotion_is_told_as_well(world: World) -> None:
    ann = await world.machine("ann")
    await ann.call("mesh.new", name="team", me="ann", broker=(await world.broker()).url)
    await ann.until_online()
    web = await ann.claude("web")
    web.begin_turn()
    await web.hook("UserPromptSubmit")
    sent = [await ann.send("web", f"number {n}", priority="now") for n in range(URGENT + 1)]
    await world.settle(5)
    rows = [await ann.progress(each) for each in sent]
    assert [row["reason"] for row in rows] == [""] * URGENT + [DEMOTED]


async def test_after_a_restart_what_was_summed_up_is_told_again(world: World) -> None:
    _, bob, web, _ = await held_back(world, 10)
    await world.until(lambda: digests(web), what="the digest came")
    web.seen.clear()
    await bob.restart()
    await world.until(lambda: web.seen, what="what waits is surfaced again")
    assert texts(web)[0] == "number 5"
