"""`make soak`: daemons and a broker under steady messages, kills and a bad network, for a long time."""

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
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, help="a random one if it is not given")
    asked = parser.parse_args()
    command = [sys.executable, "-m", "machines.soak", f"--minutes={asked.minutes}"]
    if asked.seed is not None:
        command.append(f"--seed={asked.seed}")
    env = {**os.environ, "PYTHONPATH": str(KIT)}
    return subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
