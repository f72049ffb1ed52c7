"""Leaving with one of several machines of a person: the person stays in, and what that machine added stays too."""

from world.machine import Machine
from world.talk import Answer
from world.world import World


async def link(host: Machine, guest: Machine) -> None:
    """Make `guest` another machine of the person of `host`."""
    offer = await host.call("link.open")
    joined = await guest.call("link.join", url=offer["url"])
    for machine, attempt in ((host, offer), (guest, joined)):
        await machine.call("link.wait", id=attempt["id"], seen="waiting", wait_s=30.0)
    await host.call("link.confirm", id=offer["id"], same=True)

    async def done() -> bool:
        state: Answer = await guest.call("link.wait", id=joined["id"], seen="", wait_s=0)
        return bool(state["state"] == "done")

    await host.world.until(done, what="the new machine is in")
    await guest.until_online()


async def states(machine: Machine) -> list[tuple[object, object]]:
    return [(row["device"], row["state"]) for row in (await machine.call("device.list"))["devices"]]


async def test_one_machine_of_a_member_leaves_and_the_other_signs_it(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    phone = await world.machine("phone")
    await link(bob, phone)
    await world.unplug(ann)
    terms = await phone.call("leave.terms")
    assert (terms["how"], terms["askable"], terms["stays"], terms["returns"]) == ("asked", ["bob", "ann"], 1, False)
    left = await phone.call("mesh.leave", wait_s=30)
    assert (left["state"], left["told"]) == ("left", 2)
    assert (phone.app.node.device.hex(), "revoked") in await states(bob)
    await world.plug(ann)
    await world.until(lambda: ann.mesh().state.epoch == bob.mesh().state.epoch == 3, what="ann holds it")
    assert (await ann.send("bob", "still there?", wait="stored"))["state"] == "stored"
    url = await world.invite(ann)
    assert await phone.refusal("mesh.join", url=url, me="bob") == "not_allowed"


async def test_the_machine_that_added_another_leaves_without_it(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    phone, tablet = await world.machine("phone"), await world.machine("tablet")
    await link(bob, phone)
    await link(phone, tablet)
    assert (await bob.call("mesh.leave", wait_s=30))["state"] == "left"
    member = phone.mesh().row.member
    await world.until(
        lambda: ann.mesh().state.active_devices(member) == (phone.app.node.device, tablet.app.node.device),
        what="both that are left stay",
    )
    for machine in (phone, tablet):
        await world.until(lambda m=machine: 4 in m.mesh().keys.epochs, what="it has the newest key")  # type: ignore[misc]
    assert (await tablet.send("ann", "we stay", wait="stored"))["state"] == "stored"


async def test_an_owner_may_leave_with_one_machine_while_another_of_his_signs(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    assert await ann.refusal("mesh.leave") == "not_allowed"
    phone = await world.machine("phone")
    await link(ann, phone)
    await world.until(lambda: phone.app.node.device in phone.mesh().state.signers, what="the phone signs")
    assert (await ann.call("mesh.leave", wait_s=30))["state"] == "left"
    assert await phone.refusal("mesh.leave") == "not_allowed", "now it is the last one"
    await world.until(lambda: bob.mesh().state.epoch == phone.mesh().state.epoch, what="bob holds it")
    assert len(bob.mesh().state.members) == 2
