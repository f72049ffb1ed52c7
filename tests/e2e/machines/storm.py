"""Killing processes at random moments while messages flow, and judging what is left when it is over."""

import os
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import trio

from machines.machine import Machine
from machines.program import Program
from machines.talk import NoDaemon, Talk
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.wire.errors import RemoteError

TRAFFIC_SECONDS = 5.0
PAUSE_S = 0.01
"""Between two messages of a sender."""


@dataclass
class Ledger:
    """What one machine was promised: ids of messages in the order in which their sending was asked for."""

    sender: Machine
    to: str
    pause_s: float = PAUSE_S
    texts: dict[str, str] = field(default_factory=dict)
    repeats: int = 0
    broken_calls: int = 0


@dataclass
class Storm:
    """Kills programs until `left` is used up. `early` counts the kills before the program said that it serves."""

    chance: random.Random
    left: int
    kills: dict[str, int] = field(default_factory=dict)
    early: int = 0
    points: dict[str, int] = field(default_factory=dict)
    """Deaths at named crash points."""
    watchers: tuple[Machine, ...] = ()
    """Every second blow waits until these are online, so that it falls into traffic and not into their waiting."""

    @property
    def over(self) -> bool:
        return self.left <= 0

    async def rage(self, *programs: Program) -> None:
        """Kill and restart `programs`, all in one blow, again and again; they run when this returns."""
        while not self.over:
            self.left -= 1
            await self._strike(programs)
            for program in programs:
                await program.spawn()
        for program in programs:
            await program.ready()

    async def _strike(self, programs: Sequence[Program]) -> None:
        if self.chance.random() < 0.3:
            # In the middle of its start: keys, generation, migrations, the hello.
            await trio.sleep(self.chance.uniform(0.05, 0.6))
            self.early += 1
        else:
            for program in programs:
                await program.ready()
            if self.chance.random() < 0.5:
                await self._await_traffic()
            await trio.sleep(
                self.chance.uniform(0.0, 0.3) if self.chance.random() < 0.7 else self.chance.uniform(0.3, 1.2)
            )
        for program in programs:
            self.kills[program.name] = self.kills.get(program.name, 0) + 1
            assert program.running, (
                f"{program.name} ended by itself with {program.process.returncode}\n{program.tail()}"
            )
            os.kill(program.pid, signal.SIGKILL)
        for program in programs:
            await program.kill()

    async def _await_traffic(self) -> None:
        with trio.move_on_after(TRAFFIC_SECONDS):
            for machine in self.watchers:
                try:
                    await machine.until_online()
                except (NoDaemon, LinkClosed, RemoteError, trio.TooSlowError):
                    continue

    async def await_death(self, program: Program, point: str, arrival: int, seconds: float) -> bool:
        """Start `program` anew so that it dies at a crash point; whether it came there. It runs when this returns."""
        self.left -= 1
        program.doom(point, arrival)
        await program.kill()
        await program.spawn()
        died = False
        with trio.move_on_after(seconds):
            status = await program.process.wait()
            assert status == -signal.SIGKILL, f"{program.name} ended with {status}\n{program.tail()}"
            died = True
            self.points[point] = self.points.get(point, 0) + 1
        program.doom(None)
        await program.kill()
        await program.start()
        return died


async def send_on(ledger: Ledger, chance: random.Random, stop: Callable[[], bool]) -> None:
    """Send one message after the other, each until its call has returned; now and then ask twice with one key."""
    number = 0
    while not stop():
        number += 1
        text, key = f"{ledger.sender.name} says {number} to {ledger.to}", f"key {number} {ledger.to}"

        async def send(talk: Talk, text: str = text, key: str = key) -> str:
            answer = await talk.call("message.send", text, seconds=10, to=ledger.to, idempotency_key=key)
            return str(answer["id"])

        msg_id = await _insist(ledger, send)
        ledger.texts[msg_id] = text
        if chance.random() < 0.1:
            ledger.repeats += 1
            assert await _insist(ledger, send) == msg_id, "one idempotency key stands for two messages"
        await trio.sleep(ledger.pause_s)


async def _insist(ledger: Ledger, work: Callable[[Talk], Awaitable[str]]) -> str:
    while True:
        try:
            async with ledger.sender.talk() as talk:
                return await work(talk)
        except NoDaemon:
            pass
        except (LinkClosed, trio.TooSlowError):
            ledger.broken_calls += 1
        await trio.sleep(0.02)


async def read_everything(machine: Machine) -> list[tuple[str, str]]:
    """Every unread message of the person, (id, text) in the order of the inbox; read and acknowledged page by page."""
    found: list[tuple[str, str]] = []
    async with machine.talk() as talk:
        while True:
            page = (await talk.call("inbox.read", limit=100))["messages"]
            if not page:
                return found
            found.extend((row["id"], row["message"]) for row in page)
            assert len(found) < 100_000, "the inbox does not end"
            await talk.call("inbox.ack", ids=[row["id"] for row in page])


async def count_not_in(ledger: Ledger, states: frozenset[str]) -> int:
    """How many messages of `ledger` are in none of `states` now."""
    async with ledger.sender.talk() as talk:
        found = [(await talk.call("message.status", id=msg_id))["state"] for msg_id in ledger.texts]
    return sum(state not in states for state in found)


async def until_reached(ledger: Ledger, states: frozenset[str], seconds: float) -> dict[str, str]:
    """Wait until every message of `ledger` is in one of `states`; what is not yet in the end, by id."""
    waiting = dict.fromkeys(ledger.texts, "")
    with trio.move_on_after(seconds):
        async with ledger.sender.talk() as talk:
            while waiting:
                for msg_id in list(waiting):
                    waiting[msg_id] = (await talk.call("message.status", id=msg_id))["state"]
                    if waiting[msg_id] in states:
                        del waiting[msg_id]
                await trio.sleep(0.05)
    return waiting
