"""The same records lead to the same membership or the same freeze on every machine, in whatever order they come."""

import random

import pytest

from mesh_protocol.chain import InviteOpen, Record, Resolve, make_record
from mesh_protocol.forks import Settled, judge
from mesh_protocol.keys import SigningKey
from meshd.branches import read_own, weigh
from meshd.recovery import recovery_key
from world.machine import Machine
from world.world import World

STORIES = {
    "two invites": "ab",
    "three invites": "abc",
    "ann chose hers": "abcA",
    "both chose": "abAB",
    "both chose, and the recovery key": "abABR",
    "the recovery key alone": "abcR",
    "it chose twice": "abAQR",
}
"""a, b, c: invites on the same head. A, B: resolves by ann and bob on a and b. R, Q: resolves by the recovery key on b and a."""


async def settled_mesh(world: World) -> list[Machine]:
    machines = await world.mesh("ann", "bob", "cid", "dan")
    await machines[0].call("member.role", peer="bob", role="owner")
    await world.until(lambda: len({each.mesh().state.head for each in machines}) == 1, what="all have one chain")
    return machines


def make_records(machines: list[Machine], letters: str) -> list[Record]:
    ann, bob = machines[0].app.node.key, machines[1].app.node.key
    recovery = recovery_key(machines[0].app.node, machines[0].mesh())
    assert recovery is not None
    head, mesh_id = machines[0].mesh().last, machines[0].mesh().id
    assert head is not None
    made: dict[str, Record] = {}

    def invite(letter: str, key: SigningKey) -> Record:
        pub = SigningKey.from_seed(letter.encode() * 32).public
        return make_record(head, "invite_open", InviteOpen(pub, "member", 1, 2**50, False).encode(), key, mesh_id)

    def resolve(on: Record, key: SigningKey) -> Record:
        return make_record(on, "resolve", Resolve(on.hash, 0, bytes(32)).encode(), key, mesh_id)

    for letter in letters:
        if letter.islower():
            made[letter] = invite(letter, bob if letter == "b" else ann)
    resolves = {"A": ("a", ann), "B": ("b", bob), "R": ("b", recovery), "Q": ("a", recovery)}
    for letter in letters:
        if letter.isupper():
            on, key = resolves[letter]
            made[letter] = resolve(made[on], key)
    return list(made.values())


@pytest.mark.parametrize("story", STORIES)
async def test_every_machine_comes_to_the_same_end_in_whatever_order_it_hears(world: World, story: str) -> None:
    machines = await settled_mesh(world)
    records = make_records(machines, STORIES[story])
    before = read_own(machines[0].app.node, machines[0].mesh())
    expected = judge(machines[0].mesh().id, [*before, *records])
    for number, machine in enumerate(machines):
        chance = random.Random(f"{story} {number}")
        left = [*records]
        chance.shuffle(left)
        while left:  # a record whose ground is not known yet is no history: it comes again with that, as from a broker
            part = [left.pop() for _ in range(chance.randint(1, len(left)))]
            heard = [*part, *(each for each in records if each not in left and each not in part)]
            await weigh(machine.app.node, machine.mesh(), heard)
        mesh = machine.mesh()
        if isinstance(expected, Settled):
            assert mesh.fork is None
            assert mesh.state == expected.state
            assert read_own(machine.app.node, mesh) == [*expected.records]
        else:
            assert mesh.fork is not None
            assert mesh.fork.result == expected
    for machine in machines:
        fork, state = machine.mesh().fork, machine.mesh().state
        await machine.restart()
        assert machine.mesh().state == state
        assert (machine.mesh().fork is None) == (fork is None)
        if fork is not None and machine.mesh().fork is not None:
            assert machine.mesh().fork.result == fork.result  # type: ignore[union-attr]
    world.take_errors()
