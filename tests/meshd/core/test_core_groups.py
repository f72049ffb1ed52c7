"""Membership of groups: who may change it, what outlasts what, and what is listed of it."""

import trio

from core_kit.membership import groups, until_groups
from mesh_protocol.wire.errors import MeshError
from meshd.groups import ABSENT_MS
from world.talk import Answer
from world.world import World


async def test_every_machine_learns_who_joined_and_who_left(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    web = await ann.claude("web")
    assert "web/ui (lead)" in await web.tool("join_group", name="web/ui", role="lead")
    await until_groups(bob, "web/ui ann/web lead")
    await until_groups(eve, "web/ui ann/web lead")
    await web.tool("join_group", name="@Web/UI", role="observer")
    await until_groups(bob, "Web/UI ann/web observer")
    await web.tool("leave_group", name="WEB/ui")
    await until_groups(bob)
    await until_groups(eve)


async def test_a_machine_that_was_never_online_together_with_the_other_learns_it(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.stop()
    web = await ann.claude("web")
    await web.tool("join_group", name="web")
    await world.settle(5)
    await ann.stop()
    await bob.start()
    await bob.until_online()
    await until_groups(bob, "web ann/web")


async def test_groups_outlast_the_daemon_and_a_resumed_session(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    await web.tool("join_group", name="web/ui", role="lead")
    await until_groups(bob, "web/ui ann/web lead")
    await ann.restart()
    await bob.restart()
    await until_groups(ann, "web/ui ann/web lead")
    await until_groups(bob, "web/ui ann/web lead")
    await web.end()
    await world.until(lambda: not ann.app.sessions.live(), what="the session ended")
    again = await web.resume()
    assert "api" in await again.tool("join_group", name="api")
    await until_groups(bob, "web/ui ann/web lead", "api ann/web")


async def test_a_session_that_ended_stays_in_its_groups_for_a_weekend(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web, api = await ann.claude("web"), await ann.claude("api")
    await web.tool("join_group", name="g")
    await api.tool("join_group", name="g")
    await web.end()
    await world.until(lambda: len(ann.app.sessions.live()) == 1, what="the session ended")
    await until_groups(bob, "g ann/web", "g ann/api")
    ann.clock.off_ms += ABSENT_MS
    await api.tool("join_group", name="h")
    await until_groups(bob, "g ann/api", "h ann/api")


async def test_a_hidden_session_is_in_no_group_for_others(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    await web.tool("join_group", name="g")
    await until_groups(bob, "g ann/web")
    await web.tool("set_visible", visible=False)
    await until_groups(bob)
    assert await groups(ann) == ["g ann/web"], "its own person sees it"
    await web.tool("set_visible", visible=True)
    await until_groups(bob, "g ann/web")


async def test_a_session_that_is_renamed_keeps_its_groups(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    await web.tool("join_group", name="g")
    await web.tool("set_profile", name="heron")
    await until_groups(bob, "g ann/heron")


async def test_groups_are_told_in_the_mesh_of_the_session_only(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    (_, eve) = await world.mesh("ann", "eve", title="second")
    web = await ann.claude("web", mesh="team")
    await web.tool("join_group", name="g")
    await until_groups(bob, "g ann/web")
    await world.settle(5)
    assert await groups(eve) == []


async def test_a_person_puts_a_session_of_this_machine_into_a_group_and_an_agent_only_itself(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    web, _ = await ann.claude("web"), await ann.claude("api")
    joined = await ann.call("group.join", name="g", role="lead", session="API")
    assert joined == {"to": "ann/api", "groups": ["g (lead)"]}
    assert await ann.refusal("group.join", name="g") == "no_session"
    assert await ann.refusal("group.join", name="g", session="docs") == "no_session"
    shell = await web.shell()
    assert (await shell.refusal("group.join", name="g", session="api")).code == "not_allowed"
    assert (await shell.refusal("group.list", session="api")).code == "not_allowed"
    assert (await shell.call("group.join", name="g", session="WEB"))["to"] == "ann/web"
    left = await ann.call("group.leave", name="G", session="api")
    assert left == {"to": "ann/api", "groups": []}
    assert await groups(ann) == ["g ann/web"]


async def test_a_session_is_in_a_bounded_number_of_groups(world: World) -> None:
    (ann,) = await world.mesh("ann")
    web = await ann.claude("web")
    talk = await web.shell()
    for number in range(32):
        await talk.call("group.join", name=f"g{number}")
    assert (await talk.refusal("group.join", name="g32")).code == "bad_request"
    await talk.call("group.join", name="G31", role="another role is no further group")
    await talk.call("group.leave", name="g0")
    await talk.call("group.join", name="g32")


async def test_calls_at_once_join_no_more_groups_than_one_by_one(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    talk = await web.shell()
    refused: list[str] = []

    async def join(name: str) -> None:
        try:
            await talk.call("group.join", name=name)
        except MeshError as error:
            refused.append(error.code)

    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(join, f"g{number}")
    assert refused == ["bad_request"] * 8
    assert len(await groups(ann)) == 32
    await until_groups(bob, *await groups(ann))


async def test_what_a_full_disk_does_not_hold_is_not_so(world: World) -> None:
    (ann,) = await world.mesh("ann")
    web = await ann.claude("web")
    talk = await web.shell()
    await talk.call("group.join", name="first")
    db = ann.app.node.db
    pages = await db.write(lambda tx: tx.pragma("page_count"))
    await db.write(lambda tx: tx.pragma("max_page_count", pages))
    code = ""
    for number in range(30):
        try:
            await talk.call("group.join", name=f"{number:02d}" + "g" * 126, role="r" * 64)
        except MeshError as error:
            code = error.code
            break
    assert code == "storage_full"
    await db.write(lambda tx: tx.pragma("max_page_count", 2**30))
    listed = await groups(ann)
    assert len(listed) == number + 1
    await world.settle(10)
    await ann.restart()
    assert await groups(ann) == listed


async def test_the_list_of_peers_tells_groups_and_can_be_narrowed_to_one(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    web, api = await ann.claude("web"), await ann.claude("api")
    docs = await bob.claude("docs")
    await web.tool("join_group", name="web/ui", role="lead")
    await web.tool("join_group", name="on-call")
    await docs.tool("join_group", name="Web")
    await until_groups(eve, "web/ui ann/web lead", "on-call ann/web", "Web bob/docs")
    await eve.until_knows("ann/api")
    await eve.until_knows("bob/docs")

    async def listed(**params: str) -> dict[str, Answer]:
        return {row["to"]: row for row in (await eve.call("peer.list", **params))["peers"]}

    everybody = await listed()
    assert everybody["ann/web"]["groups"] == ["web/ui (lead)", "on-call"]
    assert everybody["ann/api"]["groups"] == everybody["ann"]["groups"] == []
    assert (await listed(group="@web")).keys() == {"ann/web", "bob/docs"}
    assert (await listed(group="web/ui")).keys() == {"ann/web"}
    assert (await listed(group="nothing")) == {}
    assert await eve.refusal("peer.list", group="we b") == "bad_group"
    assert "web/ui (lead)" in await api.tool("list_peers", group="web")
    # Of a machine that is away its groups are known, and that is all.
    await bob.stop()
    await eve.restart()
    away = (await listed(group="web"))["bob/docs"]
    assert (away["online"], away["status"], away["groups"]) == (False, "away", ["Web"])
