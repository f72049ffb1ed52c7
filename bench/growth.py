"""What a broker accepts a second, and whether that depends on how many devices it has and how much lies there."""

import random
import sqlite3
import sys
import time
from pathlib import Path
from typing import Final

import trio

from bench.connections import hold_devices
from bench.crowd import Crowd, make_crowd
from bench.figures import Figure
from bench.idle import resident_mib
from bench.machines import Program, allow_files, start
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.wire.rpc import Params

SENT: Final = 8_000
SIZES: Final = (1, 10, 100, 1000)
ALL_ROWS: Final = 1_000_000
OWN_ROWS: Final = 99_000
DRAINED: Final = 5_000
HELD: Final = 5_000
STORM: Final = 1_000
RAISED: Final = {
    "member_rate": 5000, "member_burst": 5000, "connects_burst": 10_000, "hello_burst": 10_000, "append_burst": 1000,
    "mailbox_rows": 100_000, "member_share": 1, "connections": 6000,
}  # fmt: skip
"""The broker's limits that this bench raises."""


def start_broker(bin_folder: Path, folder: Path, listen: str = "127.0.0.1:0") -> Program:
    limits = [word for name, number in RAISED.items() for word in ("--limit", f"{name}={number}")]
    argv = [str(bin_folder / "mesh-broker"), "run", "--listen", listen, "--data", str(folder / "data"), *limits]
    return start("broker", argv, folder)


def measure_growth(bin_folder: Path, folder: Path) -> list[Figure]:
    """Durable accepts a second: with more and more devices, and with a million envelopes in all mailboxes."""
    home = folder / "growth"
    broker = start_broker(bin_folder, home)
    url = broker.line.rpartition(" ")[2]
    figures: list[Figure] = []
    try:
        crowd = trio.run(make_crowd, url, SIZES[0])
        first = 0.0
        for size in SIZES:
            trio.run(crowd.grow, size)
            rate = SENT / trio.run(crowd.send, SENT + size, crowd.devices)
            first = first or rate
            figures.append(
                Figure(f"broker, durable accepts, {size} devices", rate, "/s", first, "the same with one device")
            )
        broker.stop()
        began = time.monotonic()
        broker = start_broker(bin_folder, home, url.rpartition("/")[2])
        empty = time.monotonic() - began
        broker.stop()
        fill(home / "data" / "broker.db", crowd)
        began = time.monotonic()
        broker = start_broker(bin_folder, home, url.rpartition("/")[2])
        started = time.monotonic() - began
        figures.append(
            Figure("broker, start with 1,000,000 rows", started, "s", empty, "the same before", 5.0, "value")
        )
        rate = SENT / trio.run(crowd.send, SENT, crowd.devices)
        figures.append(Figure("broker, durable accepts, 1,000,000 rows", rate, "/s", first, "the same with one device"))
        drained = DRAINED / trio.run(crowd.drain, 0, DRAINED)
        figures.append(
            Figure("broker, handed over of a mailbox of 99,000", drained, "/s", rate, "accepts with a million rows")
        )
    finally:
        broker.stop()
    return figures


def fill(database: Path, crowd: Crowd) -> None:
    """Lay a million envelopes into the mailboxes of a broker that does not run, a tenth of them into the first."""
    with sqlite3.connect(database) as db:
        db.execute("PRAGMA synchronous=OFF")
        boxes = dict(db.execute("SELECT id, no FROM device"))
        places = [boxes[device] for device in crowd.devices]
        lots = [OWN_ROWS, *([(ALL_ROWS - OWN_ROWS) // (len(places) - 1)] * (len(places) - 1))]
        for place, wanted in zip(places, lots, strict=True):
            start, there = db.execute("SELECT next_mseq, mail_rows FROM device WHERE no=?", (place,)).fetchone()
            count = max(1, wanted - there)
            db.execute(
                "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)"
                " INSERT INTO mail (device, lane, mseq, sender, member, expires_ms, size, envelope)"
                " SELECT ?2, 1, ?3 + i, ?4, x'00', 1 << 45, 200, randomblob(200) FROM n",
                (count, place, start, places[1]),
            )
            db.execute(
                "UPDATE device SET next_mseq = next_mseq + ?1, mail_rows = mail_rows + ?1, mail_bytes = mail_bytes + 200 * ?1"
                " WHERE no = ?2",
                (count, place),
            )
    db.close()


def measure_storm(bin_folder: Path, folder: Path) -> list[Figure]:
    """Five thousand idle connections, and a thousand that come back at once after the broker died."""
    if sys.platform != "linux":
        return []
    allow_files()
    broker = start_broker(bin_folder, folder / "held")
    try:
        url = broker.line.rpartition(" ")[2]
        empty, full = trio.run(hold_devices, url, HELD, lambda: resident_mib(broker.pid))
    finally:
        broker.stop()
    home = folder / "storm"
    broker = start_broker(bin_folder, home)
    try:
        url = broker.line.rpartition(" ")[2]
        crowd = trio.run(make_crowd, url, STORM)
        alone = trio.run(_all_current, crowd, 1)
        broker.stop()
        broker = start_broker(bin_folder, home, url.rpartition("/")[2])
        storm = trio.run(_all_current, crowd, STORM)
    finally:
        broker.stop()
    return [
        Figure(
            f"broker, {HELD} idle connections", full, "MiB", empty, "the broker alone",
            note=f"{(full - empty) * 1024 / HELD:.1f} KiB each, every device in a mesh of its own",
        ),
        Figure(f"reconnect storm of {STORM}, until all are current", storm, "s", alone, "one alone", 30.0, "value"),
    ]  # fmt: skip


async def _all_current(crowd: Crowd, count: int) -> float:
    """Seconds until `count` devices have connected, said hello, read the chain's end and resumed their mailboxes."""
    done, chance = trio.Event(), random.Random(count)
    left = count

    async def one(number: int) -> None:
        nonlocal left
        while True:  # as a daemon does, with full jitter
            try:
                async with crowd.entered(number) as greeting:
                    params: Params = {"mesh": crowd.mesh, "acked": 0, "sacks": []}
                    await greeting.connection.call("mail.resume", params, seconds=60)
                    left -= 1
                    if not left:
                        done.set()
                    await trio.sleep_forever()
            except* LinkClosed:
                await trio.sleep(chance.uniform(0, 2))

    began = time.monotonic()
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)
        with trio.fail_after(300):
            await done.wait()
        took = time.monotonic() - began
        nursery.cancel_scope.cancel()
    return took
