"""The status line: what it says in each state, and never wider than the place it has."""

from meshd.statusline import compose
from world.machine import Machine
from world.world import World


async def line(machine: Machine, columns: int = 0) -> str:
    answer = await machine.call("statusline", columns=columns)
    return bytes(answer["body"]).decode() if "body" in answer else ""


async def test_it_says_where_one_stands(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    assert await line(ann) == "mesh team · 2/2 online"
    await ann.send("bob", "hello", wait="stored")
    assert await line(bob) == "mesh team · 2/2 online · 1 unread"
    await bob.read()
    assert await line(bob) == "mesh team · 2/2 online"
    await bob.stop()
    await world.settle(2)
    assert await line(ann) == "mesh team · 1/2 online"


async def test_it_says_what_is_wrong(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await world.unplug(ann)
    assert await line(ann) in ("mesh team · offline", "mesh team · connecting")
    await world.plug(ann)
    ann.mesh().alarm = "another history"
    assert await line(ann) == "mesh team · sending stopped (mesh doctor)"
    url = await world.invite(ann)
    await ann.crash()
    eve, carl = await world.machine("eve"), await world.machine("carl")
    assert await line(eve) == "mesh: none yet (mesh new NAME)"
    for machine in (eve, carl):
        await machine.call("mesh.join", url=url, me=machine.name, wait_s=0)
    assert (await line(eve)).endswith(" · waiting to be let in")
    await ann.start()
    await world.until(lambda: eve.mesh().active or carl.mesh().active, 120, "one is in")
    await world.settle(60)
    assert (await line(carl if eve.mesh().active else eve)).endswith(" · invite used")


async def test_it_says_that_the_keys_are_locked(world: World) -> None:
    ann = await world.machine("ann")
    await ann.crash()
    await ann.start(locked=True)
    assert await line(ann) == "mesh: keys locked (mesh unlock)"


async def test_it_is_never_wider_than_its_place(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.send("bob", "hello", wait="stored")
    for columns in range(1, 41):
        text = await line(bob, columns)
        assert 0 < len(text) <= columns
        assert "mesh team · 2/2 online · 1 unread".startswith(text)
        assert not text.endswith(" ·")


async def test_wide_letters_count_for_what_they_take(world: World) -> None:
    ann = await world.machine("ann")
    await ann.call("mesh.new", name="会議室の網", me="ann")
    await ann.until_online()
    assert compose(ann.app, 0) == "mesh 会議室の網 · 1/1 online"
    assert compose(ann.app, 28) == "mesh 会議室の網 · 1/1 online"
    assert compose(ann.app, 27) == "mesh 会議室の網"
    assert compose(ann.app, 14) == "mesh 会議室の"
    assert compose(ann.app, 6) == "mesh "
