"""One seed is one history, in any process and any surroundings. What histories depend on is watched here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio._core._run as scheduler

from sim.__main__ import SHORT_S
from sim.run import run_seed

TESTS = Path(__file__).parent.parent.parent
SEED = 3


def test_the_private_names_of_trio_that_make_histories_repeatable_are_there() -> None:
    """`world.seeds` sets the first and seeds the second. Where they move, that is where to follow them."""
    assert isinstance(scheduler._ALLOW_DETERMINISTIC_SCHEDULING, bool), "trio moved _ALLOW_DETERMINISTIC_SCHEDULING"
    assert scheduler._r.getstate(), "trio moved _r, the random order of its run queue"
    source = Path(scheduler.__file__).read_text()
    assert "if _ALLOW_DETERMINISTIC_SCHEDULING" in source, "trio no longer sorts its tasks before it shuffles them"
    assert "_r.random()" in source, "trio no longer shuffles by _r"
    assert trio.__version__.startswith("0."), "a new major version of trio: look at what its scheduler does"


@pytest.mark.slow
def test_a_seed_repeats_frame_by_frame() -> None:
    one: list[str] = []
    other: list[str] = []
    first = run_seed(SEED, trace=one, length_s=SHORT_S)
    second = run_seed(SEED, trace=other, length_s=SHORT_S)
    assert len(one) > 200
    for before, after in zip(one, other, strict=True):
        assert before == after
    assert first.counted == second.counted


@pytest.mark.slow
def test_a_seed_is_the_same_history_in_another_process_with_other_surroundings(tmp_path: Path) -> None:
    def replay(**surroundings: str) -> str:
        paths = os.pathsep.join(str(TESTS / each) for each in ("meshd", "broker"))
        env = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", "PYTHONPATH": paths, **surroundings}
        command = [sys.executable, "-m", "sim", "short", str(SEED)]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    one = replay(HOME=str(tmp_path), LANG="C")
    other = replay(HOME="/nowhere", LANG="C.UTF-8", TZ="Asia/Tokyo", MESH_HOME="/elsewhere", PADDING="x" * 10_000)
    assert one.splitlines() == other.splitlines()
    assert f"seed {SEED} holds" in one


def test_another_seed_is_another_history() -> None:
    one: list[str] = []
    other: list[str] = []
    run_seed(SEED, trace=one, length_s=SHORT_S)
    run_seed(SEED + 1, trace=other, length_s=SHORT_S)
    assert one != other
