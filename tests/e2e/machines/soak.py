"""`make soak`: four daemons and a broker for a long time, with steady messages, kills and a bad network between them.

Two of the daemons are killed at random all the time, the broker during the first fifth. The other two and, from then on,
the broker live through everything: their memory and descriptors must not grow.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from machines.campaign import require_quiet
from machines.growth import Growth
from machines.machine import BrokerProgram, Machine, free_port, running
from machines.program import Program
from machines.proxy import Proxy, bad_network
from machines.storm import Ledger, send_on, until_reached
from machines.talk import NoDaemon
from mesh_protocol.io.link import LinkClosed

STEADY: Final = ("alice", "bob")
DOOMED: Final = ("carol", "dave")
PAUSE_S: Final = 0.4
"""Between two messages of one of the eight ways: 20 a second in all."""
WARM_UP: Final = 0.2
SAMPLES: Final = 60
MEMORY_MIB: Final = 6.0
"""What a line through the samples may gain in a short run, where caches still fill; a long run is held to one MiB an hour
on top of it."""
DESCRIPTORS: Final = 4.0
HEAL_SECONDS: Final = 120.0


@dataclass
class Soak:
    """What runs, and what was promised."""

    chance: random.Random
    broker: BrokerProgram
    machines: dict[str, Machine]
    proxy: Proxy
    ends: float
    ledgers: list[Ledger] = field(default_factory=list)
    kills: dict[str, int] = field(default_factory=dict)
    seen: dict[str, dict[str, str]] = field(default_factory=dict)
    """By reader: the texts of the messages, by id, in the order of the inbox."""
    growths: list[Growth] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return time.monotonic() > self.ends

    async def run(self, seconds: float) -> None:
        warm = time.monotonic() + WARM_UP * seconds
        async with trio.open_nursery() as nursery:
            names = [*self.machines]
            for place, name in enumerate(names):
                for step in (1, 2):
                    ledger = Ledger(self.machines[name], names[(place + step) % len(names)], pause_s=PAUSE_S)
                    self.ledgers.append(ledger)
                    nursery.start_soon(send_on, ledger, random.Random(self.chance.random()), lambda: self.over)
                nursery.start_soon(self._read_on, name)
            nursery.start_soon(self._make_trouble)
            for name in DOOMED:
                nursery.start_soon(self._kill_on, self.machines[name], self.ends)
            nursery.start_soon(self._kill_on, self.broker, warm)
            nursery.start_soon(self._watch, warm)

    async def _make_trouble(self) -> None:
        while not self.over:
            await trio.sleep(self.chance.uniform(2, 12))
            await self.proxy.trouble()

    async def _kill_on(self, program: Program, until: float) -> None:
        while time.monotonic() < until:
            await trio.sleep(min(self.chance.uniform(3, 20), max(0.0, until - time.monotonic())))
            await program.kill()
            self.kills[program.name] = self.kills.get(program.name, 0) + 1
            await program.start()

    async def _watch(self, warm: float) -> None:
        await trio.sleep(max(0.0, warm - time.monotonic()) + 2.0)
        self.growths = [Growth(program) for program in (self.broker, *(self.machines[name] for name in STEADY))]
        began = shown = time.monotonic()
        pause = (self.ends - began) / SAMPLES
        while not self.over:
            for growth in self.growths:
                growth.look(time.monotonic() - began)
            if time.monotonic() > shown + 30:
                shown = time.monotonic()
                print(f"{shown - began:.0f} s: {self.told()}", flush=True)
            await trio.sleep(max(0.05, pause))

    async def _read_on(self, name: str) -> None:
        """Read and acknowledge what came, every few seconds, as a person would."""
        while not self.over:
            await trio.sleep(self.chance.uniform(1, 4))
            try:
                await self.read(name)
            except (NoDaemon, LinkClosed, trio.TooSlowError):
                continue

    async def read(self, name: str) -> None:
        """Read until nothing is unread. A page whose acknowledgement was cut off comes again."""
        seen = self.seen.setdefault(name, {})
        async with self.machines[name].talk() as talk:
            while page := (await talk.call("inbox.read", limit=100))["messages"]:
                for row in page:
                    assert seen.setdefault(row["id"], row["message"]) == row["message"]
                await talk.call("inbox.ack", ids=[row["id"] for row in page])

    def told(self) -> str:
        sent = sum(len(ledger.texts) for ledger in self.ledgers)
        return f"{sent} messages sent, kills {self.kills}, network {self.proxy.deeds}"

    async def judge(self) -> list[str]:
        """What is wrong when everything has healed."""
        wrong = []
        for ledger in self.ledgers:
            missing = await until_reached(ledger, frozenset({"stored", "shown"}), HEAL_SECONDS)
            wrong += [
                f"{ledger.sender.name} was never told about {msg_id}: {state}" for msg_id, state in missing.items()
            ]
        for name in self.machines:
            await self.read(name)
        for ledger in self.ledgers:
            seen = self.seen[ledger.to]
            wrong += [f"{text!r} was lost" for msg_id, text in ledger.texts.items() if msg_id not in seen]
            got = [msg_id for msg_id in seen if msg_id in ledger.texts]
            if got != [msg_id for msg_id in ledger.texts if msg_id in seen]:
                wrong.append(f"{ledger.sender.name} to {ledger.to}: out of order")
        for name, seen in self.seen.items():
            if len(set(seen.values())) != len(seen):
                wrong.append(f"{name} has a text twice")
            if strange := set(seen) - {msg_id for ledger in self.ledgers for msg_id in ledger.texts}:
                wrong.append(f"{name} has {len(strange)} messages that nobody knows of")
        for growth in self.growths:
            hours = (growth.times[-1] - growth.times[0]) / 3600
            if growth.memory_growth > MEMORY_MIB + hours or growth.descriptor_growth > DESCRIPTORS:
                wrong.append(f"it grows: {growth.told()}")
        return wrong


@asynccontextmanager
async def open_soak(folder: Path, seed: int, seconds: float) -> AsyncIterator[Soak]:
    """Everything running, in one mesh and online."""
    chance = random.Random(seed)
    broker = BrokerProgram(folder)
    machines = {name: Machine(name, folder) for name in (*STEADY, *DOOMED)}
    first, *others = machines.values()
    async with running(broker, *machines.values()), bad_network(free_port(), broker.port, chance) as proxy:
        await first.call("mesh.new", name="team", me=first.name, broker=f"ws://127.0.0.1:{proxy.port}")
        for other in others:
            invite = await first.call("mesh.invite", mesh="team")
            joined = await other.call("mesh.join", url=invite["url"], me=other.name, wait_s=20.0)
            assert joined["state"] == "joined"
        for machine in machines.values():
            await machine.until_online()
        yield Soak(chance, broker, machines, proxy, time.monotonic() + seconds)


async def soak(folder: Path, seed: int, seconds: float) -> list[str]:
    """What is wrong after so many seconds of it."""
    async with open_soak(folder, seed, seconds) as running_soak:
        await running_soak.run(seconds)
        running_soak.proxy.heal()
        wrong = await running_soak.judge()
        print(f"{seconds:.0f} s: {running_soak.told()}", flush=True)
        for growth in running_soak.growths:
            print(growth.told(), flush=True)
        for program in (running_soak.broker, *running_soak.machines.values()):
            require_quiet(program)
        return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        wrong = trio.run(soak, Path(folder), asked.seed, 60 * asked.minutes)
    print("\n".join(wrong) or "nothing lost, doubled, out of order or growing")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
