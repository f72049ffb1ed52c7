"""Sessions that are announced before they come."""

from exercised import refuses, works

from world.world import World


@works("launch.templates")
async def every_template_says_what_it_is_for(world: World) -> None:
    ann = await world.machine("ann")
    rows = (await ann.call("launch.templates"))["templates"]
    assert {row["template"]: (row["groups"], row["facts"]) for row in rows} == {
        "dev-team": (["eng", "qa"], ["sprint", "board_url"]),
        "research": (["analysis"], ["topic", "deadline"]),
        "ops-incident": (["oncall"], ["severity", "status"]),
        "simulation": (["actors"], ["scenario", "turn"]),
        "personal": ([], ["focus"]),
    }
    assert all(row["about"] for row in rows)


@works("launch.prepare")
async def a_session_is_known_as_its_launcher_said(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.claude("web", announced={"name": "heron", "role": "qa", "groups": ["web/ui", "@night"], "mode": "inbox"})
    rows = (await bob.call("session.list"))["sessions"]
    assert [(row["session"], row["mode"]) for row in rows] == [("heron", "inbox")]
    await ann.until_knows("bob/heron")

    async def in_groups() -> bool:
        members = (await ann.call("group.list"))["members"]
        return {(row["group"], row["role"], row["to"]) for row in members} == {
            ("web/ui", "qa", "bob/heron"),
            ("night", "qa", "bob/heron"),
        }

    await world.until(in_groups, what="ann lists bob/heron in both groups")


async def refused_launch(world: World, **announced: object) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("launch.prepare", **announced)


@refuses("launch.prepare", "bad_name")
async def a_session_with_a_name_that_is_none(world: World) -> str:
    return await refused_launch(world, name="two words")


@refuses("launch.prepare", "bad_group")
async def a_session_for_a_group_that_is_no_path(world: World) -> str:
    return await refused_launch(world, groups=["we b"])


@refuses("launch.prepare", "not_found")
async def a_template_that_is_not_there(world: World) -> str:
    return await refused_launch(world, template="circus")


@refuses("launch.prepare", "unknown_mesh")
async def a_session_for_a_mesh_that_is_not_here(world: World) -> str:
    return await refused_launch(world, mesh="other")


@refuses("launch.prepare", "no_mesh")
async def a_session_for_a_mesh_where_there_is_none(world: World) -> str:
    return await (await world.machine("ann")).refusal("launch.prepare", mesh="team")
