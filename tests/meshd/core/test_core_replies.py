"""What a session answers by its own means: SendMessage to the address of a push, and what it says became of the push."""

import os
import stat
from pathlib import Path

import pytest
import trio

from world.claude import Claude
from world.machine import Machine
from world.world import World


async def pushed(world: World, text: str = "is it green?") -> tuple[Machine, Machine, Claude, str]:
    """Ann wrote to bob's session web, which was pushed her message and has her address; the id of what she sent."""
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    sent = await ann.send("bob/web", text, wait="shown", timeout=10)
    return ann, bob, web, sent["id"]


async def progress(machine: Machine, msg_id: str) -> tuple[str, str]:
    row = (await machine.call("message.status", id=msg_id))["recipients"][0]
    return row["state"], row["reason"]


async def test_what_a_session_sends_with_its_own_tool_arrives_as_an_answer(world: World) -> None:
    ann, bob, web, sent = await pushed(world)
    await web.send_message(web.addresses[-1], "yes it is")
    assert await ann.read(wait_s=10) == ["yes it is"]
    row = (await ann.call("inbox.read", all=True))["messages"][0]
    assert (row["sender"], row["reply_to"], row["origin"]) == ("bob/web", sent, "agent")
    assert bob.app.node.db.reader.execute("SELECT scope FROM message WHERE kind='text'").fetchall() == [
        (f"session:{web.key}",)
    ]


async def test_the_same_line_twice_is_one_message(world: World) -> None:
    ann, _, web, _ = await pushed(world)
    for _ in range(2):
        await web.send_message(web.addresses[-1], "yes", "11111111-1111-4111-9111-111111111111")
    await web.send_message(web.addresses[-1], "and no")
    await world.settle(10)
    assert sorted(await ann.read()) == ["and no", "yes"]


async def test_an_answer_to_a_session_goes_to_that_session(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    api, web = await ann.claude("api"), await bob.claude("web")
    await ann.claude("docs")
    await ann.until_knows("bob/web")
    await bob.until_knows("ann/api")
    await api.tool("send_message", to="bob/web", message="hello")
    await world.until(lambda: web.addresses != [], what="a push to web")
    await web.send_message(web.addresses[-1], "hello yourself")
    await world.until(lambda: any("\nhello yourself\n" in body for body in api.seen), what="the answer in api")
    assert (await ann.call("inbox.read", all=True))["messages"] == []


async def test_sessions_of_one_machine_answer_each_other_so(world: World) -> None:
    ann = await world.machine("ann")
    await ann.call("mesh.new", name="team", me="ann")
    web, api = await ann.claude("web"), await ann.claude("api")
    await web.tool("send_message", to="ann/api", message="from next door")
    await world.until(lambda: api.addresses != [], what="a push to api")
    await api.send_message(api.addresses[-1], "come in")
    await world.until(lambda: any("\ncome in\n" in body for body in web.seen), what="the answer in web")


async def test_every_correspondent_has_an_address_of_his_own_and_keeps_it(world: World) -> None:
    ann, bob, cat = await world.mesh("ann", "bob", "cat")
    web = await bob.claude("web")
    for machine in (ann, cat, ann):
        await machine.until_knows("bob/web")
        await machine.send("bob/web", "hello", wait="shown", timeout=10)
    first, second, third = web.addresses
    assert first == third != second
    await web.send_message(second, "for cat")
    assert await cat.read(wait_s=10) == ["for cat"]
    assert await ann.read() == []


async def test_nobody_but_the_sessions_own_process_is_heard_there(world: World) -> None:
    ann, bob, web, _ = await pushed(world)
    other = await bob.claude("api")
    line = {"type": "user", "msg_id": "2" * 8 + "-2222-4222-9222-" + "2" * 12, "message": {"content": "I am web"}}
    await other.speak(web.addresses[-1], line)
    await web.send_message(web.addresses[-1], "the real one")
    assert await ann.read(wait_s=10) == ["the real one"]
    assert await ann.read() == []


async def test_an_address_is_the_users_alone_and_gone_with_the_session(world: World) -> None:
    _, _, web, _ = await pushed(world)
    path = Path(web.addresses[-1].removeprefix("uds:"))
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert path.lstat().st_uid == os.geteuid()
    await web.end()
    await world.until(lambda: not path.exists(), what="no address without a session")


async def test_after_a_restart_of_the_daemon_an_old_address_still_answers(world: World) -> None:
    ann, bob, web, sent = await pushed(world)
    await bob.restart()
    path = Path(web.addresses[-1].removeprefix("uds:"))
    await world.until(path.exists, what="the address again")
    await web.send_message(web.addresses[-1], "still here")
    assert await ann.read(wait_s=30) == ["still here"]
    assert (await ann.call("inbox.read", all=True))["messages"][0]["reply_to"] == sent


async def test_a_session_resumed_in_another_process_gets_another_address(world: World) -> None:
    ann, _, web, _ = await pushed(world)
    old = web.addresses[-1]
    await web.end()
    again = await web.resume()
    await ann.send("bob/web", "and now?", wait="shown", timeout=10)
    assert again.addresses[-1] != old
    with pytest.raises(OSError, match="No such file"):
        await again.send_message(old, "to nobody")
    await again.send_message(again.addresses[-1], "now it is")
    assert await ann.read(wait_s=10) == ["now it is"]


async def test_what_could_not_be_sent_is_told_to_the_agent_that_believes_it_was(world: World) -> None:
    ann, _, web, _ = await pushed(world)
    await web.send_message(web.addresses[-1], "x" * 70_000)
    await world.until(lambda: "was not sent" in web.seen[-1], what="a notice in the conversation")
    assert "65,536" in web.seen[-1] or "65536" in web.seen[-1]
    assert await ann.read() == []


@pytest.mark.parametrize("line", [{"type": "auth", "token": "x"}, {"type": "user"}, {"type": "control"}, {"msg_id": 7}])
async def test_what_is_neither_message_nor_receipt_changes_nothing(world: World, line: dict[str, object]) -> None:
    ann, _, web, sent = await pushed(world)
    await web.speak(web.addresses[-1], line)
    await web.send_message(web.addresses[-1], "after it")
    assert await ann.read(wait_s=10) == ["after it"]
    assert (await progress(ann, sent))[0] == "turn_started"


async def test_a_speaker_who_never_ends_does_not_keep_the_next_one_out(world: World) -> None:
    ann, _, web, _ = await pushed(world)
    with trio.move_on_after(1):
        await web.speak(web.addresses[-1], {"type": "user", "pad": "x" * (2 << 20)})
    await web.send_message(web.addresses[-1], "my turn")
    assert await ann.read(wait_s=20) == ["my turn"]


# What the session says became of it.


async def put_aside(world: World, inbound: str) -> tuple[Machine, Machine, Claude, str]:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    web.inbound = inbound
    await ann.until_knows("bob/web")
    sent = await ann.send("bob/web", "let me in", wait="stored", timeout=10)
    await world.until(lambda: web.addresses != [], what="a push")
    return ann, bob, web, sent["id"]


async def test_what_a_session_holds_is_held_with_the_setting_that_lets_it_in(world: World) -> None:
    ann, bob, web, sent = await put_aside(world, "hold")
    await ann.until_state({"id": sent}, "held")
    assert "crossSessionInbound=accept" in (await progress(ann, sent))[1]
    row = (await bob.call("session.list"))["sessions"][0]
    assert row["trouble"] == "held_by_session"
    await world.settle(300)
    assert len(web.addresses) == 1, "it is not pushed again while it is held"


async def test_a_held_message_that_is_let_through_is_shown(world: World) -> None:
    ann, bob, web, sent = await put_aside(world, "hold")
    await ann.until_state({"id": sent}, "held")
    await world.settle(3000)
    web.let_through()
    await ann.until_state({"id": sent}, "turn_started")
    assert (await progress(ann, sent)) == ("turn_started", "")
    assert (await bob.call("session.list"))["sessions"][0]["trouble"] == ""


async def test_a_session_that_refuses_says_so_to_the_sender(world: World) -> None:
    ann, bob, web, sent = await put_aside(world, "refuse")
    await ann.until_state({"id": sent}, "refused")
    assert "crossSessionInbound=accept" in (await progress(ann, sent))[1]
    await bob.call("session.mode", mode="push")
    await world.settle(120)
    assert len(web.addresses) == 1
    assert "let me in" in await web.tool("check_messages")
    await ann.until_state({"id": sent}, "shown")


async def test_what_a_session_drops_is_tried_again(world: World) -> None:
    ann, _, web, sent = await put_aside(world, "drop")
    await world.until(lambda: len(web.addresses) == 2, what="another try")
    web.inbound = "accept"
    await ann.until_state({"id": sent}, "turn_started")


async def test_what_was_held_for_too_long_waits_until_it_is_asked_for(world: World) -> None:
    ann, _, web, sent = await put_aside(world, "hold")
    await ann.until_state({"id": sent}, "held")
    await web.let_expire()
    await ann.until_state({"id": sent}, "stored")
    assert "until it asks" in (await progress(ann, sent))[1]


async def test_between_sessions_of_one_machine_it_is_told_too(world: World) -> None:
    ann = await world.machine("ann")
    await ann.call("mesh.new", name="team", me="ann")
    web = await ann.claude("web")
    web.inbound = "hold"
    sent = await ann.send("web", "hello")
    await ann.until_state(sent, "held")
    web.let_through()
    await ann.until_state(sent, "turn_started")
    assert (await progress(ann, sent["id"]))[1] == ""
