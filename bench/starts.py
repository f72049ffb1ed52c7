"""How long the long-running programs take until they serve."""

import time
from pathlib import Path
from statistics import median
from typing import Final

from bench.figures import Figure
from bench.install import environment
from bench.machines import Program, start_broker, start_daemon
from bench.spawning import Program as Command
from bench.spawning import time_programs

ROUNDS: Final = 9
DAEMON_LIMIT_S: Final = 0.5
BROKER_LIMIT_S: Final = 0.4
IMPORTS: Final = {
    "daemon": "import trio, apsw, msgspec, msgpack, nacl.bindings, cryptography.hazmat.primitives.ciphers.aead",
    "broker": "import trio, apsw, msgspec, httptools, websockets.server, nacl.bindings",
}
"""What each cannot start without: the libraries it stands on."""


def measure_starts(bin_folder: Path, folder: Path) -> list[Figure]:
    """`meshd run` and `mesh-broker run`, from spawn to their line that they are ready, in a home that exists."""
    taken: dict[str, list[float]] = {"daemon": [], "broker": []}
    for number in range(ROUNDS + 1):
        for name, start in (("daemon", start_daemon), ("broker", start_broker)):
            program: Program = start(bin_folder, folder / f"start-{name}")
            program.stop()
            if number:  # the first one makes keys and database
                taken[name].append(program.ready_s)
            time.sleep(0.05)
    python, env = str(bin_folder / "python"), environment()
    imports = time_programs([Command(name, [python, "-c", code], env) for name, code in IMPORTS.items()], ROUNDS)
    daemon, broker = median(taken["daemon"]), median(taken["broker"])
    against = "importing its libraries"
    return [
        Figure("meshd run, to ready", daemon, "s", imports["daemon"], against, DAEMON_LIMIT_S, "value"),
        Figure("mesh-broker run, to ready", broker, "s", imports["broker"], against, BROKER_LIMIT_S, "value"),
    ]
