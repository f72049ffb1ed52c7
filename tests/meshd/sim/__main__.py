"""`python -m sim run FIRST STEP COUNT SECONDS` makes histories and prints one JSON line for each; `python -m sim replay SEED
[FAULT,FAULT…]` prints one history, frame by frame, and what did not hold; `python -m sim short SEED` prints five minutes. tools/run_sim.py starts the first two."""

import json
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Final

from sim.crashes import DIED, REACHED
from sim.run import HOUR_S, run_seed

SHORT_S: Final = 300.0


def main(arguments: list[str]) -> int:
    match arguments:
        case ["run", first, step, count, seconds]:
            return run(int(first), int(step), int(count), float(seconds))
        case ["replay", seed]:
            return replay(int(seed), None)
        case ["short", seed]:
            return replay(int(seed), None, SHORT_S)
        case ["replay", seed, faults]:
            return replay(int(seed), frozenset(faults.split(",")))
    print(__doc__, file=sys.stderr)
    return 2


def run(first: int, step: int, count: int, seconds: float) -> int:
    """Seeds `first`, `first + step` and so on, `count` of them, or as many as `seconds` give."""
    ends = time.monotonic() + seconds
    for seed in range(first, first + step * count, step):
        if time.monotonic() > ends:
            break
        begun = time.process_time()
        said: dict[str, object] = {"seed": seed}
        try:
            outcome = run_seed(seed)
            said |= {"faults": outcome.faults, "counted": outcome.counted}
        except Exception as error:
            said |= {"failed": "; ".join(tell(error))}
        print(json.dumps({**said, "cpu_s": round(time.process_time() - begun, 2)}), flush=True)
    print(json.dumps({"reached": REACHED, "died": DIED}), flush=True)
    return 0


def replay(seed: int, faults: frozenset[str] | None, length_s: float = HOUR_S) -> int:
    """The history of one seed on standard output."""
    trace: list[str] = []
    try:
        outcome = run_seed(seed, faults=faults, trace=trace, length_s=length_s)
    except Exception as error:
        print("\n".join(trace))
        traceback.print_exception(error)
        print(f"seed {seed} failed:", *tell(error), sep="\n  ")
        return 1
    print("\n".join(trace))
    print(f"seed {seed} holds: {dict(outcome.counted)}")
    return 0


def tell(error: BaseException) -> Iterator[str]:
    """The causes, one line each."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from tell(each)
    else:
        cause = f" from {next(tell(error.__cause__))}" if error.__cause__ is not None else ""
        yield f"{type(error).__name__}: {error}{cause}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
