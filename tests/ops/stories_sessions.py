"""The sessions of a machine, and how each wants its messages."""

from exercised import refuses, works

from world.world import World


@works("session.list")
async def the_sessions_here_are_listed(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await ann.claude("web")
    await ann.claude("api")
    rows = (await ann.call("session.list"))["sessions"]
    assert [(row["session"], row["mesh"], row["status"], row["mode"], row["waiting"]) for row in rows] == [
        ("web", "team", "idle", "push", 0),
        ("api", "team", "idle", "push", 0),
    ]
    assert (await ann.call("session.list", mesh="other"))["sessions"] == []


@works("session.mode")
async def a_session_says_how_it_wants_its_messages(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    assert (await bob.call("session.mode", mode="inbox"))["mode"] == "inbox"
    sent = await ann.send("bob", "hello", wait="stored")
    await world.settle(10)
    assert web.seen == []
    await bob.call("session.mode", mode="push", session="web")
    await ann.until_state(sent, "turn_started")


@refuses("session.mode", "no_session")
async def a_mode_without_a_session(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("session.mode", mode="off")


@refuses("session.mode", "not_found")
async def the_mode_of_a_session_that_is_not_here(world: World) -> str:
    (ann,) = await world.mesh("ann")
    await ann.claude("web")
    return await ann.refusal("session.mode", mode="off", session="api")


@refuses("session.mode", "not_allowed")
async def an_agent_sets_another_sessions_mode(world: World) -> str:
    (ann,) = await world.mesh("ann")
    web = await ann.claude("web")
    await ann.claude("api")
    return (await (await web.shell()).refusal("session.mode", mode="off", session="api")).code


@works("session.why")
async def it_is_said_in_one_line_why_a_session_does_not_go_on(world: World) -> None:
    (ann,) = await world.mesh("ann")
    web = await ann.claude("web")
    assert (await ann.call("session.why", session="WEB"))["code"] == "fine"
    web.status = "waiting"
    web.register()
    await web.hook("PermissionRequest")
    answer = await ann.call("session.why", session="web")
    assert (answer["session"], answer["code"]) == ("web", "waiting_for_you")
    assert "\n" not in answer["why"]


@refuses("session.why", "not_found")
async def why_a_session_that_is_not_here(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("session.why", session="web")
