"""Very many alterations of every signed object: `python tools/run_mutants.py` runs this in several processes.

Three of ten are systematic alterations or parts of other objects, drawn at random; the others are one to four random
edits, or such edits of a systematic one. Ends at the first that is accepted, or that raises anything but a refusal.
"""

import argparse
import random
import sys
import time
from collections import Counter
from typing import NamedTuple

from member_targets import all_targets
from mesh_mutations import cross_mutants, mutants, random_mutant
from mesh_protocol.keys import CryptoError
from mesh_targets import Target

REPORT_S = 10.0


class Found(NamedTuple):
    """Bytes that were not refused as they must be."""

    name: str
    what: str
    data: bytes


class Run:
    """One process's share; the same seed gives the same alterations."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)
        self.targets = all_targets()
        self.systematic = {
            name: [data for _, data in (*mutants(target), *cross_mutants(target, self.targets))]
            for name, target in self.targets.items()
        }
        self.counts: Counter[str] = Counter()

    def step(self) -> Found | None:
        """One alteration; what is wrong with it, if anything."""
        name = self.source.choice(list(self.targets))
        target = self.targets[name]
        data = self.alter(name, target)
        if data == target.good:
            return None
        self.counts[name] += 1
        try:
            target.check(data)
        except CryptoError:
            return None
        except Exception as error:
            return Found(name, f"raised {type(error).__name__}", data)
        return Found(name, "was accepted", data)

    def alter(self, name: str, target: Target) -> bytes:
        chosen = self.source.randrange(10)
        if chosen < 7:
            return random_mutant(self.source, target)
        data = self.source.choice(self.systematic[name])
        if chosen == 7:
            return random_mutant(self.source, Target(data or b"\0", target.other, target.foreign, target.check))
        return data


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    asked = parser.parse_args()
    run = Run(asked.seed)
    began = said = time.monotonic()
    while run.counts.total() < asked.count:
        found = run.step()
        if found is not None:
            print(f"seed {asked.seed}: an altered {found.name} {found.what}: {found.data.hex()}", flush=True)
            return 1
        if time.monotonic() - said >= REPORT_S:
            said = time.monotonic()
            done = run.counts.total()
            print(f"seed {asked.seed}: {done:,} of {asked.count:,}, {done / (said - began):,.0f} a second", flush=True)
    least = run.counts.most_common()[-1]
    print(
        f"seed {asked.seed}: {run.counts.total():,} alterations of {len(run.targets)} objects refused, "
        f"at least {least[1]:,} of each ({least[0]})",
        flush=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
