"""Leaving a mesh: what it means, and doing it."""

from functools import partial

from exercised import REFUSALS, works

from world.machine import Machine
from world.world import World


@works("leave.terms")
async def what_leaving_means_is_said_before(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.send("bob", "unread", wait="stored")
    await world.unplug(bob)
    await bob.send("ann", "not sent")
    terms = await bob.call("leave.terms")
    assert (terms["mesh"], terms["how"], terms["askable"]) == ("team", "asked", ["ann"])
    assert (terms["messages"], terms["unread"], terms["queued"]) == (1, 1, 1)
    assert (terms["stays"], terms["returns"]) == (0, True)
    await bob.read()
    assert (await bob.call("leave.terms"))["unread"] == 0
    assert bob.mesh().active


@works("mesh.leave")
async def somebody_leaves(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    left = await bob.call("mesh.leave")
    assert (left["mesh"], left["state"], left["told"], left["forgotten"]) == ("team", "left", 1, False)
    assert left["id"] == ann.mesh().id.hex()
    listed = (await ann.call("member.list"))["members"]
    assert [row["state"] for row in listed] == ["member", "removed"]


async def alone_in_two(world: World) -> Machine:
    (ann,) = await world.mesh("ann")
    await ann.call("mesh.new", name="second", me="ann")
    return ann


async def another_mesh(world: World, method: str) -> str:
    return await (await alone_in_two(world)).refusal(method, mesh="third")


async def no_mesh_at_all(world: World, method: str) -> str:
    return await (await world.machine("ann")).refusal(method)


async def which_of_two(world: World, method: str) -> str:
    return await (await alone_in_two(world)).refusal(method)


for _method in ("leave.terms", "mesh.leave"):
    REFUSALS[_method, "unknown_mesh"] = partial(another_mesh, method=_method)  # type: ignore[assignment]
    REFUSALS[_method, "no_mesh"] = partial(no_mesh_at_all, method=_method)  # type: ignore[assignment]
    REFUSALS[_method, "ambiguous_mesh"] = partial(which_of_two, method=_method)  # type: ignore[assignment]
