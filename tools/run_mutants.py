"""Alterations of every signed object, in large: none may be accepted. Ends with an error at the first that is, and says its
bytes. A small dose is tests/protocol/test_mutants.py."""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
KIT: Final = ROOT / "tests/vectors"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="alterations in all")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--seed", type=int, default=1, help="of the first process; the others take the numbers after it"
    )
    asked = parser.parse_args()
    share = -(-asked.count // asked.processes)
    command = [sys.executable, "-W", "error", "-m", "mutant_run", f"--count={share}"]
    env = {**os.environ, "PYTHONPATH": str(KIT)}
    runs = [
        subprocess.Popen([*command, f"--seed={asked.seed + number}"], cwd=ROOT, env=env, stdin=subprocess.DEVNULL)
        for number in range(asked.processes)
    ]
    statuses = [run.wait() for run in runs]
    if not any(statuses):
        print(f"{share * asked.processes:,} alterations, none accepted")
    return max(map(abs, statuses))


if __name__ == "__main__":
    sys.exit(main())
