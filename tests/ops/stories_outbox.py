"""Looking into the outbox, taking back, sending once more."""

from dataclasses import replace
from types import MappingProxyType

from exercised import refuses, works
from stories_messages import UNKNOWN_ID, send_two_alike

from meshd.config import Config, Limits
from world.machine import Machine
from world.talk import Answer
from world.world import World


async def waiting(world: World) -> tuple[Machine, Answer]:
    """A machine without its broker, and a message that waits there."""
    ann, _ = await world.mesh("ann", "bob")
    await world.unplug(ann)
    return ann, await ann.send("bob", "hello")


async def cancelled(world: World) -> tuple[Machine, Answer]:
    ann, sent = await waiting(world)
    await ann.call("outbox.cancel", id=sent["id"])
    return ann, sent


async def two_alike(world: World) -> Machine:
    ann, _ = await world.mesh("ann", "bob")
    await send_two_alike(ann)
    return ann


@works("outbox.list")
async def what_waits_is_listed_with_its_reason(world: World) -> None:
    ann, sent = await waiting(world)
    (row,) = (await ann.call("outbox.list", mesh="team"))["waiting"]
    assert (row["id"], row["to"], row["code"], row["message"]) == (sent["id"], "bob", "offline", "hello")


@refuses("outbox.list", "unknown_mesh")
async def the_outbox_of_a_mesh_that_is_not_here(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("outbox.list", mesh="other")


@refuses("outbox.list", "no_mesh")
async def the_outbox_of_a_mesh_where_there_is_none(world: World) -> str:
    return await (await world.machine("ann")).refusal("outbox.list", mesh="other")


@works("outbox.cancel")
async def a_message_that_waits_is_taken_back(world: World) -> None:
    ann, sent = await waiting(world)
    assert (await ann.call("outbox.cancel", id=sent["id"]))["cancelled"] == 1
    await world.plug(ann)
    await world.settle(5)
    assert await world.machines["bob"].read() == []


@refuses("outbox.cancel", "not_found")
async def taking_back_what_is_not_there(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("outbox.cancel", id=UNKNOWN_ID)


@refuses("outbox.cancel", "ambiguous_id")
async def taking_back_one_of_two(world: World) -> str:
    return await (await two_alike(world)).refusal("outbox.cancel", id="00000000")


@works("outbox.requeue")
async def a_failed_message_goes_once_more(world: World) -> None:
    ann, sent = await cancelled(world)
    again = await ann.call("outbox.requeue", id=sent["id"])
    assert (again["instead_of"], again["recipients"]) == (sent["id"], ["bob"])
    await world.plug(ann)
    await ann.until_state(again, "stored")
    assert await world.machines["bob"].read() == ["hello"]


@refuses("outbox.requeue", "not_found")
async def sending_once_more_what_is_not_there(world: World) -> str:
    (ann,) = await world.mesh("ann")
    return await ann.refusal("outbox.requeue", id=UNKNOWN_ID)


@refuses("outbox.requeue", "ambiguous_id")
async def sending_one_of_two_once_more(world: World) -> str:
    return await (await two_alike(world)).refusal("outbox.requeue", id="00000000")


@refuses("outbox.requeue", "bad_request")
async def sending_once_more_what_did_not_fail(world: World) -> str:
    ann, sent = await waiting(world)
    return await ann.refusal("outbox.requeue", id=sent["id"])


@refuses("outbox.requeue", "unknown_recipient")
async def sending_once_more_to_who_left(world: World) -> str:
    ann, sent = await cancelled(world)
    mesh, bob = ann.mesh(), world.machines["bob"].app.node.device
    left = {**mesh.state.devices, bob: replace(mesh.state.devices[bob], active=False)}
    mesh.chain = replace(mesh.state, devices=MappingProxyType(left))
    return await ann.refusal("outbox.requeue", id=sent["id"])


@refuses("outbox.requeue", "outbox_full")
async def no_room_to_send_it_once_more(world: World) -> str:
    await world.machine("ann", Config(keys="file", limits=Limits(outbox_rows=2)))
    ann, sent = await cancelled(world)
    for number in range(2):
        await ann.send("bob", f"there is room for message {number}, beside the void")
    return await ann.refusal("outbox.requeue", id=sent["id"])


@refuses("outbox.requeue", "broker_rollback")
async def sending_once_more_while_the_broker_is_doubted(world: World) -> str:
    ann, sent = await cancelled(world)
    ann.mesh().alarm = "the broker shows another history"
    return await ann.refusal("outbox.requeue", id=sent["id"])
