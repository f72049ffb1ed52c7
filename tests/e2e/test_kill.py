"""kill -9 of daemons and broker under load: nothing lost, nothing twice, order kept, and the sender is told of each."""

import os
import random
from pathlib import Path

import pytest

from machines.campaign import POINTS, Victims, run_round, under_load

KILLS = int(os.environ.get("MESH_KILLS", "50"))
"""In all; `make killloop` does many more."""
SEED = int(os.environ.get("MESH_SEED", str(random.SystemRandom().randrange(2**32))))


@pytest.mark.slow
@pytest.mark.parametrize(("victims", "share"), [("daemon", 0.4), ("broker", 0.3), ("both", 0.3)])
async def test_kill_9_at_any_moment_loses_nothing_and_doubles_nothing(
    victims: Victims, share: float, tmp_path: Path
) -> None:
    print(f"MESH_SEED={SEED} MESH_KILLS={KILLS}")
    outcome = await run_round(tmp_path, SEED, victims, round(KILLS * share))
    print(outcome.told())
    assert outcome.sound, f"seed {SEED}: {outcome}"
    assert outcome.messages > outcome.cycles, "too little traffic to say anything"


@pytest.mark.slow
async def test_kill_9_at_each_named_crash_point_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    points = [(kind, point) for kind, names in POINTS.items() for point in names if point != "FP-15"]
    chance = random.Random(SEED)
    missed = []
    async with under_load(tmp_path, chance, len(points)) as (pair, storm, outcome):
        for kind, point in points:
            program = pair.broker if kind == "broker" else chance.choice((pair.alice, pair.bob))
            if not await storm.await_death(program, point, 1, 60.0):
                missed.append((program.name, point))
    print(outcome.told())
    assert outcome.sound, f"seed {SEED}: {outcome}"
    assert not missed, "these points were not come by"
