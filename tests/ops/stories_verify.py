"""Comparing keys with a peer, and what may stand in the way."""

from exercised import refuses, works

from mesh_protocol.chain_bodies import AddDevice
from mesh_protocol.keys import SigningKey
from meshd.removal import remove
from world.machine import Machine
from world.world import World


async def digits_of(machine: Machine, peer: str) -> str:
    return str((await machine.call("verify.show", peer=peer))["digits"])


async def verified(world: World) -> tuple[Machine, Machine]:
    """Ann has verified bob."""
    ann, bob = await world.mesh("ann", "bob")
    await ann.call("verify.confirm", peer="bob", number=await digits_of(bob, "ann"))
    return ann, bob


async def add_device(world: World, machine: Machine, seen_by: Machine) -> None:
    """One more device of the machine's person, which his machine signs, and which another machine has learned of."""
    mesh = machine.mesh()
    await remove(machine.app, mesh, [AddDevice(mesh.row.member, SigningKey.from_seed(bytes(32)).public)])
    await world.until(lambda: seen_by.mesh().state.seq == mesh.state.seq, what="the device is known")


@works("verify.show")
async def both_see_the_same_number(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    hers, his = await ann.call("verify.show", peer="bob"), await bob.call("verify.show", peer="ann", mesh="team")
    assert (hers["peer"], his["peer"], hers["state"], hers["verified_ms"]) == ("bob", "ann", "", 0)
    assert hers["digits"] == his["digits"]
    assert hers["code"] == his["code"]
    groups = hers["digits"].split()
    assert [len(group) for group in groups] == [5] * 12
    assert "".join(groups).isdecimal()
    assert {len(line) for line in hers["qr"].split("\n")} == {49}


@works("verify.confirm")
async def a_peer_is_verified(world: World) -> None:
    ann, _ = await verified(world)
    shown = await ann.call("verify.show", peer="bob")
    assert (shown["state"], shown["changes"]) == ("verified", [])
    assert shown["verified_ms"] > 0


@refuses("verify.confirm", "number_differs")
async def confirming_another_number(world: World) -> str:
    ann, bob = await world.mesh("ann", "bob")
    told = await digits_of(bob, "ann")
    return await ann.refusal("verify.confirm", peer="bob", number=told[:-1] + str((int(told[-1]) + 1) % 10))


@refuses("message.send", "peer_changed")
async def writing_to_one_whose_keys_changed(world: World) -> str:
    ann, bob = await verified(world)
    await add_device(world, bob, ann)
    return await ann.refusal("message.send", to="bob", message="hello")


@refuses("outbox.requeue", "peer_changed")
async def writing_once_more_to_one_whose_keys_changed(world: World) -> str:
    ann, bob = await verified(world)
    await world.unplug(ann)
    sent = await ann.send("bob", "hello")
    await ann.call("outbox.cancel", id=sent["id"])
    await world.plug(ann)
    await add_device(world, bob, ann)
    return await ann.refusal("outbox.requeue", id=sent["id"])


NUMBER = " ".join(["00000"] * 12)


async def _unknown(world: World, method: str, **params: str) -> str:
    ann, _ = await world.mesh("ann", "bob")
    assert await ann.refusal(method, peer="ann", **params) == "unknown_recipient", "not oneself"
    return await ann.refusal(method, peer="eve", **params)


@refuses("verify.show", "unknown_recipient")
async def asking_for_the_number_of_nobody(world: World) -> str:
    return await _unknown(world, "verify.show")


@refuses("verify.confirm", "unknown_recipient")
async def confirming_the_number_of_nobody(world: World) -> str:
    return await _unknown(world, "verify.confirm", number=NUMBER)


@refuses("verify.show", "unknown_mesh")
async def asking_in_a_mesh_that_is_not_here(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    return await ann.refusal("verify.show", peer="bob", mesh="nowhere")


@refuses("verify.confirm", "unknown_mesh")
async def confirming_in_a_mesh_that_is_not_here(world: World) -> str:
    ann, _ = await world.mesh("ann", "bob")
    return await ann.refusal("verify.confirm", peer="bob", number=NUMBER, mesh="nowhere")


@refuses("verify.show", "no_mesh")
async def asking_without_a_mesh(world: World) -> str:
    return await (await world.machine("ann")).refusal("verify.show", peer="bob")


@refuses("verify.confirm", "no_mesh")
async def confirming_without_a_mesh(world: World) -> str:
    return await (await world.machine("ann")).refusal("verify.confirm", peer="bob", number=NUMBER)
