"""Two real machines of one person: what he decides on one holds on the other."""

from world.machine import Machine
from world.talk import Answer
from world.world import World


async def link(world: World, host: Machine, guest: Machine) -> None:
    """As two people at two keyboards: the words are the same, and he says so."""
    offer = await host.call("link.open")
    joined = await guest.call("link.join", url=offer["url"])
    for machine, attempt in ((host, offer), (guest, joined)):
        await machine.call("link.wait", id=attempt["id"], seen="waiting", wait_s=30)
    await host.call("link.confirm", id=offer["id"], same=True)

    async def done() -> bool:
        answer: Answer = await guest.call("link.wait", id=joined["id"], wait_s=0)
        return bool(answer["state"] == "done")

    await world.until(done, what="the new one is in")
    await guest.until_online()


async def grants(machine: Machine, peer: str = "ann") -> tuple[str, list[str]]:
    (row,) = (await machine.call("grant.list", peer=peer))["peers"]
    return row["policy"], row["grants"]


async def two_devices(world: World) -> tuple[Machine, Machine, Machine]:
    """Ann, and bob at his desk and with his phone, which came after he had decided something."""
    ann, bob = await world.mesh("ann", "bob")
    await bob.call("grant.take", peer="ann", keys=["broadcast"])
    phone = await world.machine("phone")
    await link(world, bob, phone)
    device = phone.app.node.device
    await world.until(lambda: ann.mesh().state.is_active(device), what="ann knows of the phone")
    return ann, bob, phone


async def until_grants(world: World, machine: Machine, policy: str, left: list[str]) -> None:
    async def there() -> bool:
        return await grants(machine) == (policy, left)

    await world.until(there, what=f"{machine.name} knows it")


async def test_a_linked_device_holds_to_what_was_decided_before_it_came(world: World) -> None:
    ann, _, phone = await two_devices(world)
    await until_grants(world, phone, "allow", ["read", "dm"])
    sent = await ann.send("*", "to everybody")
    await world.until(lambda: refused(ann, sent), what="both devices refuse it")
    assert await phone.read() == []


async def refused(ann: Machine, sent: Answer) -> bool:
    rows = (await ann.call("message.status", id=sent["id"]))["recipients"]
    return [row["state"] for row in rows if row["to"].startswith("bob")] == ["refused", "refused"]


async def test_a_block_holds_on_both_and_both_say_stored(world: World) -> None:
    ann, bob, phone = await two_devices(world)
    await phone.call("grant.block", peer="ann")
    await until_grants(world, bob, "block", ["read", "dm"])
    sent = await ann.send("bob", "a trap", priority="now")
    await world.settle(30)
    rows = (await ann.call("message.status", id=sent["id"]))["recipients"]
    assert [(row["state"], row["reason"]) for row in rows] == [("stored", ""), ("stored", "")]
    assert [await machine.read() for machine in (bob, phone)] == [[], []]
    await bob.call("grant.unblock", peer="ann")
    await until_grants(world, phone, "allow", ["read", "dm"])


async def test_a_device_that_was_away_learns_it_when_it_comes_back(world: World) -> None:
    ann, bob, phone = await two_devices(world)
    await until_grants(world, phone, "allow", ["read", "dm"])
    await world.unplug(phone)
    await bob.call("trust.set", peer="ann", policy="refuse")
    await bob.crash()
    assert await grants(phone) == ("allow", ["read", "dm"])
    await bob.start()
    await bob.until_online()
    await world.plug(phone)
    await until_grants(world, phone, "refuse", ["read", "dm"])
    assert ann.app.node.db.reader.execute("SELECT count(*) FROM trust").fetchone() == (0,)


async def test_neither_device_shows_its_sessions_to_who_may_not_read(world: World) -> None:
    ann, bob, phone = await two_devices(world)
    await bob.claude("web")
    await phone.claude("mail")
    for name in ("bob/web", "bob/mail"):
        await ann.until_knows(name)
    await bob.call("grant.take", peer="ann", keys=["read"])

    async def hidden() -> bool:
        return [row["to"] for row in (await ann.call("peer.list"))["peers"] if row["kind"] == "ai"] == []

    await world.until(hidden, what="ann sees no session of either")
    await phone.until_knows("bob/web")
    await bob.until_knows("bob/mail")
