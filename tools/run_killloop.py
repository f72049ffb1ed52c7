"""`make killloop`: real kill -9 of daemons and broker under load, in large. Ends at the first round that lost, doubled or
reordered something."""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
KIT: Final = ROOT / "tests/e2e"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=0.0, help="go on for so long, whatever --cycles says")
    parser.add_argument("--only", help="daemon, broker, both or points, instead of all in turn")
    parser.add_argument("--seed", type=int, help="of the first round; a random one if it is not given")
    asked = parser.parse_args()
    command = [sys.executable, "-m", "machines.killloop", f"--cycles={asked.cycles}", f"--minutes={asked.minutes}"]
    if asked.only:
        command.append(f"--only={asked.only}")
    if asked.seed is not None:
        command.append(f"--seed={asked.seed}")
    env = {**os.environ, "PYTHONPATH": str(KIT)}
    return subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
