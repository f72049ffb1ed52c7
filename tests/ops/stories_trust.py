"""Whose messages the sessions here are shown: allowed, held until they are let in, or refused."""

from exercised import refuses, works
from stories_messages import UNKNOWN_ID, send_two_alike

from world.claude import Claude
from world.machine import Machine
from world.talk import Answer
from world.world import World


async def held(world: World) -> tuple[Machine, Machine, Claude, Answer]:
    """Bob holds what ann writes; she wrote to his session."""
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    await bob.call("trust.set", policy="hold", peer="ann")
    sent = await ann.send("bob/web", "let me in")
    await ann.until_state(sent, "held")
    return ann, bob, web, sent


@works("trust.set")
async def a_sender_is_held_and_allowed_again(world: World) -> None:
    ann, bob, web, sent = await held(world)
    assert web.seen == []
    answer = await bob.call("trust.set", policy="allow", peer="ann", mesh="team")
    assert (answer["peer"], answer["policy"], answer["released"]) == ("ann", "allow", 1)
    await ann.until_state(sent, "turn_started")


@works("trust.list")
async def whoever_is_not_allowed_is_listed(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    assert (await bob.call("trust.list"))["peers"] == []
    await bob.call("trust.set", policy="refuse", peer="ann")
    (row,) = (await bob.call("trust.list"))["peers"]
    assert (row["peer"], row["mesh"], row["policy"]) == ("ann", "team", "refuse")


@works("trust.held")
async def what_is_held_is_listed(world: World) -> None:
    _, bob, _, sent = await held(world)
    (row,) = (await bob.call("trust.held", limit=5))["held"]
    assert (row["id"], row["sender"], row["to"], row["message"]) == (sent["id"], "ann", "web", "let me in")


@works("trust.release")
async def one_held_message_is_let_in(world: World) -> None:
    ann, bob, web, sent = await held(world)
    other = await ann.send("bob/web", "me too")
    await ann.until_state(other, "held")
    answer = await bob.call("trust.release", id=sent["id"][:8])
    assert (answer["id"], answer["sender"]) == (sent["id"], "ann")
    await ann.until_state(sent, "turn_started")
    assert [row["id"] for row in (await bob.call("trust.held"))["held"]] == [other["id"]]
    assert len(web.seen) == 1


@refuses("trust.release", "not_found")
async def letting_in_what_is_not_held(world: World) -> str:
    _, bob = await world.mesh("ann", "bob")
    return await bob.refusal("trust.release", id=UNKNOWN_ID)


@refuses("trust.release", "ambiguous_id")
async def letting_in_one_of_two_alike(world: World) -> str:
    ann, bob = await world.mesh("ann", "bob")
    await bob.call("trust.set", policy="hold", peer="ann")
    await send_two_alike(ann)

    async def both() -> bool:
        return len((await bob.call("trust.held"))["held"]) == 2

    await world.until(both, what="both are held")
    return await bob.refusal("trust.release", id="00000000")


@refuses("trust.set", "unknown_recipient")
async def deciding_of_somebody_unknown(world: World) -> str:
    _, bob = await world.mesh("ann", "bob")
    assert await bob.refusal("trust.set", policy="hold", peer="bob") == "unknown_recipient", "not of oneself"
    return await bob.refusal("trust.set", policy="hold", peer="eve")


@refuses("trust.set", "unknown_mesh")
async def deciding_in_a_mesh_that_is_not_here(world: World) -> str:
    _, bob = await world.mesh("ann", "bob")
    return await bob.refusal("trust.set", policy="hold", peer="ann", mesh="nowhere")


@refuses("trust.set", "no_mesh")
async def deciding_without_a_mesh(world: World) -> str:
    return await (await world.machine("ann")).refusal("trust.set", policy="hold", peer="bob")
