"""`make sim`: simulated histories of a mesh in bad weather, an hour each, judged at their ends (tests/meshd/sim).

Ends with 1 when a seed failed, and says the one command that replays it with every frame.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
PROGRESS_S: Final = 5.0
FOR_EVER_S: Final = 1e9
CAUSE: Final = 400
"""Characters of a failure that are printed."""


@dataclass(slots=True)
class Tally:
    """What the processes have said so far."""

    seeds: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    died: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)

    def listen(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.take(line)

    def take(self, line: str) -> None:
        said: dict[str, Any] = json.loads(line)
        if "seed" not in said:
            self.died.update(said["died"])
            self.reached.update(said["reached"])
            return
        self.seeds += 1
        if "failed" in said:
            self.failed[said["seed"]] = said["failed"]
            print(f"seed {said['seed']} FAILED: {said['failed'][:CAUSE]}\n  replay it: {replay_command(said['seed'])}")
            return
        self.counted.update(said["counted"])
        self.faults.update(said["faults"])


def replay_command(seed: int) -> str:
    return f"{sys.executable} tools/run_sim.py --replay {seed}"


def environment() -> dict[str, str]:
    """One seed is one history only if sets are in the same order each time."""
    paths = [str(ROOT / "tests" / each) for each in ("meshd", "broker")]
    return {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(paths)}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "sim", *(str(argument) for argument in arguments)]


def run(first: int, seeds: int, minutes: float, processes: int) -> int:
    """Seeds `first` to `first + seeds - 1`, as many as `minutes` give, dealt out to so many processes."""
    tally, begun = Tally(), time.monotonic()
    seconds = 60 * minutes if minutes else FOR_EVER_S
    children = []
    for number in range(processes):
        count = len(range(first + number, first + seeds, processes))
        child = subprocess.Popen(
            command("run", first + number, processes, count, seconds),
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        reader = threading.Thread(target=tally.listen, args=(child.stdout,))
        reader.start()
        children.append((child, reader))
    while any(reader.is_alive() for _, reader in children):
        children[0][1].join(PROGRESS_S)
        progress(tally, seeds, time.monotonic() - begun)
        for _, reader in children[1:]:
            reader.join(0 if children[0][1].is_alive() else PROGRESS_S)
    crashed = [child.args for child, _ in children if child.wait()]
    report(tally, first)
    if crashed:
        print(f"a process ended by itself: {crashed}")
    return 1 if tally.failed or crashed or not tally.seeds else 0


def progress(tally: Tally, seeds: int, seconds: float) -> None:
    rate = tally.seeds / max(seconds, 0.001)
    print(f"{tally.seeds:,} of {seeds:,} seeds, {len(tally.failed)} failed, {rate:.2f} a second", flush=True)


def report(tally: Tally, first: int) -> None:
    """What a note about a run needs."""
    counted = ", ".join(f"{tally.counted[name]:,} {name}" for name in ("letters", "promised", "stored", "deaths"))
    print(f"{tally.seeds:,} seeds from {first} on, one simulated hour each: {counted}")
    print("died at:", ", ".join(f"{point} {count}" for point, count in sorted(tally.died.items())))
    print("faults:", ", ".join(f"{name} {count}" for name, count in sorted(tally.faults.items())))
    for seed, why in sorted(tally.failed.items()):
        print(f"FAILED {seed}: {why[:CAUSE]}\n  {replay_command(seed)}")
    if not tally.failed:
        print("none failed")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0.0, help="end after so long, whatever is left")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--replay", type=int, metavar="SEED", help="print the history of one seed")
    parser.add_argument(
        "--faults", default="", help="with --replay: these, separated by commas, and not the seed's own"
    )
    given = parser.parse_args()
    if given.replay is not None:
        faults = [given.faults] if given.faults else []
        return subprocess.run(
            command("replay", given.replay, *faults), cwd=ROOT, env=environment(), check=False
        ).returncode
    return run(given.first, given.seeds, given.minutes, min(given.processes, given.seeds))


if __name__ == "__main__":
    sys.exit(main())
