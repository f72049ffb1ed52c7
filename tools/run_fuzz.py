"""`make fuzz`: tests/fuzz with many examples each, anew until the time is over. Ends at the first failure, which says how
to repeat it."""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
EXAMPLES: Final = 2_000
"""Of each target in one round."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0)
    ends = time.monotonic() + 60 * parser.parse_args().minutes
    command = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "-p", "no:cacheprovider", "tests/fuzz"]
    env = {**os.environ, "MESH_FUZZ_EXAMPLES": str(EXAMPLES)}
    rounds = 0
    while rounds == 0 or time.monotonic() < ends:
        rounds += 1
        print(f"round {rounds}: {EXAMPLES:,} examples of each target", flush=True)
        status = subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, check=False).returncode
        if status:
            return status
    print(f"{rounds} rounds, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
