"""The passphrase of the keys: put on, changed, taken away, and asked for at the next start."""

from exercised import refuses, works
from stories_daemon import locked, stretch

from world.machine import Machine
from world.world import World

FIRST, SECOND = "correct horse", "battery staple"


async def protected(world: World) -> Machine:
    """A machine whose keys are under the first passphrase, and whose daemon runs."""
    ann = await world.machine("ann")
    await ann.stop()
    ann.stretch = stretch
    await ann.start()
    await ann.call("keys.protect", passphrase=FIRST)
    return ann


@works("keys.status")
async def where_the_keys_are_is_said_before_they_are_open(world: World) -> None:
    ann = await locked(world)
    assert await ann.refusal("keys.unlock", passphrase="a wrong one") == "keys_unavailable"
    told = await ann.call("keys.status")
    assert (told["state"], told["backend"], told["protected"]) == ("locked", "file", True)
    assert told["keys"] == "keys: file, locked (run: mesh unlock)"


@works("keys.protect")
async def protected_keys_are_the_same_after_the_next_start(world: World) -> None:
    ann = await world.machine("ann")
    device = ann.app.node.device
    await ann.stop()
    ann.stretch = stretch
    await ann.start()
    assert (await ann.call("keys.protect", passphrase=FIRST))["keys"] == "keys: file, passphrase"
    assert (await ann.call("keys.protect", passphrase=SECOND, old=FIRST))["protected"] is True
    await ann.stop()
    await ann.start(locked=True)
    assert await ann.refusal("keys.unlock", passphrase=FIRST) == "keys_unavailable"
    await ann.call("keys.unlock", passphrase=SECOND)
    assert ann.app.node.device == device


@refuses("keys.protect", "keys_unavailable")
async def another_passphrase_without_the_first(world: World) -> str:
    ann = await protected(world)
    assert await ann.refusal("keys.protect", passphrase=SECOND, old="a wrong one") == "keys_unavailable"
    code = await ann.refusal("keys.protect", passphrase=SECOND)
    await ann.call("keys.unprotect", passphrase=FIRST)
    return code


@works("keys.unprotect")
async def without_a_passphrase_a_start_needs_nothing_again(world: World) -> None:
    ann = await protected(world)
    device = ann.app.node.device
    assert (await ann.call("keys.unprotect", passphrase=FIRST))["keys"] == "keys: file, unprotected"
    await ann.restart()
    assert ann.app.node.device == device


@refuses("keys.unprotect", "keys_unavailable")
async def taking_it_away_without_knowing_it(world: World) -> str:
    ann = await protected(world)
    code = await ann.refusal("keys.unprotect", passphrase=SECOND)
    assert (await ann.call("keys.status"))["protected"] is True
    return code
