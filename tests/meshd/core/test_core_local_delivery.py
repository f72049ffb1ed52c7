"""Delivery to sessions: within one machine without any broker, to a person's only session, to none, to a resumed one."""

import trio

from world.machine import Machine
from world.world import World


def shown(text: str, seen: list[str]) -> bool:
    return any(f"\n{text}\n" in body for body in seen)


async def alone(world: World, *folders: str) -> Machine:
    """Ann's machine with a mesh at its own embedded broker, and sessions in these folders."""
    ann = await world.machine("ann")
    await ann.call("mesh.new", name="team", me="ann", broker=(await world.broker()).url)
    await ann.until_online()
    for folder in folders:
        await ann.claude(folder)
    return ann


async def test_sessions_of_one_machine_reach_each_other_without_the_broker(world: World) -> None:
    ann = await alone(world, "web", "api")
    web, api = ann.sessions
    await world.unplug(ann)
    world.network.history = []
    text = await web.tool("send_message", to="ann/api", message="from next door")
    assert '"path":"local"' in text
    await world.until(lambda: shown("from next door", api.seen), what="api saw it")
    sent = ann.app.node.db.reader.execute("SELECT lower(hex(msg_id)) FROM message").fetchall()[0][0]
    talk = await web.shell()
    row = (await talk.call("message.status", id=sent))["recipients"][0]
    await world.settle(2)
    row = (await talk.call("message.status", id=sent))["recipients"][0]
    assert (row["state"], row["accepted_ms"], row["session"]) == ("turn_started", 0, "api")
    assert row["evidence"] == "transcript:turn"
    assert row["queued_ms"] == row["stored_ms"] <= row["shown_ms"] <= row["turn_started_ms"]
    assert world.network.history == []
    assert web.seen == []


async def test_waiting_for_accepted_returns_at_stored_within_one_machine(world: World) -> None:
    ann = await alone(world, "web")
    before = trio.current_time()
    sent = await ann.send("web", "hello", wait="accepted")
    assert (sent["reached"], sent["state"], trio.current_time() - before < 1) == (True, "stored", True)
    assert (await ann.send("web", "again", wait="shown"))["reached"]


async def test_the_three_commands_of_the_first_minute(world: World) -> None:
    """A mesh with no broker configured, a session, a message to it by its bare name."""
    ann = await world.machine("ann")
    made = await ann.call("mesh.new", name="team", me="ann")
    assert made["broker"] == "local:"
    web = await ann.claude("web")
    sent = await ann.send("web", "hello", wait="shown")
    assert (sent["reached"], sent["recipients"][0]["path"]) == (True, "local")
    assert shown("hello", web.seen)


async def test_a_person_without_a_session_finds_it_in_the_inbox(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    sent = await ann.send("bob", "hello", wait="stored")
    await world.settle(5)
    assert (await ann.progress(sent))["state"] == "stored"
    assert await bob.read() == ["hello"]


async def test_a_persons_only_session_is_shown_his_mail_and_he_keeps_it_in_his_inbox(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    sent = await ann.send("bob", "hello", wait="shown")
    assert sent["recipients"][0]["session"] == "web"
    assert shown("hello", web.seen)
    assert await bob.read() == ["hello"]


async def test_with_two_sessions_a_persons_mail_waits_until_one_takes_it_once(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web, api = await bob.claude("web"), await bob.claude("api")
    sent = await ann.send("bob", "who takes it?", wait="stored")
    await world.settle(10)
    assert web.seen == api.seen == []
    assert "who takes it?" in await api.tool("check_messages")
    assert "No messages wait" in await web.tool("check_messages")
    row = await ann.until_state(sent, "shown")
    assert (row["session"], row["evidence"]) == ("api", "tool_result")


async def test_what_the_person_has_read_is_not_given_to_a_session(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.send("bob", "read by hand", wait="stored")
    assert await bob.read() == ["read by hand"]
    web = await bob.claude("web")
    await world.settle(5)
    assert web.seen == []
    assert "No messages wait" in await web.tool("check_messages")


async def test_a_session_that_comes_is_shown_what_waited_for_the_person(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    sent = await ann.send("bob", "for whoever comes", wait="stored")
    web = await bob.claude("web")
    await ann.until_state(sent, "turn_started")
    assert shown("for whoever comes", web.seen)


async def test_a_session_is_no_reader_of_what_it_wrote_to_its_own_person(world: World) -> None:
    ann = await alone(world, "web")
    (web,) = ann.sessions
    await web.tool("send_message", to="ann", message="the build is green")
    await world.settle(10)
    assert web.seen == []
    assert "No messages wait" in await web.tool("check_messages")
    await ann.restart()
    await web.open_mcp()
    await world.settle(10)
    assert web.seen == []
    api = await ann.claude("api")
    assert "No messages wait" in await web.tool("check_messages")
    assert "the build is green" in await api.tool("check_messages"), "another session may take it"
    assert await ann.read() == ["the build is green"]


async def test_a_neighbour_sees_nothing_of_another_sessions_mail(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web, api = await bob.claude("web"), await bob.claude("api")
    await ann.until_knows("bob/web")
    sent = await ann.send("bob/web", "secret", wait="shown")
    assert "No messages wait" in await api.tool("check_messages")
    assert "not_found" in await api.tool("check_messages", id=sent["id"])
    assert "not_found" in await api.tool("message_status", id=sent["id"])
    assert '"direction":"in"' in await web.tool("message_status", id=sent["id"])
    assert (await (await api.shell()).call("inbox.read"))["messages"] == []
    assert await bob.read(all=True) == [], "it is the session's, not the person's"


async def test_mail_for_a_session_that_is_gone_reaches_it_when_it_is_resumed(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    await web.end()
    await world.until(lambda: not bob.app.sessions.live(), what="its end was seen")
    await bob.restart()
    await bob.until_online()
    await ann.restart()  # it has not heard yet that the session is gone
    await ann.until_online()
    sent = await ann.send("bob/web", "for later", wait="stored")
    assert sent["state"] == "stored"
    await world.settle(20)
    assert (await ann.progress(sent))["state"] == "stored"
    again = await web.resume()
    await ann.until_state(sent, "turn_started")
    assert shown("for later", again.seen)
    assert len(bob.app.sessions.all()) == 1


async def test_a_session_label_that_nobody_ever_had_waits_in_the_persons_inbox_and_is_said(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.restart()
    world.cable(ann).down = True
    await world.cable(ann).cut()
    sent = await ann.send("bob/ghost", "hello?")
    await world.plug(ann)
    row = await ann.until_state(sent, "no_such_session")
    assert row["reason"] == "no session of that name; it waits in the person's inbox"
    await world.settle(5)
    assert web.seen == [], "another session does not get it"
    assert "No messages wait" in await web.tool("check_messages")
    assert await bob.read() == ["hello?"]
    assert (await ann.until_state(sent, "shown"))["evidence"] == "inbox"


async def test_a_new_session_in_a_folder_takes_the_name_of_one_that_is_gone(world: World) -> None:
    """Starting the agent again in the same folder, without resuming: its name still means one session."""
    ann = await alone(world, "web")
    (old,) = ann.sessions
    await old.end()
    await world.until(lambda: not ann.app.sessions.live(), what="its end was seen")
    new = await ann.claude("web")
    sent = await ann.send("web", "to the living", wait="shown")
    assert sent["recipients"][0]["to"] == "ann/web"
    assert shown("to the living", new.seen)


async def test_a_resumed_session_whose_name_was_taken_gets_another(world: World) -> None:
    ann = await alone(world, "web")
    (old,) = ann.sessions
    await ann.send("web", "for the first", wait="shown")
    await old.end()
    await world.until(lambda: not ann.app.sessions.live(), what="its end was seen")
    new = await ann.claude("web")
    again = await old.resume()
    names = {session.key: session.name for session in ann.app.sessions.live()}
    assert names == {new.key: "web", again.key: "web-2"}
    await ann.send("web", "to the new one", wait="shown")
    await ann.send("web-2", "to the resumed one", wait="shown")
    assert shown("to the new one", new.seen)
    assert shown("to the resumed one", again.seen)
    assert not shown("to the resumed one", new.seen)


async def test_clear_keeps_the_session_and_its_mail_follows(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    key = web.key
    web.clear()
    sent = await ann.send("bob/web", "after the clearing", wait="shown")
    assert sent["reached"]
    assert web.key == key
    assert shown("after the clearing", web.seen)
