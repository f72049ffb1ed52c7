"""A death at the turn of an epoch, after the broker has the removal and before this machine has stored the new key."""

import random

import pytest

from mesh_protocol.crashpoints import unnoticed
from world.machine import Machine
from world.power import PowerDisk
from world.world import World


def epochs(machine: Machine) -> list[int]:
    keys = machine.mesh().keys
    assert keys is not None
    return sorted(keys.epochs)


def hears(machine: Machine, other: Machine) -> int:
    """The epoch of the key under which `machine` heard `other` last."""
    heard = machine.app.board.of(machine.mesh().id, other.app.node.device)
    return heard.epoch if heard is not None else 0


@pytest.mark.parametrize("lose", [False, True], ids=["kill", "power cut"])
async def test_a_death_at_the_turn_of_an_epoch_leaves_nobody_without_the_key(world: World, lose: bool) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    await ann.stop()
    disk = ann.power = PowerDisk(random.Random(1))
    await ann.start()
    await ann.until_online()
    died: list[str] = []

    def die(point: str) -> None:
        if point == "FP-17":
            ann.reached = unnoticed
            died.append(point)
            if lose:
                disk.cut()
            ann.kill()

    ann.reached = die
    with pytest.raises(Exception):  # noqa: B017 - whatever a client sees of a daemon that dies
        await ann.call("member.remove", peer="bob", wait_s=0)
    assert died == ["FP-17"]
    await ann.ended.wait()
    disk.restore()
    await ann.start()
    await ann.until_online()
    await world.until(lambda: hears(cid, ann) == hears(ann, cid) == 2, what="those who stay hear each other")
    assert [epochs(each) for each in (ann, bob, cid)] == [[1, 2], [1], [1, 2]]
    await world.until(lambda: bob.mesh().link.value == "refused", what="bob is refused")
    await ann.crash()
    disk.close()
