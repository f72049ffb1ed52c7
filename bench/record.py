"""Questions to a record of a million requests."""

import subprocess
import time
from pathlib import Path
from statistics import median
from typing import Final

from bench.figures import Figure
from bench.machines import NotReady, ask, connect, start


def measure_record(bin_folder: Path, folder: Path, requests: int = 1_000_000) -> list[Figure]:
    """`usage --by day` over a million recorded requests of a year, asked of the daemon."""
    home = folder / "record"
    (home / "mesh").mkdir(parents=True, mode=0o700)
    argv = [str(bin_folder / "python"), "-c", _FILL, str(home / "mesh"), str(requests)]
    subprocess.run(argv, check=True, timeout=900, stdin=subprocess.DEVNULL)
    daemon = start("meshd", [str(bin_folder / "meshd"), "run"], home)
    try:
        with connect(home) as client:
            times: dict[str, list[float]] = {}
            for _ in range(15):
                for by in ("day", "model", "session"):
                    began = time.perf_counter()
                    answer = ask(client, "usage.show", {"by": by})
                    times.setdefault(by, []).append((time.perf_counter() - began) * 1000)
                    if answer["requests"] != requests:
                        raise NotReady(f"not {requests} requests in the answer")
    finally:
        daemon.stop()
    return [
        Figure(
            f"usage by {by}, a million requests",
            median(found),
            "ms",
            100.0,
            "the aim",
            1.0 if by == "day" else None,
        )
        for by, found in times.items()
    ]


_FILL: Final = """
import sys, time
from pathlib import Path
import apsw, msgspec
from meshd.services.proxy.schema import APPLICATION_ID, MIGRATIONS
from meshd.services.proxy.entries import Entry
from meshd.services.proxy.usage import Tokens
from meshd.services.proxy.store import add_entries
folder, count = Path(sys.argv[1]), int(sys.argv[2])
db = apsw.Connection(str(folder / "proxy.db"))
db.pragma("journal_mode", "wal")
db.pragma("synchronous", "off")
for script in MIGRATIONS:
    for _ in db.execute(script):
        pass
db.pragma("user_version", len(MIGRATIONS))
db.pragma("application_id", APPLICATION_ID)
begin = 1_732_000_000_000
models = ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"]
def entry(number):
    started = begin + number * 31_536
    session = number // 60
    return Entry(started_ms=started, day=time.strftime("%Y-%m-%d", time.gmtime(started / 1000)), account="key-1",
        client="claude-cli", session=f"{session:08x}-0000-4000-8000-000000000000", agent=f"a{number % 3}" if number % 5 == 0 else "",
        parent_agent="", source="header", model=models[number % 3], kind="turn", tokens=Tokens(10, 20, 30, 40, 50), cost=60,
        stop_reason="end_turn", tools=["Bash"] if number % 2 else [], status=200, outcome="complete", partial=False,
        unaccounted="", error="", first_byte_ms=1.0, first_token_ms=2.0, total_ms=3.0, request_id="req", message_id="msg",
        chain=[number.to_bytes(16, "little")], system=b"", continued=False, prompt=b"", started=[], windows=[])
for start in range(0, count, 20_000):
    with db:
        add_entries(db, [(number, entry(number)) for number in range(start, min(count, start + 20_000))])
db.close()
(folder / "proxy.db").chmod(0o600)
"""
