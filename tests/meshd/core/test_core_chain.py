"""The membership chain among daemons: appends at once, answers that are lost, newcomers that everybody hears of."""

from functools import partial

import pytest
import trio

from mesh_protocol.invite import parse_link
from mesh_protocol.wire.codec import decode
from mesh_protocol.wire.framing import split_message
from world.machine import Machine
from world.world import World


def heads(*machines: Machine) -> set[bytes]:
    return {machine.mesh().state.head for machine in machines}


async def until_agreed(world: World, *machines: Machine) -> None:
    await world.until(lambda: len(heads(*machines)) == 1, what="all have one chain")


async def test_many_appends_of_one_machine_at_once_all_come_in(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    urls: list[str] = []

    async def invite() -> None:
        urls.append(await world.invite(ann))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(invite)
    assert len({parse_link(url).invite_id for url in urls}) == 10
    await until_agreed(world, ann, bob)
    assert len(bob.mesh().state.invites) == 11


async def test_several_newcomers_at_once_are_all_let_in(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    urls = [await world.invite(ann) for _ in range(4)]
    await ann.crash()
    others = [await world.machine(f"user{number}") for number in range(4)]
    for machine, url in zip(others, urls, strict=True):
        await machine.call("mesh.join", url=url, me=machine.name, wait_s=0)
    await ann.start()
    for machine in others:
        await world.until(lambda m=machine: m.mesh().active, 120, "it was let in")  # type: ignore[misc]
    await until_agreed(world, ann, bob, *others)
    assert sorted(bob.mesh().names.values()) == ["ann", "bob", "user0", "user1", "user2", "user3"]
    for machine in others:
        await machine.until_online()
    sent = await others[0].send([f"user{number}" for number in range(1, 4)], "hello all", wait="stored")
    assert sent["reached"]


async def test_a_lost_answer_to_an_append_is_learnt_from_the_chain(world: World) -> None:
    """The broker has the record, its answer never came: the record is ours all the same, and nothing is appended twice."""
    ann, bob = await world.mesh("ann", "bob")
    before = len(ann.mesh().hashes)
    cable = world.cable(ann)
    asked: set[object] = set()

    def note(frame: bytes) -> list[bytes]:
        header = decode(split_message(frame).header)
        if isinstance(header, list) and header[0] == 0 and header[2] == "chain.append":
            asked.add(header[1])
        return [frame]

    def lose(frame: bytes) -> list[bytes]:
        header = decode(split_message(frame).header)
        if isinstance(header, list) and ((header[0] == 1 and header[1] in asked) or b"tip" in frame[:24]):
            world.nursery.start_soon(cable.cut)
            return []
        return [frame]

    cable.outgoing, cable.incoming = note, lose
    assert await ann.refusal("mesh.invite") == "broker_unreachable"
    cable.outgoing = cable.incoming = None
    await ann.until_online()
    await until_agreed(world, ann, bob)
    assert len(ann.mesh().hashes) == before + 1
    await world.invite(ann)
    await until_agreed(world, ann, bob)
    assert len(ann.mesh().hashes) == before + 2
    await ann.restart()
    assert len(ann.mesh().hashes) == before + 2


async def test_an_invite_made_while_the_other_end_is_away_reaches_it_with_its_return(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await world.unplug(bob)
    eve = await world.machine("eve")
    await eve.call("mesh.join", url=await world.invite(ann), me="eve")
    assert "eve" not in bob.mesh().names.values()
    sent = await eve.send("bob", "we have not met")
    await world.plug(bob)
    await eve.until_state(sent, "stored")
    assert "eve" in bob.mesh().names.values()
    assert await bob.read() == ["we have not met"]


async def test_a_chain_longer_than_a_page_is_fetched_whole(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    for _ in range(90):
        await world.invite(ann)
        await trio.sleep(1)
    for _ in range(220):
        await trio.sleep(1)
        await world.invite(ann)
    eve = await world.machine("eve")
    joined = await eve.call("mesh.join", url=await world.invite(ann), me="eve")
    assert joined["state"] == "joined"
    assert len(eve.mesh().hashes) == len(ann.mesh().hashes) > 310
    await eve.restart()
    await eve.until_online()
    assert heads(ann, eve) == {ann.mesh().state.head}


async def test_a_broker_restored_from_a_backup_gets_its_records_back(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    broker = next(iter(world.network.brokers.values()))
    await broker.stop()
    backup = {path.name: path.read_bytes() for path in broker.path.parent.iterdir()}
    await broker.start()
    await ann.until_online()
    await world.invite(ann)
    await bob.until_online()
    await until_agreed(world, ann, bob)
    await broker.stop()
    for path in broker.path.parent.iterdir():
        path.unlink()
    for name, data in backup.items():
        (broker.path.parent / name).write_bytes(data)
    await broker.start()
    await ann.until_online()
    await bob.until_online()
    await until_agreed(world, ann, bob)
    eve = await world.machine("eve")
    await eve.call("mesh.join", url=await world.invite(ann), me="eve")
    await until_agreed(world, ann, bob, eve)
    await bob.send("eve", "all is well", wait="stored")


async def test_a_chain_that_grows_while_it_is_read_is_no_broker_that_lost_records(world: World) -> None:
    """What is read may be more than the tip of the hello before it named."""
    ann, _ = await world.mesh("ann", "bob")
    links = [await world.invite(ann) for _ in range(8)]
    joiners = [await world.machine(f"m{number}") for number in range(8)]
    world.network.history = []
    async with trio.open_nursery() as nursery:
        for machine, url in zip(joiners, links, strict=True):
            nursery.start_soon(partial(machine.call, "mesh.join", url=url, me=machine.name, wait_s=30))
    await until_agreed(world, ann, *joiners)
    appended = [line for line in world.network.history if " ann " not in line and "chain.append" in line]
    assert not appended, "only ann, who admits them, has anything to append"
    assert not any(machine.mesh().alarm for machine in joiners)


@pytest.mark.parametrize("how", ["running", "restarted"])
async def test_what_a_broker_lost_that_it_had_accepted_is_sent_once_more(world: World, how: str) -> None:
    ann, bob = await world.mesh("ann", "bob")
    broker = next(iter(world.network.brokers.values()))
    await broker.stop()
    backup = {path.name: path.read_bytes() for path in broker.path.parent.iterdir()}
    await broker.start()
    await ann.until_online()
    await bob.until_online()
    await bob.send("ann", "after the backup", wait="stored")
    if how == "restarted":
        await world.settle(61)  # the number of her mailbox is noted meanwhile
        await ann.restart()
    await world.unplug(bob)
    sent = await ann.send("bob", "accepted, and lost", wait="accepted")
    await broker.stop()
    for path in broker.path.parent.iterdir():
        path.unlink()
    for name, data in backup.items():
        (broker.path.parent / name).write_bytes(data)
    await broker.start()
    await ann.until_online()
    await world.plug(bob)
    await ann.until_state(sent, "stored")
    assert await bob.read() == ["accepted, and lost"]
    assert await ann.read() == ["after the backup"]
    assert set(world.take_errors()) == {"the broker's mailbox went back"}
    assert ann.mesh().doubts.mailbox_ms
    await ann.restart()
    await ann.until_online()
    assert not ann.mesh().doubts.mailbox_ms, "told once"
