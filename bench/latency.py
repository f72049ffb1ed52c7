"""From `send` to the recipient's signed `stored` being on the sender's disk: two daemons and a broker on this machine.

Every commit is an fsync, and what an fsync costs is the disk's affair. So three things are told: the whole time, how
many commits lie in sequence in it, and what remains without them. The number of commits in sequence is measured, not
counted in the source: each fsync is delayed by a known time (strace), and the whole time grows by that many delays.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import apsw

from bench.figures import Figure
from bench.machines import Pair, ask, two_machines

MESSAGES: Final = 600
WARM: Final = 50
COMMITS: Final = 300
COMMITS_LIMIT: Final = 5.0
OUTSIDE_AIM_MS: Final = 3.0
DELAYS_MS: Final = (20, 60)
DELAYED: Final = 7
TEXT: Final = b"The build is green since noon; 412 tests, none skipped. Shall I merge?"


def measure_latency(bin_folder: Path, pair: Pair, folder: Path) -> list[Figure]:
    """p50 and p99 of one message at a time, beside the disk's commit in the same folder, measured in turn."""
    commit = _committer(folder / "commit.db")
    times: list[float] = []
    commits: list[float] = []
    for number in range(WARM + MESSAGES):
        took = _send(pair)
        if number >= WARM:
            times.append(took)
            if len(commits) < COMMITS:
                commits.append(commit())
    one_commit = median(commits)
    centiles = quantiles(times, n=100)
    in_sequence, control = _commits_in_sequence(bin_folder, folder)
    against = "one commit with fsync"
    figures = [
        Figure("message stored and receipt back, p50", centiles[49], "ms", one_commit, against),
        Figure(
            "message stored and receipt back, p99", centiles[98], "ms", quantiles(commits, n=100)[98], f"{against}, p99"
        ),
    ]
    if in_sequence is None or control is None:
        return figures
    outside = centiles[49] - in_sequence * one_commit
    note = f"aim {OUTSIDE_AIM_MS:g} ms: {'reached' if outside <= OUTSIDE_AIM_MS else 'not reached'}"
    return [
        *figures,
        Figure(
            "commits in sequence",
            in_sequence,
            "commits",
            control,
            "the same method at one commit",
            COMMITS_LIMIT + 0.3,  # what the method's own error may add: DELAYED runs, one of them disturbed
            "value",
            note=f"at most {COMMITS_LIMIT:g}; growth of the time by the delay of each fsync",
        ),
        Figure("time outside the commits, p50", outside, "ms", one_commit, against, note=note),
    ]


def _send(pair: Pair) -> float:
    """Milliseconds of one message to ben, until ann's daemon has his receipt."""
    began = time.perf_counter()
    answer = ask(pair.to_ann, "message.send", {"to": "ben", "wait": "stored", "timeout": 10.0}, TEXT)
    took = (time.perf_counter() - began) * 1000
    if not answer["reached"]:
        raise RuntimeError(f"a message was not stored in time: {answer['state']!r}")
    return took


def _committer(path: Path) -> Callable[[], float]:
    """One durable commit of a row the size of a sealed message, as the daemons do it; milliseconds."""
    db = apsw.Connection(str(path))
    db.pragma("journal_mode", "wal")
    db.pragma("synchronous", "full")
    db.execute("create table kept (row integer primary key, value blob)")

    def commit() -> float:
        began = time.perf_counter()
        db.execute("insert into kept (value) values (?)", (bytes(900),))
        return (time.perf_counter() - began) * 1000

    return commit


def _commits_in_sequence(bin_folder: Path, folder: Path) -> tuple[float | None, float | None]:
    """The commits on the way of a message, and what the method says of a lone commit; None without strace."""
    if sys.platform != "linux" or shutil.which("strace") is None:
        return None, None
    waits, lone = [], []
    for delay in DELAYS_MS:
        tracer = [
            *("strace", "--follow-forks", "--seccomp-bpf", "--quiet=all", "--output=/dev/null"),
            *("--trace=fsync,fdatasync", f"--inject=fsync,fdatasync:delay_enter={delay}ms"),
        ]
        with two_machines(bin_folder, folder / f"delay-{delay}", tracer) as pair:
            _send(pair)
            waits.append(median(_send(pair) for _ in range(DELAYED)))
        lone.append(_lone_commit(tracer, folder / f"lone-{delay}.db"))
    step = DELAYS_MS[1] - DELAYS_MS[0]
    return (waits[1] - waits[0]) / step, (lone[1] - lone[0]) / step


def _lone_commit(tracer: list[str], path: Path) -> float:
    code = (
        "from statistics import median; from pathlib import Path; import sys\n"
        "from bench.latency import _committer\n"
        f"commit = _committer(Path(sys.argv[1])); commit()\nprint(median(commit() for _ in range({DELAYED})))"
    )
    done = subprocess.run(
        [*tracer, sys.executable, "-c", code, str(path)],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return float(done.stdout)
