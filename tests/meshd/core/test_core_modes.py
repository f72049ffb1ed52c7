"""How a session wants its messages: pushed, only when it asks, or not at all; and how fast it gets them when it may."""

import pytest
import trio

from meshd.deliver import ladder
from meshd.deliver.gate import LOOK_S, Step, choose
from world.claude import Claude
from world.machine import Machine
from world.talk import Answer
from world.world import World


def shown(text: str, session: Claude) -> bool:
    return any(f"\n{text}\n" in body for body in session.seen)


async def pair(world: World) -> tuple[Machine, Machine, Claude]:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    return ann, bob, web


async def row_of(machine: Machine, name: str) -> Answer:
    rows: list[Answer] = (await machine.call("session.list"))["sessions"]
    return next(row for row in rows if row["session"] == name)


async def finding(machine: Machine, name: str) -> Answer:
    checks: list[Answer] = (await machine.call("daemon.doctor"))["checks"]
    return next(check for check in checks if check["name"] == name)


async def until_shown(world: World, text: str, session: Claude) -> float:
    """Virtual seconds until the session saw a text."""
    before = trio.current_time()
    await world.until(lambda: shown(text, session), what=f"{text} was shown")
    return trio.current_time() - before


async def test_in_mode_inbox_a_session_is_shown_only_what_it_asks_for(world: World) -> None:
    ann, bob, web = await pair(world)
    answer = await bob.call("session.mode", mode="inbox", session="WEB")
    assert (answer["session"], answer["mode"], answer["waiting"]) == ("web", "inbox", 0)
    sent = await ann.send("bob/web", "urgent", priority="now", wait="stored")
    await ann.send("bob/web", "ordinary", wait="stored")
    await world.settle(90)
    assert web.seen == []
    assert (await row_of(bob, "web"))["waiting"] == 2
    check = await finding(bob, "session web")
    assert (check["ok"], check["fix"]) == ("warn", "mesh mode push --session web")
    assert "2 messages wait" in check["text"]
    told = await web.tool("check_messages")
    assert "urgent" in told
    assert "ordinary" in told
    await ann.until_state(sent, "shown")
    await world.settle(1)
    assert (await finding(bob, "session web"))["ok"] == "ok"


@pytest.mark.parametrize("mode", ["inbox", "off"])
async def test_what_waited_is_shown_at_once_when_the_mode_is_push_again(world: World, mode: str) -> None:
    ann, bob, web = await pair(world)
    await bob.call("session.mode", mode=mode)
    first = await ann.send("bob/web", "first", wait="stored")
    await ann.send("bob/web", "second", wait="stored")
    await world.settle(60)
    assert web.seen == []
    assert (await ann.progress(first))["state"] == "stored"
    await bob.call("session.mode", mode="push")
    assert await until_shown(world, "second", web) < 0.5
    assert [shown("first", web), len(web.seen)] == [True, 2]


async def test_the_persons_own_messages_stay_with_him_while_his_session_takes_none(world: World) -> None:
    ann, bob, web = await pair(world)
    await bob.call("session.mode", mode="off")
    await ann.send("bob", "for the person", wait="stored")
    await ann.send("bob", "for the person too", wait="stored")
    await world.settle(5)
    assert (await row_of(bob, "web"))["waiting"] == 0
    assert await bob.read(limit=1) == ["for the person"]
    await bob.call("session.mode", mode="push")
    await until_shown(world, "for the person too", web)
    assert not shown("for the person", web), "he has read it himself"


async def test_a_mode_outlives_the_daemon_and_the_process_of_its_session(world: World) -> None:
    ann, bob, web = await pair(world)
    talk = await web.shell()
    assert (await talk.call("session.mode", mode="off"))["mode"] == "off"
    await bob.restart()
    await bob.until_online()
    assert (await row_of(bob, "web"))["mode"] == "off"
    await web.end()
    await world.until(lambda: not bob.app.sessions.live(), what="its end was seen")
    again = await web.resume()
    await world.settle(2)
    await ann.until_knows("bob/web")
    await ann.send("bob/web", "not now", wait="stored")
    await world.settle(30)
    assert again.seen == []
    assert (await row_of(bob, "web"))["mode"] == "off"


async def test_an_agent_sets_its_own_session_and_no_other(world: World) -> None:
    _, bob, web = await pair(world)
    await bob.claude("api")
    talk = await web.shell()
    assert (await talk.refusal("session.mode", mode="off", session="api")).code == "not_allowed"
    assert (await talk.call("session.mode", mode="inbox"))["session"] == "web"
    assert [(row["session"], row["mode"]) for row in (await bob.call("session.list"))["sessions"]] == [
        ("web", "inbox"),
        ("api", "push"),
    ]


async def test_a_person_with_several_sessions_has_to_name_one(world: World) -> None:
    _, bob, _ = await pair(world)
    await bob.claude("api")
    assert await bob.refusal("session.mode", mode="off") == "no_session"
    assert await bob.refusal("session.mode", mode="off", session="docs") == "not_found"


@pytest.mark.parametrize("way", ["hook", "registry", "status"])
async def test_whatever_says_that_a_session_is_idle_releases_what_waits(world: World, way: str) -> None:
    """A hook and the session's own word act at once; of the registry alone nobody tells, so it is looked at."""
    ann, _, web = await pair(world)
    web.begin_turn()
    await web.hook("UserPromptSubmit")
    await ann.send("bob/web", "when you have time", wait="stored")
    await world.settle(20)
    assert web.seen == []
    web.end_turn()
    if way == "hook":
        await web.hook("Stop")
    elif way == "status":
        await web.tool("set_status", status="idle")
    assert await until_shown(world, "when you have time", web) < (2.1 if way == "registry" else 0.2)


async def test_now_does_not_wait_for_the_evidence_of_what_was_pushed_before(world: World) -> None:
    ann, _, web = await pair(world)
    web.attentive = False
    await ann.send("bob/web", "lost somewhere", wait="stored")
    await world.settle(5)
    web.attentive = True
    sent = await ann.send("bob/web", "urgent", priority="now", wait="stored")
    assert await until_shown(world, "urgent", web) < 1
    await ann.until_state(sent, "turn_started")


async def test_messages_are_shown_by_lane_then_arrival(world: World) -> None:
    ann, bob, web = await pair(world)
    await bob.call("session.mode", mode="off")
    for text, priority in (("one", "next"), ("two", "now"), ("three", "next"), ("four", "now"), ("five", "low")):
        await ann.send("bob/web", text, priority=priority, wait="stored")
    await bob.call("session.mode", mode="push")
    await world.until(lambda: len(web.seen) == 4, what="four were shown")
    order = [next(text for text in ("one", "two", "three", "four") if f"\n{text}\n" in body) for body in web.seen]
    assert order == ["two", "four", "one", "three"]
    await world.settle(30)
    assert not shown("five", web)


@pytest.mark.parametrize(
    ("how", "says", "mends"),
    [
        ("off", "mode off: nothing is shown or given to it; 1 message waits", "mesh mode push --session web"),
        ("dnd", "do not disturb; 1 message waits", "set_status"),
        ("working", "working; 1 message waits until it is idle or asks", ""),
    ],
)
async def test_doctor_says_what_keeps_a_session_from_its_messages(
    world: World, how: str, says: str, mends: str
) -> None:
    ann, bob, web = await pair(world)
    if how == "off":
        await bob.call("session.mode", mode="off")
    elif how == "dnd":
        await web.tool("set_status", status="dnd")
    else:
        web.begin_turn()
        await web.hook("UserPromptSubmit")
    await ann.send("bob/web", "hello", wait="stored")
    check = await finding(bob, "session web")
    assert (check["text"], check["ok"]) == (says, "warn" if mends else "ok")
    assert mends in check["fix"]


@pytest.mark.parametrize("held", ["working", "off"])
async def test_what_cannot_be_shown_now_wakes_nobody(world: World, held: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog costs nothing while it waits: each further message would else look at all before it."""
    ann, bob, web = await pair(world)
    if held == "working":
        web.begin_turn()
        await web.hook("UserPromptSubmit")
    else:
        await bob.call("session.mode", mode="off")
    await ann.send("bob/web", "the first", wait="stored")
    looked = 0

    def counted(*given: object, **named: object) -> Step:
        nonlocal looked
        looked += 1
        return choose(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(ladder, "choose", counted)
    before = trio.current_time()
    for number in range(60):
        await ann.send("bob/web", f"{number}", wait="stored")
    await world.settle(3)
    assert looked <= (trio.current_time() - before) / LOOK_S + 2
    assert len(bob.app.ladder._lines[web.key].waiting) == 61


async def test_in_mode_off_nothing_is_handed_over_either(world: World) -> None:
    ann, bob, web = await pair(world)
    await bob.call("session.mode", mode="off")
    sent = await ann.send("bob/web", "not now", wait="stored")
    told = await web.tool("check_messages")
    assert "not now" not in told
    assert "mesh mode push --session web" in told
    talk = await web.shell()
    assert (await talk.refusal("inbox.read")).code == "not_allowed"
    assert (await ann.progress(sent))["state"] == "stored"
    await bob.call("session.mode", mode="push")
    await ann.until_state(sent, "turn_started")


async def test_ones_own_sessions_show_their_mode_among_the_peers(world: World) -> None:
    ann, bob, _ = await pair(world)
    await bob.call("session.mode", mode="inbox")
    row = next(row for row in (await bob.call("peer.list"))["peers"] if row["to"] == "bob/web")
    assert row["mode"] == "inbox"
    assert (await ann.until_knows("bob/web"))["mode"] == "", "it is nobody else's business"
