"""A service manager that keeps a log, refuses what it is told to refuse, and starts what a unit names."""

import sys
from pathlib import Path

from mesh_clients.install import service

STAND_IN = """\
#!{python}
import os, pathlib, shlex, subprocess, sys
folder = pathlib.Path(__file__).parent
words = sys.argv[1:]
with (folder / "told").open("a") as told:
    told.write(" ".join(words) + "\\n")
if (folder / "refuses").exists() and (folder / "refuses").read_text() in words:
    sys.exit("Failed to do it:\\n no bus")
if "start" in words:
    unit = pathlib.Path({units!r}, words[-1]).read_text()
    lines = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)
    environment = {{"HOME": os.environ["HOME"]}} | dict(item.split("=", 1) for item in shlex.split(lines.get("Environment", "")))
    daemon = subprocess.Popen(
        shlex.split(lines["ExecStart"]), env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL, start_new_session=True,
    )
    sys.exit(daemon.stdout.readline() != b"meshd ready\\n")
"""


class Manager:
    """The stand-in `systemctl`; `told` is what it was told since it was last asked."""

    def __init__(self, folder: Path, units: Path) -> None:
        self.folder = folder
        self.units = units
        folder.mkdir()
        tool = folder / "systemctl"
        tool.write_text(STAND_IN.format(python=sys.executable, units=str(units)))
        tool.chmod(0o755)

    def told(self) -> list[str]:
        log = self.folder / "told"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def refuse(self, word: str) -> None:
        (self.folder / "refuses").write_text(word)


def unit_name(environ: dict) -> str:
    return service.find_service(environ, environ.get("MESH_HOME", ""), "linux").name
