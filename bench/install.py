"""A scratch environment with the wheel as a user would have it: not editable, byte-code compiled."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
VENV: Final = ROOT / ".venv-bench"


class InstallFailed(Exception):
    """pip did not do it; the text is what it said."""


def install() -> Path:
    """Build the wheel of this tree and install it into `.venv-bench`. Returns the folder of its programs."""
    if not (VENV / "bin" / "python").exists():
        _run([sys.executable, "-m", "venv", str(VENV)])
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory(prefix="meshd-wheel-") as folder:
        # The build backend lies in the environment too, so that a second run needs no registry.
        _run([*pip, "install", "hatchling>=1.27"])
        _run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, str(ROOT)])
        wheel = str(next(Path(folder).glob("*.whl")))
        _run([*pip, "install", wheel])
        _run([*pip, "install", "--no-deps", "--force-reinstall", wheel])
    compiled = [*VENV.glob("lib/python*/site-packages/mesh_clients/__pycache__/thin.*.pyc")]
    if not compiled:
        raise InstallFailed("the installed byte-code is missing: the figures would be of another program")
    return VENV / "bin"


def environment(home: Path | None = None) -> dict[str, str]:
    """What measured processes get: nothing that slows Python down, and a machine of their own at `home`."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ", "TMPDIR") if name in os.environ}
    if home is not None:
        kept |= {"HOME": str(home), "MESH_HOME": str(home / "mesh")}
    return kept


def _run(argv: list[str]) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InstallFailed(f"{' '.join(argv)}\n{done.stdout}{done.stderr}")
