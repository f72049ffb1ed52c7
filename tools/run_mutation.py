"""Puts small faults into the modules of cryptography, codec and chain, one at a time, and asks their tests to notice.

Prints each module's share that was noticed and the CPU seconds of its suite, and the faults that nobody noticed. Ends
with 1 when a module is below --least. What may live and why stands in docs/crypto-tests.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mutation_operators import Mutant, make_mutants
from mutation_suites import LEFT_OUT, SUITES

ROOT: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one module's mutants: each survivor as `line: what`."""

    module: str
    mutants: int
    survivors: tuple[str, ...]
    suite_s: float

    @property
    def percent(self) -> float:
        return 100 * (self.mutants - len(self.survivors)) / self.mutants if self.mutants else 100.0


def judge_module(module: str, every: int) -> Outcome:
    """Run here, in a process of its own: imports pytest, but nothing of ours before the forks."""
    import pytest

    from mutation_session import Session, Target, judge_by_import, run_forked

    path = ROOT / "protocol/mesh_protocol" / (module.replace(".", "/") + ".py")
    target = Target(f"mesh_protocol.{module}", path, SUITES[module], LEFT_OUT)
    mutants = list(make_mutants(path.read_text(encoding="utf-8"), str(path)))[::every]
    with tempfile.TemporaryDirectory(prefix="meshd-mutation-") as folder:
        told = Path(folder) / "told.json"
        session = Session(target, mutants, told)
        run_forked(lambda: int(pytest.main(target.arguments, plugins=[session])), limits=False)
        if not told.exists():
            raise SystemExit(f"the suite of {module} does not pass: {' '.join(target.tests)}")
        first = json.loads(told.read_text())
    survivors = []
    for mutant in mutants:
        if first["verdicts"].get(str(mutant.number)) == "killed":
            continue
        if judge_by_import(target, mutant) == "survived":
            survivors.append(_describe(mutant))
    return Outcome(module, len(mutants), tuple(survivors), first["seconds"])


def _describe(mutant: Mutant) -> str:
    return f"{mutant.line}: {mutant.what}" + (f" in {mutant.function}" if mutant.function else "")


def judge_apart(module: str, every: int) -> Outcome | None:
    """`judge_module` in a fresh process; None, after saying why, when the suite fails without any fault."""
    command = [sys.executable, str(Path(__file__)), "--one", module, "--every", str(every)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        print(f"{module}: {done.stdout[-2000:]}{done.stderr[-2000:]}".rstrip(), file=sys.stderr)
        return None
    said = json.loads(done.stdout.splitlines()[-1])
    return Outcome(module, said["mutants"], tuple(said["survivors"]), said["suite_s"])


def tell(outcome: Outcome) -> None:
    killed = outcome.mutants - len(outcome.survivors)
    print(
        f"{outcome.module:18} {killed:4} of {outcome.mutants:4}  {outcome.percent:5.1f} %  suite {outcome.suite_s:.2f} s",
        flush=True,
    )
    for each in outcome.survivors:
        print(f"    {outcome.module}:{each}", flush=True)


def run_all(modules: Sequence[str], processes: int, every: int, least: float) -> int:
    mutants = survivors = 0
    low = []
    with ThreadPoolExecutor(processes) as pool:
        for module, outcome in zip(modules, pool.map(lambda module: judge_apart(module, every), modules), strict=True):
            if outcome is None:
                low.append(module)
                continue
            tell(outcome)
            mutants += outcome.mutants
            survivors += len(outcome.survivors)
            if outcome.percent < least:
                low.append(outcome.module)
    if mutants:
        print(f"{mutants - survivors} of {mutants} faults noticed, {100 * (mutants - survivors) / mutants:.1f} %")
    if low:
        print(f"below {least:g} %: {', '.join(low)}", file=sys.stderr)
    return 1 if low else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help="such as pae or wire.codec; all of them by default")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--every", type=int, default=1, help="only each n-th fault")
    parser.add_argument("--least", type=float, default=90.0, help="percent of a module's faults to be noticed")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        outcome = judge_module(asked.one, asked.every)
        said = {"mutants": outcome.mutants, "survivors": outcome.survivors, "suite_s": outcome.suite_s}
        print(json.dumps(said))
        return 0
    return run_all(asked.modules or list(SUITES), asked.processes, asked.every, asked.least)


if __name__ == "__main__":
    sys.exit(main())
