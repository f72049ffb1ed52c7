"""A mesh whose broker was restored from a backup and went on: it has signed two histories."""

from world.broker import BrokerHouse
from world.machine import Machine
from world.world import World


def broker_of(world: World) -> BrokerHouse:
    return next(iter(world.network.brokers.values()))


async def backup(broker: BrokerHouse) -> dict[str, bytes]:
    """The broker's folder as it is now."""
    await broker.stop()
    kept = {path.name: path.read_bytes() for path in broker.path.parent.iterdir()}
    await broker.start()
    return kept


async def put_back(broker: BrokerHouse, kept: dict[str, bytes]) -> None:
    """The broker of an earlier day."""
    await broker.stop()
    for path in broker.path.parent.iterdir():
        path.unlink()
    for name, data in kept.items():
        (broker.path.parent / name).write_bytes(data)
    await broker.start()


async def forked(world: World, *, removal: bool = False) -> tuple[Machine, Machine, Machine]:
    """ann has appended what the broker has forgotten, bob something else in its place; cid only listens.

    With `removal` each of the two has removed somebody, so that both have an epoch 2 of their own.
    """
    ann, bob, cid, *gone = await world.mesh("ann", "bob", "cid", *(("dan", "eve") if removal else ()))
    await ann.call("member.role", peer="bob", role="owner")
    machines = (ann, bob, cid)
    for machine in machines:
        await world.until(lambda m=machine: len(m.mesh().hashes) == len(ann.mesh().hashes), what="all know")  # type: ignore[misc]
    broker = broker_of(world)
    kept = await backup(broker)
    for machine in machines:
        await machine.until_online()
    for machine in (bob, cid, *gone):
        await world.unplug(machine)
    await change(world, ann, "dan" if removal else "")
    await world.unplug(ann)
    for sender, to in ((ann, "bob"), (bob, "cid"), (cid, "ann")):
        await sender.send(to, f"queued by {sender.name}")
    await put_back(broker, kept)
    await world.plug(bob)
    await change(world, bob, "eve" if removal else "")
    world.cable(cid).down = False
    await cid.until_online()
    await world.until(lambda: cid.mesh().state.head == bob.mesh().state.head, what="cid heard of bob's")
    world.cable(ann).down = False
    for machine in machines:
        await world.until(lambda m=machine: m.mesh().fork is not None, what=f"{machine.name} is frozen")  # type: ignore[misc]
    world.take_errors()
    return ann, bob, cid


async def change(world: World, machine: Machine, removed: str) -> None:
    if removed:
        await machine.call("member.remove", peer=removed, wait_s=0)
    else:
        await world.invite(machine)
