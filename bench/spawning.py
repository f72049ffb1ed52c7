"""How long programs take from spawn to exit: many runs, interleaved, so that what the machine does meanwhile hits all alike."""

import gc
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


class RunFailed(Exception):
    """A measured program did not do its work, so that its time means nothing."""


@dataclass(frozen=True, slots=True)
class Program:
    """`before` runs outside the time; the output must contain `says`."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    stdin: bytes = b""
    says: bytes = b""
    before: Callable[[], None] | None = None


def time_programs(programs: Sequence[Program], rounds: int) -> dict[str, float]:
    """Seconds of each program: the median of `rounds` runs, in turn, the first round not counted."""
    taken: dict[str, list[float]] = {each.name: [] for each in programs}
    with tempfile.TemporaryDirectory(prefix="meshd-spawn-") as folder:
        place = Path(folder)
        for number in range(rounds + 1):
            for step in range(len(programs)):
                program = programs[(number + step) % len(programs)]
                seconds = _run(program, place)
                if number:
                    taken[program.name].append(seconds)
    return {name: median(times) for name, times in taken.items()}


def _run(program: Program, place: Path) -> float:
    if program.before is not None:
        program.before()
    stdin, stdout, stderr = place / "in", place / "out", place / "err"
    stdin.write_bytes(program.stdin)
    create = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, str(stdin), os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(stdout), create, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, str(stderr), create, 0o600),
    ]
    gc.disable()
    try:
        began = time.perf_counter()
        pid = os.posix_spawn(program.argv[0], [*program.argv], program.env, file_actions=actions)
        _, status = os.waitpid(pid, 0)
        seconds = time.perf_counter() - began
    finally:
        gc.enable()
    said = stdout.read_bytes()
    if status or program.says not in said:
        code = os.waitstatus_to_exitcode(status)
        raise RunFailed(f"{program.name} ended with {code} and said {said[:200]!r} {stderr.read_bytes()[:400]!r}")
    return seconds
