"""A mesh that is frozen between two histories: they are shown, one is chosen; and what may stand in the way."""

from collections.abc import Awaitable, Callable

from exercised import REFUSALS, refuses, works
from stories_members import refuse_appends, swallow_appends

from core_kit.forked import forked
from meshd.branches import Fork, Standing
from world.machine import Machine
from world.world import World


def standing_of(machine: Machine) -> tuple[Standing, ...]:
    fork = machine.mesh().fork
    assert isinstance(fork, Fork)
    return fork.standing


async def choose(machine: Machine, **more: object) -> str:
    """The refusal of ann's choice of her own history."""
    head = machine.mesh().state.head.hex() if machine.app.node.meshes else "00"
    return await machine.refusal("resolve.choose", **{"head": head[:12], **more})


@works("resolve.list")
async def both_histories_are_shown(world: World) -> None:
    (eve,) = await world.mesh("eve")
    whole = await eve.call("resolve.list")
    assert (whole["heads"], whole["common"]) == ([], 2)
    ann, bob, _ = await forked(world)
    shown = await ann.call("resolve.list", mesh="team")
    assert [(row["head"], row["first"], row["lost"]) for row in shown["heads"]] == [
        (each.head.hash.hex(), "invite_open", []) for each in standing_of(ann)
    ]
    assert {row["signed_by"].split(",")[0] for row in shown["heads"]} == {"ann", "bob"}
    assert [row["head"] for row in shown["heads"] if row["here"]] == [ann.mesh().state.head.hex()]
    assert shown["common"] == bob.mesh().state.seq - 1
    world.take_errors()


@works("resolve.choose")
async def one_history_is_chosen(world: World) -> None:
    ann, bob, _ = await forked(world)
    chosen = bob.mesh().state.head
    done = await ann.call("resolve.choose", head=chosen.hex()[:12])
    assert (done["head"], done["members"], done["signed_by"]) == (chosen.hex(), 3, "this machine")
    assert chosen in ann.mesh().hashes
    world.take_errors()


@refuses("resolve.choose", "not_found")
async def a_history_that_is_not_there(world: World) -> str:
    ann, _, _ = await forked(world)
    return await choose(ann, head="0123456789abcdef")


@refuses("resolve.choose", "ambiguous_id")
async def a_beginning_of_both(world: World) -> str:
    """No two hashes of a test begin alike: one is written over."""
    ann, _, _ = await forked(world)
    first, second = standing_of(ann)
    twin = second._replace(head=second.head._replace(hash=first.head.hash[:8] + second.head.hash[8:]))
    ann.mesh().fork = ann.mesh().fork._replace(standing=(first, twin))  # type: ignore[union-attr]
    return await choose(ann, head=first.head.hash.hex()[:12])


@refuses("resolve.choose", "unknown_mesh")
async def choosing_in_another_mesh(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await choose(ann, mesh="other")


@refuses("resolve.choose", "no_mesh")
async def choosing_in_none(world: World) -> str:
    return await choose(await world.machine("ann"))


@refuses("resolve.list", "unknown_mesh")
async def showing_another_mesh(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("resolve.list", mesh="other")


@refuses("resolve.list", "no_mesh")
async def showing_none(world: World) -> str:
    return await (await world.machine("ann")).refusal("resolve.list")


@refuses("resolve.choose", "broker_unreachable")
async def choosing_without_a_connection(world: World) -> str:
    ann, _, _ = await forked(world)
    cable = world.cable(ann)
    cable.down = True
    await cable.cut()
    await world.until(lambda: ann.app.brokers.link_of(ann.mesh()) is None, what="ann is offline")
    found = await choose(ann)
    world.take_errors()
    return found


def hindered(hinder: Callable[[World, Machine], None]) -> Callable[[World], Awaitable[str]]:
    async def story(world: World) -> str:
        ann, _, _ = await forked(world)
        hinder(world, ann)
        found = await choose(ann)
        world.take_errors()
        return found

    return story


REFUSALS["resolve.choose", "timeout"] = hindered(swallow_appends)
REFUSALS["resolve.choose", "broker_refused"] = hindered(refuse_appends)
