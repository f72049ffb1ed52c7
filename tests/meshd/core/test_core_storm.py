"""Random bad weather, then calm: what was accepted arrives once, in order, and is truthfully reported.

One seed is one history: `WORLD_SEED=n` in front of the test command begins at another one.
"""

import os
import random
from collections import defaultdict

import pytest
import trio

from mesh_protocol.io.link import LinkClosed
from mesh_protocol.wire.errors import MeshError
from world.machine import Machine
from world.seeds import one_history
from world.world import World, open_world

SEEDS = 12
FIRST = int(os.environ.get("WORLD_SEED", "1"))
NAMES = ("ann", "bob", "eve")
LANES = ("now", "next", "low")
STEPS = 60


class Storm:
    """What happens to a mesh of three, and what they remember of what they were promised."""

    def __init__(self, world: World, chance: random.Random, machines: list[Machine]) -> None:
        self.world = world
        self.chance = chance
        self.machines = machines
        self.broker = next(iter(world.network.brokers.values()))
        self.promised: dict[str, tuple[Machine, str, str]] = {}
        """Texts of messages that `send` returned an id for: by whom, to whom, in which lane."""
        self.ids: dict[str, str] = {}
        self.count = 0

    async def step(self) -> None:
        machine = self.chance.choice(self.machines)
        cable = self.world.cable(machine)
        deed = self.chance.choices(
            ("send", "cut", "down", "up", "silent", "crash", "broker", "wait", "clock"),
            (40, 8, 5, 10, 4, 8, 3, 20, 2),
        )[0]
        match deed:
            case "send":
                await self.send(machine)
            case "cut":
                await cable.cut()
            case "down":
                cable.down = True
                await cable.cut()
            case "up":
                cable.down = cable.silent = False
            case "silent":
                cable.silent = True
            case "crash":
                await machine.restart()
            case "broker":
                await self.broker.restart()
            case "clock":
                machine.clock.off_ms = self.chance.randrange(-3_000_000, 3_000_000)
            case _:
                await trio.sleep(self.chance.choice((0.01, 0.3, 2, 15, 40)))

    async def send(self, machine: Machine) -> None:
        self.count += 1
        text, to = str(self.count), self.chance.choice([name for name in NAMES if name != machine.name])
        lane = self.chance.choice(LANES)
        with trio.move_on_after(self.chance.choice((0.0001, 5, 5, 5))):
            try:
                sent = await machine.send(to, text, priority=lane, idempotency_key=text)
            except (MeshError, LinkClosed):
                return
            self.promised[text] = (machine, to, lane)
            self.ids[text] = sent["id"]

    async def calm(self) -> None:
        """Heal everything and let two minutes pass."""
        for machine in self.machines:
            cable = self.world.cable(machine)
            cable.down = cable.silent = False
            machine.clock.off_ms = 0
        for machine in self.machines:
            await machine.until_online(120)
        await trio.sleep(120)

    async def judge(self) -> None:
        """Nothing lost, nothing twice, nothing out of order, and the sender knows how far each got."""
        for reader in self.machines:
            rows = (await reader.call("inbox.read", all=True, limit=100))["messages"]
            texts = [row["message"] for row in rows]
            assert len(texts) == len(set(texts)), "something came twice"
            ways: dict[tuple[str, str], list[int]] = defaultdict(list)
            for row in rows:
                ways[(row["sender"], row["priority"])].append(int(row["message"]))
            assert all(numbers == sorted(numbers) for numbers in ways.values()), "something was overtaken"
            for text, (_, to, _) in self.promised.items():
                assert (to != reader.name) or text in texts, f"{text} was lost"
        for text, (sender, _, _) in self.promised.items():
            assert (await sender.call("message.status", id=self.ids[text]))["state"] == "stored"
        for machine in self.machines:
            for table in ("receipt_out", "delivery WHERE ended<>''"):
                counted = machine.app.node.db.reader.execute(f"SELECT count(*) FROM {table}").fetchall()
                assert counted == [(0,)]


async def story(chance: random.Random) -> int:
    async with open_world(chance.randrange(2**32)) as world:
        storm = Storm(world, chance, await world.mesh(*NAMES))
        for _ in range(STEPS):
            await storm.step()
        await storm.calm()
        await storm.judge()
        return len(storm.promised)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_after_the_storm_everything_promised_has_arrived(seed: int) -> None:
    assert one_history(seed, story) > 5
