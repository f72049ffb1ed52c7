"""`make bench`: measures, prints a table, writes bench/results.json, and ends with 1 when a limit is broken."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bench.chain import measure_chain
from bench.claude import measure_claude
from bench.commands import measure_commands
from bench.crypto import measure_crypto
from bench.figures import Figure, describe_machine, write_results, write_table
from bench.growth import measure_growth, measure_storm
from bench.idle import measure_connections, measure_idle
from bench.install import install
from bench.latency import measure_latency
from bench.load import measure_load
from bench.machines import two_machines
from bench.proxy import measure_proxy
from bench.record import measure_record
from bench.relay import measure_relay
from bench.removals import measure_removals
from bench.starts import measure_starts

T = TypeVar("T")
RESULTS = Path(__file__).parent / "results.json"


def main() -> int:
    """Run everything. Returns the exit status."""
    began = time.monotonic()
    bin_folder = _told("installing the wheel into .venv-bench", install)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="meshd-bench-") as name:
        folder = Path(name)
        version = subprocess.check_output([bin_folder / "python", "-VV"], text=True).strip()
        machine = describe_machine(folder, version)
        figures += _told("starts", lambda: measure_starts(bin_folder, folder))
        with two_machines(bin_folder, folder / "pair") as pair:
            figures += _told("commands", lambda: measure_commands(bin_folder, pair))
            figures += _told("relay", lambda: measure_relay(bin_folder, pair, folder))
            figures += _told("idle", lambda: measure_idle(bin_folder, pair, folder))
            figures += _told("latency", lambda: measure_latency(bin_folder, pair, folder))
        figures += _told("claude code", lambda: measure_claude(bin_folder))
        figures += _told("api proxy", lambda: measure_proxy(bin_folder, folder / "proxy"))
        figures += _told("a million requests", lambda: measure_record(bin_folder, folder / "proxy"))
        figures += _told("sealing and opening", measure_crypto)
        figures += _told("a chain of 10,000", measure_chain)
        figures += _told("a removal among 1,000", lambda: measure_removals(bin_folder, folder / "removals"))
        figures += _told("a hundred devices", lambda: measure_load(bin_folder, folder / "load", 100, 1000))
        figures += _told("two devices", lambda: measure_load(bin_folder, folder / "two", 2, 2000))
        figures += _told("growth", lambda: measure_growth(bin_folder, folder))
        figures += _told("storm", lambda: measure_storm(bin_folder, folder))
        figures += _told("connections", lambda: measure_connections(bin_folder, folder))
    print(f"\n{write_table(figures)}\n")
    for each in figures:
        if each.note:
            print(f"{each.name}: {each.note}")
    write_results(RESULTS, machine, figures)
    print(f"\n{RESULTS.relative_to(Path.cwd()) if RESULTS.is_relative_to(Path.cwd()) else RESULTS} written")
    print(f"{time.monotonic() - began:.0f} s; load at the start {machine['load_at_start']}")
    broken = [each for each in figures if not each.kept]
    for each in broken:
        print(
            f"limit broken: {each.name} is {each.value:.3g} {each.unit}, ratio {each.ratio:.2f}, limit {each.limit_text}",
            file=sys.stderr,
        )
    return 1 if broken else 0


def _told(name: str, work: Callable[[], T]) -> T:
    """Do `work` behind a line that says so."""
    print(f"{name} … ", end="", flush=True)
    began = time.monotonic()
    done = work()
    print(f"{time.monotonic() - began:.0f} s", flush=True)
    return done


if __name__ == "__main__":
    sys.exit(main())
