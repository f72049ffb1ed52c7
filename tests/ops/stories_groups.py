"""Groups of sessions, and conversations."""

from exercised import refuses, works
from stories_messages import UNKNOWN_ID, send_two_alike

from world.machine import Machine
from world.world import World


async def until_listed(machine: Machine, *wanted: str) -> None:
    """Wait until the machine lists exactly these sessions in groups."""

    async def listed() -> bool:
        return [row["to"] for row in (await machine.call("group.list"))["members"]] == [*wanted]

    await machine.world.until(listed, what=f"{machine.name} lists {wanted}")


@works("group.join")
async def what_is_said_to_a_group_reaches_who_joined_it(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    assert "web/ui (lead)" in await web.tool("join_group", name="web/ui", role="lead")
    await until_listed(ann, "bob/web")
    await ann.send("@web", "the heron is mended", wait="stored")
    await world.until(lambda: web.seen, what="it was shown")


@refuses("group.join", "bad_group")
async def a_group_that_is_no_path(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    await ann.claude("web")
    return await ann.refusal("group.join", name="we b", session="web")


@refuses("group.join", "no_session")
async def a_person_joins(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("group.join", name="web")


@works("group.leave")
async def who_left_is_not_reached(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.claude("web")
    await bob.call("group.join", name="g", session="web")
    await until_listed(ann, "bob/web")
    assert (await bob.call("group.leave", name="g", session="web")) == {"to": "bob/web", "groups": []}
    await until_listed(ann)
    assert await ann.refusal("message.send", to="@g", message="hello") == "unknown_recipient"


@refuses("group.leave", "bad_group")
async def leaving_what_is_no_path(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    await ann.claude("web")
    return await ann.refusal("group.leave", name="*", session="web")


@refuses("group.leave", "not_found")
async def leaving_a_group_that_was_never_joined(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    await ann.claude("web")
    return await ann.refusal("group.leave", name="g", session="web")


@refuses("group.leave", "no_session")
async def a_session_that_is_not_here_leaves(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("group.leave", name="g", session="web")


@works("group.list")
async def groups_are_listed_with_who_is_in_them(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await web.tool("join_group", name="b", role="lead")
    await web.tool("join_group", name="a")
    await until_listed(ann, "bob/web", "bob/web")
    rows = (await ann.call("group.list"))["members"]
    assert [(row["group"], row["role"], row["online"], row["me"]) for row in rows] == [
        ("a", "", True, False),
        ("b", "lead", True, False),
    ]
    assert all(row["as_of_ms"] > 0 for row in rows)
    own = await bob.call("group.list", session="web", mesh="team")
    assert [row["group"] for row in own["members"]] == ["a", "b"]


@refuses("group.list", "unknown_mesh")
async def groups_of_a_mesh_that_is_not_here(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("group.list", mesh="other")


@refuses("group.list", "no_mesh")
async def groups_of_nothing(world: World) -> str:
    return await (await world.machine("ann")).refusal("group.list")


@refuses("group.list", "no_session")
async def groups_of_a_session_that_is_not_here(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("group.list", session="web")


@refuses("peer.list", "bad_group")
async def peers_of_what_is_no_path(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("peer.list", group="we b")


@works("message.thread")
async def a_conversation_is_read_as_one(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    first = await ann.send("bob", "is it done?", wait="stored")
    await bob.send("ann", "yes", reply_to=first["id"], wait="stored")
    rows = (await ann.call("message.thread", id=first["id"][:8]))["messages"]
    assert [(row["direction"], row["message"]) for row in rows] == [("out", "is it done?"), ("in", "yes")]


@refuses("message.thread", "not_found")
async def the_conversation_of_a_message_that_is_not_there(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    return await ann.refusal("message.thread", id=UNKNOWN_ID)


@refuses("message.thread", "ambiguous_id")
async def the_conversation_of_one_of_two_that_begin_alike(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    await send_two_alike(ann)
    return await ann.refusal("message.thread", id="00000000")
