"""A small dose of the simulator, and the seeds that once failed. `make sim` runs as many as there is time for."""

import pytest

from sim.corpus import CORPUS, Bug
from sim.run import HOUR_S, run_seed

HOURS = (1, 2, 4)
SPELLS = range(101, 111)
SPELL_S = 600.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", HOURS)
def test_after_a_bad_hour_everything_promised_holds(seed: int) -> None:
    outcome = run_seed(seed)
    assert outcome.simulated_s >= HOUR_S
    assert outcome.counted["letters"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", SPELLS)
def test_after_ten_bad_minutes_everything_promised_holds(seed: int) -> None:
    assert run_seed(seed, length_s=SPELL_S).simulated_s >= SPELL_S


@pytest.mark.slow
@pytest.mark.parametrize("bug", CORPUS, ids=lambda bug: str(bug.seed))
def test_a_seed_that_once_failed_holds(bug: Bug) -> None:
    run_seed(bug.seed, faults=bug.faults)
