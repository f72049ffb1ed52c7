"""Who is there, and how a session shows itself."""

from exercised import refuses, works

from world.claude import Claude
from world.world import World


@works("peer.list")
async def people_and_sessions_are_listed(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.claude("web")
    await ann.until_knows("bob/web")
    rows = (await ann.call("peer.list"))["peers"]
    assert [(row["to"], row["kind"], row["me"]) for row in rows] == [
        ("ann", "human", True),
        ("bob", "human", False),
        ("bob/web", "ai", False),
    ]


@refuses("peer.list", "unknown_mesh")
async def peers_of_a_mesh_that_is_not_here(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("peer.list", mesh="other")


@refuses("peer.list", "no_mesh")
async def peers_of_nothing(world: World) -> str:
    return await (await world.machine("ann")).refusal("peer.list")


async def session(world: World) -> Claude:
    """A session whose mesh is known to another machine."""
    ann, _ = await world.mesh("ann", "bob")
    return await ann.claude("web")


async def without_a_session(world: World, method: str, **params: object) -> str:
    """The refusal of a person who asks for what only a session has."""
    (ann,) = await world.mesh("ann")
    return await ann.refusal(method, **params)


@works("presence.summary")
async def a_summary_is_seen_by_peers(world: World) -> None:
    web = await session(world)
    assert "heron" in await web.tool("set_summary", summary="mending the heron")
    bob = world.machines["bob"]
    await world.settle(5)
    assert (await bob.until_knows("ann/web"))["summary"] == "mending the heron"


@refuses("presence.summary", "no_session")
async def a_persons_summary(world: World) -> str:
    return await without_a_session(world, "presence.summary", summary="x")


@works("presence.status")
async def a_status_is_seen_by_peers(world: World) -> None:
    web = await session(world)
    await web.tool("set_status", status="dnd")
    await world.settle(5)
    assert (await world.machines["bob"].until_knows("ann/web"))["status"] == "dnd"


@refuses("presence.status", "no_session")
async def a_persons_status(world: World) -> str:
    return await without_a_session(world, "presence.status", status="idle")


@works("presence.visible")
async def a_hidden_session_is_not_listed(world: World) -> None:
    web = await session(world)
    bob = world.machines["bob"]
    await bob.until_knows("ann/web")
    await web.tool("set_visible", visible=False)
    await world.settle(5)
    assert "ann/web" not in [row["to"] for row in (await bob.call("peer.list"))["peers"]]
    await web.tool("set_visible", visible=True)
    await bob.until_knows("ann/web")


@refuses("presence.visible", "no_session")
async def a_persons_visibility(world: World) -> str:
    return await without_a_session(world, "presence.visible", visible=False)


@works("presence.profile")
async def a_session_is_renamed(world: World) -> None:
    web = await session(world)
    await web.tool("set_profile", name="heron", role="reviewer")
    await world.settle(5)
    assert (await world.machines["bob"].until_knows("ann/heron"))["role"] == "reviewer"


@refuses("presence.profile", "no_session")
async def a_persons_profile(world: World) -> str:
    return await without_a_session(world, "presence.profile", name="heron")


@refuses("presence.profile", "bad_name")
async def a_session_takes_an_impossible_name(world: World) -> str:
    web = await session(world)
    talk = await web.shell()
    return (await talk.refusal("presence.profile", name="a b")).code
