"""`make killloop`: rounds of real kills, by whom they hit, until their number or the time is reached."""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final, get_args

import trio

from machines.campaign import Outcome, Victims, run_round

ROUND: Final = 50
"""Kills of one pair of machines: their inboxes are read once at the end."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=0.0, help="go on for so long, whatever --cycles says")
    parser.add_argument("--only", choices=get_args(Victims), help="instead of all of them in turn")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    asked = parser.parse_args()
    turns: list[Victims] = [asked.only] if asked.only else [*get_args(Victims)]
    total, by_victims = Outcome(), Counter[str]()
    began, place = time.monotonic(), 0
    while total.cycles < asked.cycles if not asked.minutes else time.monotonic() < began + 60 * asked.minutes:
        victims = turns[place % len(turns)]
        size = ROUND if asked.minutes else min(ROUND, asked.cycles - total.cycles)
        with tempfile.TemporaryDirectory(prefix="killloop-") as folder:
            outcome = trio.run(run_round, Path(folder), asked.seed + place, victims, size)
        print(f"{victims} (seed {asked.seed + place}): {outcome.told()}", flush=True)
        if not outcome.sound:
            print(f"FAILED: lost {outcome.lost[:5]}, duplicated {outcome.duplicated[:5]}, untold {outcome.untold[:5]}")
            return 1
        add(total, outcome)
        by_victims[victims] += outcome.cycles
        place += 1
    print(f"all: {total.told()}; by whom they hit: {dict(by_victims)}")
    return 0


def add(total: Outcome, outcome: Outcome) -> None:
    for name in ("cycles", "early", "messages", "broken_calls", "repeats", "behind", "storm_seconds", "heal_seconds"):
        setattr(total, name, getattr(total, name) + getattr(outcome, name))
    total.kills.update(outcome.kills)
    total.points.update(outcome.points)


if __name__ == "__main__":
    sys.exit(main())
