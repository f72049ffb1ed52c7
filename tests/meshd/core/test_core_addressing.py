"""From names to recipients across several meshes: a name is looked up where its caller may send, and guessed nowhere."""

from mesh_protocol.wire.errors import MeshError
from world.machine import Machine
from world.talk import Answer
from world.world import World


async def two_meshes(world: World) -> tuple[Machine, Machine, Machine]:
    """Ann is in `team` with bob and in `club` with eve and another bob."""
    ann, bob = await world.mesh("ann", "bob")
    eve = await world.machine("eve")
    other = await world.machine("other")
    broker = await world.broker(name="club-broker")
    await ann.call("mesh.new", name="club", me="ann", broker=broker.url)
    for machine, name in ((eve, "eve"), (other, "bob")):
        url = await world.invite(ann, "club")
        await machine.call("mesh.join", url=url, me=name)
        await machine.until_online()
    return ann, bob, eve


async def refusal(machine: Machine, to: str | list[str], **params: str) -> MeshError:
    talk = await machine.talk_of(machine.processes.shell)
    return await talk.refusal("message.send", to=to, message="x", **params)


def where(sent: Answer) -> tuple[str, list[str]]:
    return sent["mesh"], sorted(row["to"] for row in sent["recipients"])


async def test_a_name_of_one_mesh_only_is_found_there(world: World) -> None:
    ann, *_ = await two_meshes(world)
    assert where(await ann.send("eve", "x")) == ("club", ["eve"])


async def test_a_name_of_two_meshes_must_be_said_with_its_mesh(world: World) -> None:
    ann, *_ = await two_meshes(world)
    error = await refusal(ann, "bob")
    assert (error.code, error.data["meshes"]) == ("ambiguous_mesh", ["team", "club"])
    assert where(await ann.send("team:bob", "x")) == ("team", ["bob"])
    assert where(await ann.send("club:bob", "x")) == ("club", ["bob"])
    assert where(await ann.send("bob", "x", mesh="team")) == ("team", ["bob"])


async def test_one_message_goes_into_one_mesh(world: World) -> None:
    ann, *_ = await two_meshes(world)
    assert (await refusal(ann, ["team:bob", "club:eve"])).code == "bad_request"
    assert (await refusal(ann, "team:bob", mesh="club")).code == "bad_request"
    assert where(await ann.send(["club:bob", "eve"], "x")) == ("club", ["bob", "eve"])
    assert (await refusal(ann, ["club:eve", "carl"])).code == "unknown_recipient"


async def test_names_that_no_single_mesh_has_together_are_refused(world: World) -> None:
    ann, *_ = await two_meshes(world)
    assert where(await ann.send(["bob", "eve"], "x")) == ("club", ["bob", "eve"])
    error = await refusal(ann, ["eve", "nobody"])
    assert (error.code, error.data["target"]) == ("unknown_recipient", "nobody")


async def test_what_is_ambiguous_in_one_mesh_and_unknown_in_the_other_is_called_ambiguous(world: World) -> None:
    ann, *_ = await two_meshes(world)
    await ann.claude("bob", mesh="team")
    assert (await refusal(ann, "bob", mesh="team")).code == "ambiguous_recipient"
    assert where(await ann.send("ann/bob", "x")) == ("team", ["ann/bob"])


async def test_a_mesh_that_is_not_here_is_named_with_those_that_are(world: World) -> None:
    ann, *_ = await two_meshes(world)
    error = await refusal(ann, "bob", mesh="guild")
    assert (error.code, error.data["meshes"]) == ("unknown_mesh", ["club", "team"])
    assert (await refusal(ann, "guild:bob")).code == "unknown_recipient", "it may be part of a name for all we know"


async def test_a_machine_without_a_mesh_says_what_to_do(world: World) -> None:
    eve = await world.machine("eve")
    assert (await refusal(eve, "bob")).code == "no_mesh"
    assert (await refusal(eve, "bob", mesh="team")).code == "no_mesh"


async def test_a_mesh_that_has_not_let_this_machine_in_takes_no_messages(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    url = await world.invite(ann)
    await ann.stop()
    eve = await world.machine("eve")
    joined = await eve.call("mesh.join", url=url, me="eve", wait_s=1)
    assert joined["state"] == "pending"
    error = await refusal(eve, "ann")
    assert error.code == "not_allowed"
    assert "not let in yet" in error.message


async def test_an_agent_sends_only_into_the_mesh_of_its_session(world: World) -> None:
    ann, bob, eve = await two_meshes(world)
    default = await ann.claude("web")
    club = await ann.claude("api", mesh="club")
    assert "unknown_recipient" in await default.tool("send_message", to="eve", message="x")
    assert "not_allowed" in await default.tool("send_message", to="club:eve", message="x")
    assert "not_allowed" in await default.tool("send_message", to="eve", message="x", mesh="club")
    assert '"mesh":"team"' in await default.tool("send_message", to="bob", message="from web", mesh="team")
    assert '"mesh":"club"' in await club.tool("send_message", to="eve", message="from api")
    assert await bob.read(wait_s=10) == ["from web"]
    assert await eve.read(wait_s=10) == ["from api"]


async def test_an_agent_whose_mesh_is_not_here_sends_nowhere(world: World) -> None:
    ann, *_ = await two_meshes(world)
    lost = await ann.claude("web", mesh="guild")
    assert "no_mesh" in await lost.tool("send_message", to="bob", message="x")
    assert "no_mesh" in await lost.tool("send_message", to="bob", message="x", mesh="team")


async def test_an_agents_mesh_survives_a_restart_of_the_daemon(world: World) -> None:
    ann, _, eve = await two_meshes(world)
    club = await ann.claude("api", mesh="club")
    await ann.restart()
    await ann.until_online()
    club.env.pop("MESH")  # whoever comes first after the restart may not say it
    await club.open_mcp()
    assert "unknown_recipient" in await club.tool("send_message", to="ann/web", message="x")
    assert '"mesh":"club"' in await club.tool("send_message", to="eve", message="still here")
    assert await eve.read(wait_s=10) == ["still here"]


async def test_a_running_session_cannot_choose_another_mesh(world: World) -> None:
    ann, *_ = await two_meshes(world)
    web = await ann.claude("web", mesh="team")
    web.env["MESH"] = "club"
    await web.hook("PreToolUse")
    await web.open_mcp()
    assert "unknown_recipient" in await web.tool("send_message", to="eve", message="x")


async def test_sessions_of_another_machine_are_addressed_as_soon_as_they_are_heard(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    assert (await refusal(ann, "bob/web")).code == "unknown_recipient"
    await bob.claude("web")
    await ann.until_knows("bob/web")
    assert where(await ann.send("BOB/Web", "x")) == ("team", ["bob/web"])


async def test_a_machine_not_heard_yet_is_asked_for_any_session(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.claude("web")
    await bob.stop()
    await ann.restart()
    await ann.until_online()
    sent = await ann.send("bob/web", "for web")
    unknown = await ann.send("bob/api", "for api")
    await bob.start()
    assert (await ann.until_state(unknown, "no_such_session"))["reason"]
    assert (await ann.until_state(sent, "stored"))["state"] == "stored"
    assert await bob.read() == ["for api"], "what no session can take waits for the person"


async def test_a_sender_is_no_recipient_of_his_own_message(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await ann.claude("web")
    assert "nobody else" in await web.tool("send_message", to="ann/web", message="x")
    assert "nobody else" in await web.tool("send_message", to="ANN/Web", message="x")
    assert '"to":"bob"' in await web.tool("send_message", to=["ann/web", "bob"], message="to bob only")
    assert await bob.read(wait_s=10) == ["to bob only"]
    assert web.seen == []


async def test_an_unknown_name_is_answered_with_the_candidates_of_all_meshes(world: World) -> None:
    ann, *_ = await two_meshes(world)
    error = await refusal(ann, "evee")
    assert error.data["target"] == "evee"
    assert set(error.data["candidates"]) == {"ann", "bob", "eve"}  # type: ignore[arg-type]
