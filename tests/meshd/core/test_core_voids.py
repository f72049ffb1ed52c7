"""Voids as they arrive: what they excuse, what they do not, and what becomes of one that is made by hand."""

from mesh_protocol.pae import lst, u64
from mesh_protocol.void import MAX_NUMBERS, encode_void
from world.letters import letter, post, seal
from world.machine import Machine
from world.talk import Talk
from world.world import World


async def void(author: Machine, reader: Machine, content: bytes) -> None:
    """Post a void made by hand, and wait until it was taken in."""
    message = letter(author, reader, kind="void", lane="now", content_type="", content=content)
    await post(author, seal(author, reader, message))
    await author.world.until(lambda: seen(reader, message.msg_id), what="the void was taken in")


def seen(machine: Machine, msg_id: bytes) -> bool:
    return bool(machine.app.node.db.reader.execute("SELECT 1 FROM seen WHERE msg_id=?", (msg_id,)).fetchone())


def got(reader: Machine, author: Machine) -> int:
    return reader.mesh().streams[author.app.node.device].got


async def gaps_of(machine: Machine) -> Talk:
    events = await machine.talk(machine.processes.shell)
    await events.call("events.subscribe", kinds=["gap"])
    return events


async def pair(world: World) -> tuple[Machine, Machine, Talk]:
    ann, bob = await world.mesh("ann", "bob")
    await ann.send("bob", "one", wait="stored")
    return ann, bob, await gaps_of(bob)


async def test_a_void_that_comes_late_takes_its_numbers_off_the_list(world: World) -> None:
    ann, bob, events = await pair(world)
    for _ in range(3):
        ann.mesh().next_stream(bob.app.node.device)
    await ann.send("bob", "five", wait="stored")
    await world.settle(20)
    await void(ann, bob, encode_void((2, 3, 4)))
    await world.settle(120)
    assert not events.events
    assert got(bob, ann) == 5


async def test_a_void_excuses_no_other_number_than_it_names(world: World) -> None:
    """A member cannot be made to look honest by one that is not his: what lies before it is missed all the same."""
    ann, bob, events = await pair(world)
    await void(ann, bob, encode_void((9,)))
    await world.settle(120)
    assert [event["data"]["missing"] for event in events.events] == [7]


async def test_what_a_void_named_is_remembered_over_a_restart(world: World) -> None:
    ann, bob, _ = await pair(world)
    await void(ann, bob, encode_void((2, 3)))
    await bob.restart()
    await bob.until_online()
    assert got(bob, ann) == 3


async def test_a_message_under_a_number_that_was_given_up_counts_all_the_same(world: World) -> None:
    ann, bob, events = await pair(world)
    await void(ann, bob, encode_void((2,)))
    await ann.send("bob", "two after all", wait="stored")
    await world.settle(120)
    assert await bob.read() == ["one", "two after all"]
    assert not events.events


async def test_a_void_that_cannot_be_read_is_noted_once_and_changes_nothing(world: World) -> None:
    ann, bob, events = await pair(world)
    for content in (b"", b"\0", lst(), lst(u64(7), u64(7)), lst(*(u64(n) for n in range(1, MAX_NUMBERS + 2)))):
        await void(ann, bob, content)
    assert got(bob, ann) == 1
    await world.settle(120)
    assert not events.events
    assert await bob.read() == ["one"]


async def test_a_void_is_shown_to_nobody_and_receipted_to_nobody(world: World) -> None:
    ann, bob, _ = await pair(world)
    web = await bob.claude("web")
    await void(ann, bob, encode_void((2,)))
    await world.settle(5)
    assert web.seen == [] or all("one" in body for body in web.seen)
    reader = bob.app.node.db.reader
    assert reader.execute("SELECT count(*) FROM inbox").fetchone() == (1,)
    assert reader.execute("SELECT count(*) FROM receipt_out").fetchone() == (0,)
