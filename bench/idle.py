"""What it costs to have the programs running and nothing to do: memory, wake-ups, a thousand connections."""

import sys
import time
from pathlib import Path
from typing import Final

import trio

from bench.connections import hold_devices, hold_streams
from bench.figures import Figure
from bench.machines import Pair, allow_files, start, start_broker

QUIET_S: Final = 60.0
"""Long enough for every timer of the daemon: presence every 30 s, sweeps every 60 s."""
CONNECTIONS: Final = 1000
BROKER_LIMIT_MIB: Final = 256 + 25 * CONNECTIONS / 1024
"""What a broker may take: 256 MiB and 25 KiB for each connection."""
SLEEPER: Final = """\
import trio

async def main():
    print("ready", flush=True)
    await trio.sleep_forever()

trio.run(main)
"""
HOLDER: Final = """\
import trio

async def hold(stream):
    await stream.receive_some(1)

async def main():
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, hold, 0)
        print("ready on", listeners[0].socket.getsockname()[1], flush=True)

trio.run(main)
"""


def resident_mib(pid: int) -> float:
    """Resident memory of a process; 0.0 where the system does not tell."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def wake_ups(pid: int) -> int:
    """How often the process's threads have gone to sleep so far, which is how often they were woken."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def measure_idle(bin_folder: Path, pair: Pair, folder: Path) -> list[Figure]:
    """Daemon and broker with two machines online and nothing sent, beside a trio program that sleeps."""
    if sys.platform != "linux":
        return []
    sleeper = start("sleeper", [str(bin_folder / "python"), "-c", SLEEPER], folder / "sleeper")
    try:
        watched = {"daemon": pair.ann.pid, "broker": pair.broker.pid, "sleeper": sleeper.pid}
        time.sleep(3)  # what was sent before comes to rest
        before = {name: wake_ups(pid) for name, pid in watched.items()}
        began = time.monotonic()
        time.sleep(QUIET_S)
        seconds = time.monotonic() - began
        rates = {name: (wake_ups(pid) - before[name]) / seconds for name, pid in watched.items()}
        memory = {name: resident_mib(pid) for name, pid in watched.items()}
    finally:
        sleeper.stop()
    against = "a trio program that sleeps"
    note = f"voluntary context switches of all its threads in {QUIET_S:.0f} s"
    # A sleeping trio program is woken less than once in the time: one wake-up in it stands for that.
    floor = max(rates["sleeper"], 1 / QUIET_S)
    return [
        Figure("daemon idle, memory", memory["daemon"], "MiB", memory["sleeper"], against, 60.0, "value"),
        Figure("daemon idle, wake-ups", rates["daemon"], "/s", floor, against, note=note),
        Figure("broker idle, wake-ups", rates["broker"], "/s", floor, against, note=note),
    ]


def measure_connections(bin_folder: Path, folder: Path) -> list[Figure]:
    """A broker's memory for a thousand devices that said hello and then wait, beside bare TCP connections in trio."""
    if sys.platform != "linux":
        return []
    allow_files()
    broker = start_broker(bin_folder, folder / "thousand")
    try:
        url = broker.line.rpartition(" ")[2]
        empty, full = trio.run(hold_devices, url, CONNECTIONS, lambda: resident_mib(broker.pid))
    finally:
        broker.stop()
    holder = start("holder", [str(bin_folder / "python"), "-c", HOLDER], folder / "holder")
    try:
        port = int(holder.line.rpartition(" ")[2])
        bare_empty, bare_full = trio.run(hold_streams, port, CONNECTIONS, lambda: resident_mib(holder.pid))
    finally:
        holder.stop()
    against = "bare TCP in trio"
    bare = (bare_full - bare_empty) * 1024 / CONNECTIONS
    each = (full - empty) * 1024 / CONNECTIONS
    note = f"{empty:.1f} MiB before them; each device in a mesh of its own"
    return [
        Figure(
            f"broker, {CONNECTIONS} idle connections", full, "MiB", bare_full, against, BROKER_LIMIT_MIB, "value", note
        ),
        Figure("broker, one idle connection", each, "KiB", bare, against),
    ]
