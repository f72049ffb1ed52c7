"""`make powercut`: power cuts of each database until their number or the time is reached."""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from powercut.broker import BrokerLoad
from powercut.inbox import InboxLoad
from powercut.outbox import OutboxLoad
from powercut.rig import Lost, run_cuts

KINDS = {"outbox": OutboxLoad, "inbox": InboxLoad, "broker": BrokerLoad}
ROUND = 50
"""Cuts of one seed, between two looks at the clock."""
CONTROL = 100
"""Cuts under `synchronous=NORMAL`, of which some must lose something."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=1000, help="of each database")
    parser.add_argument("--minutes", type=float, default=0.0, help="go on for so long, whatever --cuts says")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    asked = parser.parse_args()
    print(f"first seed {asked.seed}; repeat one round of {ROUND} cuts with --seed N --cuts {ROUND}", flush=True)
    bad = 0
    for kind in KINDS:
        bad += not cut_often(kind, asked.seed, asked.cuts, asked.minutes * 60 / len(KINDS))
        bad += not control(kind, asked.seed)
    return 1 if bad else 0


def cut_often(kind: str, seed: int, cuts: int, seconds: float) -> bool:
    began = shown = time.monotonic()
    total: Counter[str] = Counter()
    while total["cuts"] < cuts if not seconds else time.monotonic() < began + seconds:
        size = ROUND if seconds else min(ROUND, cuts - total["cuts"])
        with tempfile.TemporaryDirectory(prefix="powercut-") as folder:
            try:
                total.update(asdict(run_cuts(KINDS[kind], Path(folder), seed, size)))
            except Lost as error:
                print(f"{kind}: FAILED after {total['cuts']} cuts: {error}", flush=True)
                return False
        seed += 1
        if time.monotonic() > shown + 5:
            shown = time.monotonic()
            print(f"{kind}: {total['cuts']} cuts, {total['commits']} commits, nothing lost so far", flush=True)
    print(
        f"{kind}: synchronous=FULL, {total['cuts']} cuts, {total['kills']} kills, {total['failed_syncs']} failed fsyncs"
        f" ({total['while_opening']} while opening), {total['full_disks']} times no room; {total['commits']}"
        f" acknowledged commits of {total['works']} pieces of work, 0 lost, 0 half; {total['kept_unacknowledged']} more"
        f" were there that nobody was told of; {time.monotonic() - began:.0f} s",
        flush=True,
    )
    return True


def control(kind: str, seed: int) -> bool:
    """The harness must see what it looks for."""
    with tempfile.TemporaryDirectory(prefix="powercut-") as folder:
        tally = run_cuts(KINDS[kind], Path(folder), seed, CONTROL, normal=True)
    said = (
        f"{kind}: synchronous=NORMAL, {tally.cuts} cuts, {tally.lost_commits} of {tally.commits} acknowledged commits"
        f" lost in {tally.runs_with_loss} runs"
    )
    print(said if tally.lost_commits else f"{said}: THE HARNESS SEES NOTHING", flush=True)
    return tally.lost_commits > 0


if __name__ == "__main__":
    sys.exit(main())
