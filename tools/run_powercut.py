"""`make powercut`: power cuts of the outbox, the inbox and the broker's database, in large. Ends at the first loss, which
says how to repeat it."""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
KITS: Final = (ROOT / "tests/meshd", ROOT / "tests/broker")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=1000, help="of each database")
    parser.add_argument("--minutes", type=float, default=0.0, help="go on for so long, whatever --cuts says")
    parser.add_argument("--seed", type=int, help="of the first round; a random one if it is not given")
    asked = parser.parse_args()
    command = [sys.executable, "-W", "error", "-m", "powercut", f"--cuts={asked.cuts}", f"--minutes={asked.minutes}"]
    if asked.seed is not None:
        command.append(f"--seed={asked.seed}")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, KITS))}
    return subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
