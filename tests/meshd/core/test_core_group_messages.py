"""Messages to groups and to everybody: who gets them, who does not, and what the sender is told."""

from mesh_protocol.wire.errors import MeshError
from world.claude import Claude
from world.machine import Machine
from world.talk import Answer
from world.world import World


async def until_known(machine: Machine, *wanted: str) -> None:
    """Wait until the machine lists these memberships among others, each as `group to`."""

    async def known() -> bool:
        rows = (await machine.call("group.list"))["members"]
        return {f"{row['group']} {row['to']}" for row in rows} >= set(wanted)

    await machine.world.until(known, 30, f"{machine.name} knows {wanted}")


async def in_group(machine: Machine, folder: str, *groups: str) -> Claude:
    """A new session that is in these groups, known as that to every other machine."""
    session = await machine.claude(folder)
    for group in groups:
        await session.tool("join_group", name=group)
    for other in machine.world.machines.values():
        if other.running:
            await until_known(other, *(f"{group} {machine.name}/{folder}" for group in groups))
    return session


async def until_seen(session: Claude, *texts: str) -> None:
    """Wait until the session was shown these texts, and that nothing else was shown."""

    def bodies() -> list[str]:
        return sorted(text for text in texts for body in session.seen if text in body)

    await session.machine.world.until(lambda: bodies() == sorted(texts), 60, f"{session.cwd} saw {texts}")
    assert len(session.seen) == len(texts), session.seen


def reached(sent: Answer) -> dict[str, str]:
    return {row["to"]: row["state"] for row in sent["recipients"]}


async def refusal(machine: Machine, to: str | list[str], **params: str) -> MeshError:
    talk = await machine.talk_of(machine.processes.shell)
    return await talk.refusal("message.send", to=to, message="x", **params)


async def test_a_group_reaches_its_sessions_and_those_of_its_subgroups_on_every_machine(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    ui = await in_group(bob, "ui", "web/ui")
    api = await in_group(bob, "api", "web/api", "other")
    web = await in_group(eve, "web", "Web")
    none = await eve.claude("none")
    sent = await ann.send("@web", "to all of web", wait="stored")
    assert reached(sent) == {"bob/@web": "stored", "eve/@web": "stored"}
    for session in (ui, api, web):
        await until_seen(session, "to all of web")
    assert none.seen == []
    assert await bob.read() == await eve.read() == [], "a group is its sessions, not their people"
    await ann.send("@WEB/ui", "to ui only", wait="stored")
    await until_seen(ui, "to all of web", "to ui only")
    await world.settle(5)
    assert (len(api.seen), len(web.seen)) == (1, 1)


async def test_the_sender_is_left_out_and_its_neighbours_are_not(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await in_group(ann, "web", "team")
    api = await in_group(ann, "api", "team")
    ui = await in_group(bob, "ui", "team")
    said = await web.tool("send_message", to="@team", message="from web")
    assert '"to":"bob/@team"' in said
    assert '"to":"ann/@team"' in said
    await until_seen(api, "from web")
    await until_seen(ui, "from web")
    assert web.seen == []
    alone = await in_group(ann, "docs", "alone")
    assert "nobody else" in await alone.tool("send_message", to="@alone", message="x")


async def test_everybody_is_all_people_and_their_visible_sessions(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    web, api = await ann.claude("web"), await ann.claude("api")
    ui, hidden = await bob.claude("ui"), await bob.claude("hidden")
    await hidden.tool("set_visible", visible=False)
    await web.tool("send_message", to="*", message="to everybody")
    for session in (api, ui):
        await until_seen(session, "to everybody")
    for machine in (ann, bob, eve):
        assert await machine.read(wait_s=10) == ["to everybody"]
    await world.settle(5)
    assert web.seen == hidden.seen == []


async def test_what_a_person_says_to_everybody_is_not_in_his_own_inbox(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    sent = await ann.send("*", "first", wait="stored")
    assert reached(sent) == {"bob/*": "stored"}
    web = await ann.claude("web")
    sent = await ann.send("*", "second", wait="stored")
    assert reached(sent) == {"ann/*": "stored", "bob/*": "stored"}
    await until_seen(web, "second")
    assert await bob.read(wait_s=10) == ["first", "second"]
    assert await ann.read() == []


async def test_a_list_of_all_kinds_reaches_everybody_in_it_once(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    ui = await in_group(bob, "ui", "web/ui", "on-call")
    api = await in_group(bob, "api", "web/api")
    await ann.until_knows("bob/ui")
    targets = ["@web", "bob/ui", "bob", "@on-call", "eve", "@web/ui"]
    sent = await ann.send(targets, "once", wait="stored")
    assert len(sent["recipients"]) == 2, "one envelope a machine"
    for session in (ui, api):
        await until_seen(session, "once")
    assert await bob.read() == ["once"]
    assert await eve.read() == ["once"]
    await world.settle(5)
    assert (len(ui.seen), len(api.seen)) == (1, 1)
    status = await ann.call("message.status", id=sent["id"])
    (row,) = [row for row in status["recipients"] if row["to"].startswith("bob")]
    assert {each["session"] for each in row["sessions"]} >= {"ui", "api"}


async def test_two_sessions_of_one_machine_can_be_written_to_at_once(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    ui, api = await bob.claude("ui"), await bob.claude("api")
    await ann.until_knows("bob/ui")
    await ann.until_knows("bob/api")
    await ann.send(["bob/ui", "bob/api"], "to both", wait="stored")
    await until_seen(ui, "to both")
    await until_seen(api, "to both")
    assert await bob.read() == []


async def test_who_is_away_gets_it_when_he_returns(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    ui = await in_group(bob, "ui", "web")
    await in_group(eve, "api", "web")
    await bob.stop()
    sent = await ann.send("@web", "for later", wait="accepted")
    await ann.stop()
    await bob.start()
    await until_seen(ui, "for later")
    await ann.start()
    await world.until(lambda: _state(ann, sent, "bob/@web", "turn_started"), what="the receipt")


async def _state(machine: Machine, sent: Answer, to: str, state: str) -> bool:
    rows = (await machine.call("message.status", id=sent["id"]))["recipients"]
    return any(row["to"] == to and row["state"] == state for row in rows)


async def test_the_recipients_machine_decides_who_is_in_the_group_when_the_message_comes(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    ui = await in_group(bob, "ui", "web")
    late = await bob.claude("late")
    await world.unplug(ann)
    await ui.tool("leave_group", name="web")
    await late.tool("join_group", name="web")
    await world.settle(5)
    sent = await ann.send("@web", "who is in it now")
    assert [*reached(sent)] == ["bob/@web"]
    await world.plug(ann)
    await until_seen(late, "who is in it now")
    assert ui.seen == []


async def test_a_group_that_nobody_is_in_any_more_is_told_and_its_message_waits_for_the_person(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    ui = await in_group(bob, "ui", "web")
    await world.unplug(ann)
    await ui.tool("leave_group", name="web")
    sent = await ann.send("@web", "to nobody")
    await world.plug(ann)
    row = await ann.until_state(sent, "no_such_session")
    assert row["reason"]
    assert await bob.read() == ["to nobody"]
    assert ui.seen == []

    async def unknown() -> bool:
        return not (await ann.call("group.list"))["members"]

    await world.until(unknown, what="ann heard that nobody is in it")
    assert (await refusal(ann, "@web")).code == "unknown_recipient"


async def test_of_several_parts_of_a_label_the_one_that_means_nobody_is_named(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    ui = await in_group(bob, "ui", "web")
    ui.attentive = False
    await world.unplug(ann)
    await ui.tool("leave_group", name="web")
    sent = await ann.send(["@web", "bob"], "to the person at least")
    await world.plug(ann)
    row = await ann.until_state(sent, "stored")
    assert row["reason"] == "not here: @web"
    assert await bob.read() == ["to the person at least"], "once"


async def test_a_session_that_ended_gets_its_groups_messages_when_it_is_resumed(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    ui = await in_group(bob, "ui", "web")
    await ui.end()
    await world.until(lambda: not bob.app.sessions.live(), what="the session ended")
    sent = await ann.send("@web", "over night", wait="stored")
    assert reached(sent) == {"bob/@web": "stored"}
    again = await ui.resume()
    await until_seen(again, "over night")


async def test_an_unknown_group_is_answered_with_those_there_are(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await in_group(bob, "ui", "web/ui")
    error = await refusal(ann, "@wbe")
    assert error.code == "unknown_recipient"
    assert "@web/ui" in error.data["candidates"]  # type: ignore[operator]
    assert (await refusal(ann, "@")).code == "unknown_recipient"


async def test_a_group_is_looked_up_in_the_meshes_where_the_sender_may_send(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    (_, eve) = await world.mesh("ann", "eve", title="second")
    ui = await bob.claude("ui")
    await ui.tool("join_group", name="web")
    api = await eve.claude("api")
    await api.tool("join_group", name="web")
    await until_known(ann, "web bob/ui", "web eve/api")
    assert (await refusal(ann, "@web")).code == "ambiguous_mesh"
    assert (await refusal(ann, "*")).code == "ambiguous_mesh"
    assert reached(await ann.send("second:@web", "x")).keys() == {"eve/@web"}
    assert reached(await ann.send("team:*", "x")).keys() == {"bob/*"}


async def test_the_result_says_until_when_the_groups_of_those_who_are_away_are_known(world: World) -> None:
    ann, bob, eve, gus = await world.mesh("ann", "bob", "eve", "gus")
    await in_group(bob, "ui", "web")
    await in_group(eve, "api", "web")
    assert (await ann.send("@web", "x"))["groups_as_of"] == []
    told = bob.app.node.now()
    await bob.stop()
    await gus.stop()
    known = (await ann.send("@web", "x"))["groups_as_of"]
    assert [row["member"] for row in known] == ["gus", "bob"], "the least known first"
    assert known[0]["as_of_ms"] == 0, "never heard of"
    assert 0 < known[1]["as_of_ms"] <= told
    assert (await ann.send("*", "x"))["groups_as_of"] == [], "everybody is known by the chain"
    assert (await ann.send("eve", "x"))["groups_as_of"] == []


async def test_a_repeated_request_is_the_same_one_although_the_group_is_another_by_now(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    await in_group(bob, "ui", "web")
    first = await ann.send("@web", "x", idempotency_key="k", wait="stored")
    await in_group(eve, "api", "web")
    again = await ann.send("@WEB", "x", idempotency_key="k", wait="stored")
    assert again["id"] == first["id"]
    assert reached(again).keys() == reached(first).keys() == {"bob/@web"}
    assert await ann.refusal("message.send", to="*", message="x", idempotency_key="k") == "idempotency_conflict"


async def test_readers_are_told_which_group_a_message_was_for(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    ui = await in_group(bob, "ui", "web")
    ui.attentive = False
    sent = await ann.send(["@web", "*"], "for many", wait="stored")
    status = await ann.call("message.status", id=sent["id"])
    assert status["audience"] == "@web, *"
    assert await bob.read() == ["for many"]
    assert "for many" in await ui.tool("check_messages")
