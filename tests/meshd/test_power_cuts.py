"""Power cuts of the real stores: what was acknowledged is there, and nothing is there by half."""

import os
import random
from pathlib import Path

import pytest

from powercut.__main__ import KINDS
from powercut.rig import Lost, Rig, Tally, run_cuts

CUTS = int(os.environ.get("MESH_CUTS", "25"))
SEED = int(os.environ.get("MESH_SEED", str(random.SystemRandom().randrange(2**31))))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_power_cut_loses_nothing_that_was_acknowledged(kind: str, tmp_path: Path) -> None:
    print(f"MESH_SEED={SEED} MESH_CUTS={CUTS}")
    tally = run_cuts(KINDS[kind], tmp_path, SEED, CUTS)
    assert tally.cuts == CUTS
    assert tally.commits > CUTS, "too little work to say anything"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_without_an_fsync_a_commit_the_same_cuts_lose_something(kind: str, tmp_path: Path) -> None:
    """The check of the harness itself."""
    tally = run_cuts(KINDS[kind], tmp_path, 1, 30, normal=True)
    assert tally.lost_commits > 0


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM {table} WHERE rowid = (SELECT max(rowid) FROM {table})",
        "DELETE FROM {table}",
    ],
)
@pytest.mark.parametrize(("kind", "table"), [("inbox", "inbox"), ("inbox", "receipt_out"), ("broker", "dedupe")])
def test_the_judge_sees_a_single_missing_row(kind: str, table: str, damage: str, tmp_path: Path) -> None:
    rig = Rig(tmp_path / "rig", KINDS[kind](), random.Random(3), Tally())
    try:
        rig.live_and_die(2000)
        with rig._opened() as database:
            assert database is not None
            assert database.submit(lambda tx: tx.execute(damage.format(table=table)).fetchall()).succeeded
            with pytest.raises(Lost):
                rig._judge(database)
    finally:
        rig.close()
