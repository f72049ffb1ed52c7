"""kill -9 of either daemon or the broker at any moment of the exchange: nothing lost, nothing twice, order kept."""

import os
import random
import sqlite3
import time
from pathlib import Path

import pytest
import trio

from machines.pair import Pair, open_pair
from machines.storm import Ledger, Storm, count_not_in, read_everything, send_on, until_reached

KILLS = int(os.environ.get("MESH_KILLS", "200"))
SEED = int(os.environ.get("MESH_SEED", str(random.SystemRandom().randrange(2**32))))
HEAL_SECONDS = 45.0


@pytest.mark.slow
async def test_kill_9_at_any_moment_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    print(f"MESH_SEED={SEED} MESH_KILLS={KILLS}")
    chance = random.Random(SEED)
    # Rates are raised: what is tested here is loss, so as much as possible is to be under way when the blow falls.
    async with open_pair(tmp_path, "--limit", "member_rate=5000", "--limit", "member_burst=5000") as pair:
        storm = Storm(chance, KILLS)
        sent = [Ledger(pair.alice, "bob"), Ledger(pair.bob, "alice")]
        began = time.monotonic()
        with trio.fail_after(60 + KILLS * 1.5):
            async with trio.open_nursery() as nursery:
                for ledger in sent:
                    nursery.start_soon(send_on, ledger, random.Random(chance.random()), lambda: storm.over)
                for program in (pair.broker, pair.alice, pair.bob):
                    nursery.start_soon(storm.rage, program)
        stormed = time.monotonic() - began
        behind = [await count_not_in(ledger, frozenset({"stored"})) for ledger in sent]
        for ledger in sent:
            missing = await until_reached(ledger, frozenset({"stored"}), HEAL_SECONDS)
            assert not missing, f"never stored (seed {SEED}): {missing}\n{pair.alice.tail()}\n{pair.bob.tail()}"
        healed = time.monotonic() - began - stormed
        await _judge(pair, sent)
    _require_sound(pair)
    print(
        f"{sum(storm.kills.values())} kills {storm.kills}, {storm.early} of them while starting, in {stormed:.1f} s "
        f"({60 * sum(storm.kills.values()) / stormed:.0f} a minute), healed in {healed:.1f} s with {behind} not stored yet when it ended; "
        + ", ".join(
            f"{x.sender.name} sent {len(x.texts)} ({x.broken_calls} calls cut off, {x.repeats} asked twice)"
            for x in sent
        )
    )


async def _judge(pair: Pair, sent: list[Ledger]) -> None:
    for ledger, reader in zip(sent, (pair.bob, pair.alice), strict=True):
        got = await read_everything(reader)
        ids = [msg_id for msg_id, _ in got]
        assert len(ids) == len(set(ids)), f"shown twice (seed {SEED})"
        assert dict(got) == ledger.texts, f"lost or invented (seed {SEED})"
        assert ids == list(ledger.texts), f"out of order (seed {SEED})"
        missing = await until_reached(ledger, frozenset({"shown"}), HEAL_SECONDS)
        assert not missing, f"read, but no receipt says so (seed {SEED}): {missing}"
        assert not (await reader.call("inbox.read"))["messages"]


def _require_sound(pair: Pair) -> None:
    """The databases are whole, and nobody met a bug."""
    files = [pair.alice.home / "mesh.db", pair.bob.home / "mesh.db", pair.broker.data / "broker.db"]
    for file in files:
        with sqlite3.connect(file) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",), file
    for program in (pair.alice, pair.bob, pair.broker):
        bad = [line for line in program.said().splitlines() if '"level":"error"' in line or '"level": "error"' in line]
        assert not bad, f"{program.name} logged errors (seed {SEED})\n" + "\n".join(bad[:10])
