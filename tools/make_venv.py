"""Makes or updates the virtual environment that the Makefile runs everything in. Standard library only.

Says what it does in a line each, with the time it took; pip's own output is shown when it fails.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
NEEDED: Final = (3, 11)


class Failed(Exception):
    """A step did not work; the text holds what it said."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("venv", type=Path)
    parser.add_argument("--extra", default="", help="the optional dependencies to install too")
    options = parser.parse_args()
    if sys.version_info < NEEDED:
        print(
            f"{sys.executable} is Python {sys.version.split()[0]}; 3.11 or newer is needed: make PYTHON=…",
            file=sys.stderr,
        )
        return 1
    venv: Path = options.venv.absolute()
    target = f"{ROOT}[{options.extra}]" if options.extra else str(ROOT)
    try:
        if not works(venv):
            version = ".".join(map(str, sys.version_info[:3]))
            step(f"making {options.venv} (Python {version})", [sys.executable, "-m", "venv", "--clear", str(venv)])
        pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        step("installing meshd and what it needs (once; half a minute or so)", [*pip, "--editable", target])
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def works(venv: Path) -> bool:
    """Whether there is an environment whose interpreter still runs and is new enough."""
    check = f"import sys, pip; sys.exit(sys.version_info < {NEEDED})"
    try:
        return subprocess.run([venv / "bin" / "python", "-c", check], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def step(text: str, argv: list[str]) -> None:
    """Run `argv` behind a line that says so. Raises `Failed`."""
    print(f"{text} … ", end="", flush=True)
    began = time.monotonic()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        print("failed")
        raise Failed(f"{done.stdout}{done.stderr}\n{argv[0]} ended with {done.returncode}")
    print(f"{time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
