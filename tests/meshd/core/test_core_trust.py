"""A person decides whose messages his sessions are shown; what that means on the way, and after a restart."""

import pytest

from world.claude import Claude
from world.machine import Machine
from world.world import World


async def mesh_of_two(world: World) -> tuple[Machine, Machine, Claude]:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    return ann, bob, web


async def test_a_held_message_is_seen_by_no_session_by_no_way(world: World) -> None:
    ann, bob, web = await mesh_of_two(world)
    await bob.call("trust.set", policy="hold", peer="ann")
    sent = await ann.send("bob/web", "a trap", priority="now")
    row = await ann.until_state(sent, "held")
    assert row["stored_ms"] > 0
    assert "mesh held" in row["reason"]
    assert "a trap" not in await web.tool("check_messages")
    assert (await (await web.shell()).refusal("message.status", id=sent["id"])).code == "not_found"
    assert await web.hook("Stop") == ""
    assert (await (await web.shell()).refusal("trust.held")).code == "guarded"
    await bob.call("session.mode", mode="push")
    await bob.restart()
    await world.settle(30)
    assert web.seen == []
    await bob.call("trust.release", id=sent["id"])
    await ann.until_state(sent, "turn_started")
    assert (await ann.progress(sent))["reason"] == ""
    assert (await bob.call("trust.held"))["held"] == []


async def test_the_person_reads_what_was_meant_for_him_though_it_is_held(world: World) -> None:
    ann, bob, web = await mesh_of_two(world)
    await bob.call("trust.set", policy="hold", peer="ann")
    sent = await ann.send("bob", "for you")
    await ann.until_state(sent, "held")
    assert await bob.read() == ["for you"]
    await ann.until_state(sent, "shown")
    assert web.seen == []


async def test_a_refused_message_is_not_kept_and_its_sender_is_told(world: World) -> None:
    ann, bob, web = await mesh_of_two(world)
    await bob.call("trust.set", policy="refuse", peer="ann")
    sent = await ann.send("bob/web", "go away")
    assert "mesh trust" in (await ann.until_state(sent, "refused"))["reason"]
    await world.settle(10)
    assert bob.app.node.db.reader.execute("SELECT count(*) FROM inbox").fetchone() == (0,)
    await bob.call("trust.set", policy="allow", peer="ann")
    await ann.send("bob/web", "welcome again", wait="shown", timeout=10)
    assert len(web.seen) == 1


async def test_a_policy_is_of_one_sender_and_survives_a_restart(world: World) -> None:
    ann, bob, cat = await world.mesh("ann", "bob", "cat")
    web = await bob.claude("web")
    for machine in (ann, cat):
        await machine.until_knows("bob/web")
    await bob.call("trust.set", policy="hold", peer="ann")
    await bob.restart()
    await bob.until_online()
    sent = await ann.send("bob/web", "held")
    await cat.send("bob/web", "not held", wait="shown", timeout=30)
    await ann.until_state(sent, "held")
    assert ["\nnot held\n" in body for body in web.seen] == [True]


@pytest.mark.parametrize("method", ["trust.set", "trust.release", "trust.held"])
async def test_no_agent_changes_or_reads_it(world: World, method: str) -> None:
    _, _, web = await mesh_of_two(world)
    params = {"trust.set": {"policy": "allow", "peer": "ann"}, "trust.release": {"id": "00" * 16}, "trust.held": {}}
    assert (await (await web.shell()).refusal(method, **params[method])).code == "guarded"


async def test_a_session_reads_whether_a_human_or_an_agent_wrote(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    api, web = await ann.claude("api"), await bob.claude("web")
    await ann.until_knows("bob/web")
    await ann.send("bob/web", "typed", wait="shown", timeout=10)
    await api.tool("send_message", to="bob/web", message="generated")
    await world.until(lambda: len(web.seen) == 2, what="both")
    assert "Mesh message from ann, a human at a terminal;" in web.seen[0]
    assert "Mesh message from ann, session api, an agent;" in web.seen[1]
