"""One round of kills under load on two machines and a broker, judged when everything has healed."""

import random
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import trio

from machines.pair import Pair, open_pair
from machines.program import Program
from machines.storm import Ledger, Storm, count_not_in, read_everything, send_on, until_reached

HEAL_SECONDS: Final = 120.0
CYCLE_SECONDS: Final = 10.0
"""What one kill may take on a machine that does much else."""
LIMITS: Final = ("--limit", "member_rate=5000", "--limit", "member_burst=5000")
"""What is tested here is loss, so as much as possible is to be under way when the blow falls."""

Victims = Literal["daemon", "broker", "both", "points"]

POINTS: Final[Mapping[str, tuple[str, ...]]] = {
    "broker": ("FP-07", "FP-08", "FP-09", "FP-14", "FP-15"),
    "daemon": (
        *("FP-01", "FP-02", "FP-03", "FP-04", "FP-05", "FP-10"),
        *("FP-11", "FP-12", "FP-13", "FP-15", "FP-19", "FP-22"),
    ),
}
"""Named crash points that messages between two machines come by, by the program that does. Those of making a mesh, of
migrations and of agent sessions are not among them."""


@dataclass
class Outcome:
    """Of one round."""

    cycles: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    early: int = 0
    points: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    broken_calls: int = 0
    repeats: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    reordered: int = 0
    untold: list[str] = field(default_factory=list)
    """Messages whose sender never heard that they are stored and shown, though they are."""
    behind: int = 0
    """Messages that were not stored yet when the kills ended."""
    storm_seconds: float = 0.0
    heal_seconds: float = 0.0

    @property
    def sound(self) -> bool:
        return not (self.lost or self.duplicated or self.reordered or self.untold)

    def told(self) -> str:
        points = f", at crash points {dict(self.points)}" if self.points else ""
        return (
            f"{self.cycles} cycles, kills {dict(self.kills)}{points}, {self.early} while starting,"
            f" in {self.storm_seconds:.0f} s; {self.messages} messages ({self.broken_calls} calls cut off,"
            f" {self.repeats} asked twice), {self.behind} on their way at the end, healed in {self.heal_seconds:.1f} s;"
            f" lost {len(self.lost)}, duplicated {len(self.duplicated)}, reordered {self.reordered},"
            f" untold {len(self.untold)}"
        )


async def run_round(folder: Path, seed: int, victims: Victims, cycles: int) -> Outcome:
    """Kill `cycles` times while both sides send. What was lost or doubled is in the outcome; a program that ended by
    itself, logged a bug or broke its database raises `AssertionError`."""
    chance = random.Random(seed)
    async with under_load(folder, chance, cycles) as (pair, storm, outcome), trio.open_nursery() as nursery:
        match victims:
            case "daemon":
                nursery.start_soon(storm.rage, pair.alice)
                nursery.start_soon(storm.rage, pair.bob)
            case "broker":
                nursery.start_soon(storm.rage, pair.broker)
            case "both":
                nursery.start_soon(storm.rage, pair.broker, pair.alice, pair.bob)
            case "points":
                nursery.start_soon(_rage_at_points, storm, pair)
    return outcome


@asynccontextmanager
async def under_load(folder: Path, chance: random.Random, cycles: int) -> AsyncIterator[tuple[Pair, Storm, Outcome]]:
    """Two machines that send to each other while the block runs and until the storm is over; then the judgement."""
    outcome = Outcome()
    async with open_pair(folder, *LIMITS) as pair:
        storm = Storm(chance, cycles, watchers=(pair.alice, pair.bob))
        sent = [Ledger(pair.alice, "bob"), Ledger(pair.bob, "alice")]
        began = time.monotonic()
        with trio.fail_after(60 + cycles * CYCLE_SECONDS):
            async with trio.open_nursery() as nursery:
                for ledger in sent:
                    nursery.start_soon(send_on, ledger, random.Random(chance.random()), lambda: storm.over)
                yield pair, storm, outcome
                storm.left = 0
        outcome.storm_seconds = time.monotonic() - began
        outcome.cycles = cycles
        outcome.kills.update(storm.kills)
        outcome.points.update(storm.points)
        outcome.early = storm.early
        await judge(pair, sent, outcome)
    require_sound(pair)


async def _rage_at_points(storm: Storm, pair: Pair) -> None:
    while not storm.over:
        kind = storm.chance.choice([*POINTS])
        program = pair.broker if kind == "broker" else storm.chance.choice((pair.alice, pair.bob))
        point = storm.chance.choice(POINTS[kind])
        arrival = storm.chance.choice((1, 2, 5, 20))
        died = await storm.await_death(program, point, 1 if point in ("FP-15", "FP-19") else arrival, 4.0)
        if not died:
            storm.kills[program.name] = storm.kills.get(program.name, 0) + 1


async def judge(pair: Pair, sent: Sequence[Ledger], outcome: Outcome) -> None:
    """Wait until everything has arrived, or for as long as healing may take; then count what is not as promised."""
    began = time.monotonic()
    outcome.behind = sum([await count_not_in(ledger, frozenset({"stored"})) for ledger in sent])
    for ledger in sent:
        outcome.untold += await until_reached(ledger, frozenset({"stored"}), HEAL_SECONDS)
        outcome.messages += len(ledger.texts)
        outcome.broken_calls += ledger.broken_calls
        outcome.repeats += ledger.repeats
    outcome.heal_seconds = time.monotonic() - began
    for ledger, reader in zip(sent, (pair.bob, pair.alice), strict=True):
        got = await read_everything(reader)
        ids = [msg_id for msg_id, _ in got]
        outcome.lost += [msg_id for msg_id in ledger.texts if msg_id not in set(ids)]
        outcome.duplicated += [msg_id for msg_id, count in Counter(ids).items() if count > 1]
        outcome.duplicated += [text for text, count in Counter(text for _, text in got).items() if count > 1]
        assert not {*got} - {*ledger.texts.items()}, "a message that nobody sent, or another text than was sent"
        places = [place for place, msg_id in enumerate(ledger.texts) if msg_id in set(ids)]
        order = {msg_id: place for place, msg_id in enumerate(ledger.texts)}
        outcome.reordered += sum(a != b for a, b in zip([order[msg_id] for msg_id in ids], places, strict=False))
        outcome.untold += await until_reached(ledger, frozenset({"shown"}), HEAL_SECONDS)
        assert not (await reader.call("inbox.read"))["messages"]


def require_sound(pair: Pair) -> None:
    """The databases are whole, and nobody met a bug."""
    files = [pair.alice.home / "mesh.db", pair.bob.home / "mesh.db", pair.broker.data / "broker.db"]
    for file in files:
        with sqlite3.connect(file) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",), file
    for program in (pair.alice, pair.bob, pair.broker):
        require_quiet(program)


def require_quiet(program: Program) -> None:
    bad = [line for line in program.said().splitlines() if '"level":"error"' in line or '"level": "error"' in line]
    assert not bad, f"{program.name} logged errors\n" + "\n".join(bad[:10])
