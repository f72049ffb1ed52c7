"""`mesh mcp`, which Claude Code starts for every session: from spawn to the answer of `initialize`, and its memory."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from bench.figures import Figure
from bench.idle import resident_mib
from bench.install import environment
from bench.machines import Pair

ROUNDS: Final = 40
MEMORY_LIMIT_MIB: Final = 12.0
LOOP: Final = """\
import json
import sys

for line in sys.stdin:
    request = json.loads(line)
    if request.get("method") == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)
"""
"""The least that a server on the standard library can be."""
INITIALIZE: Final = (
    json.dumps(
        {
            "jsonrpc": "2.0",
            "id": 0,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {"roots": {}},
                "clientInfo": {"name": "bench", "version": "1"},
            },
        }
    ).encode()
    + b"\n"
)


def measure_relay(bin_folder: Path, pair: Pair, folder: Path) -> list[Figure]:
    """The relay against the bare loop, in turn."""
    loop = folder / "loop.py"
    loop.write_text(LOOP, encoding="utf-8")
    env = environment(pair.ann_home)
    programs = {
        "relay": [str(bin_folder / "mesh"), "mcp"],
        "loop": [str(bin_folder / "python"), str(loop)],
    }
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    memory: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(ROUNDS + 1):
        for name in programs if number % 2 else reversed(programs):
            one_took, one_mib = _open_and_close(programs[name], env)
            if number:
                seconds[name].append(one_took)
                memory[name].append(one_mib)
    took = {name: median(each) * 1000 for name, each in seconds.items()}
    figures = [Figure("mesh mcp, spawn to initialize", took["relay"], "ms", took["loop"], "a loop with json", 1.0)]
    if sys.platform == "linux":
        mib = {name: median(each) for name, each in memory.items()}
        figures.append(
            Figure("mesh mcp, memory", mib["relay"], "MiB", mib["loop"], "a loop with json", MEMORY_LIMIT_MIB, "value")
        )
    return figures


def _open_and_close(argv: Sequence[str], env: Mapping[str, str]) -> tuple[float, float]:
    """Seconds from spawn to the whole answer, and resident MiB then."""
    began = time.perf_counter()
    process = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipes")
        process.stdin.write(INITIALIZE)
        process.stdin.flush()
        answer = process.stdout.readline()
        seconds = time.perf_counter() - began
        if json.loads(answer)["result"]["protocolVersion"] != "2025-11-25":
            raise RuntimeError(f"{argv[0]} answered {answer!r}")
        return seconds, resident_mib(process.pid)
    finally:
        process.communicate(timeout=10)
