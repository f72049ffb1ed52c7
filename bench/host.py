"""A process that hosts several daemons, each with its own home, keys, database, socket and connection, for the load bench.

Spoken to by lines of JSON on standard input; each is answered by one line.
"""

import json
import os
import random
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import trio

from mesh_protocol.io.sqlite import ThreadWorker
from meshd.app import App, open_database
from meshd.config import Config, Limits
from meshd.hardening import Hardening
from meshd.keys.argon2 import stretch
from meshd.keys.keyring_backend import KeyringBackend
from meshd.keys.store import KeyStore
from meshd.mesh import Mesh
from meshd.outbox import Draft
from meshd.paths import prepare, resolve
from meshd.processes import ProcTable
from meshd.seams import Seams
from meshd.serving import take_identity
from meshd.targets import Recipient

T = TypeVar("T")
Json = dict[str, object]

AT_ONCE: Final = 16
"""Sends that a daemon's clients have under way at once."""
JOINS_AT_ONCE: Final = 4
PATIENCE_S: Final = 120.0


def now_ms() -> int:
    """Unix epoch milliseconds."""
    return time.time_ns() // 1_000_000


async def _in_thread(work: Callable[[], T]) -> T:
    return await trio.to_thread.run_sync(work)


@dataclass(slots=True, eq=False)
class Host:
    """The daemons of this process."""

    folder: Path
    names: Sequence[str]
    nursery: trio.Nursery
    apps: list[App] = field(default_factory=list)

    async def start(self) -> Json:
        """Start every daemon."""
        for name in self.names:
            self.apps.append(await self.nursery.start(self._live, name))
        return {}

    async def _live(self, name: str, task_status: "trio.TaskStatus[App]") -> None:
        where = resolve({"MESH_HOME": str(self.folder / name)}, sys.platform, os.geteuid())
        prepare(where)
        seams = Seams(clock=now_ms, rng=os.urandom, threads=_in_thread, worker=ThreadWorker)
        backend = KeyringBackend({}, os.geteuid(), sys.platform)
        keystore = KeyStore(where.keys, "file", backend, stretch, os.urandom)
        db = open_database(where.database, seams)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(where.run / "sock"))
        listener.listen()
        try:
            app = App(
                seams=seams,
                paths=where,
                config=Config(keys="file", limits=Limits(outbox_rows=1_000_000)),
                version="bench",
                hardening=Hardening(False, True, 0, 0o077, 1024, ()),
                keystore=keystore,
                processes=ProcTable(),
                started_ms=now_ms(),
            )
            app.take_identity = partial(take_identity, where, keystore, db)
            app.build(db, await take_identity(where, keystore, db, keystore.load()))
            task_status.started(app)
            await app.run(listener)
        finally:
            keystore.close()
            db.close()
            listener.close()

    async def new(self, url: str, invites: int) -> Json:
        """Make the mesh with the first daemon; links for the others."""
        app = self.apps[0]
        mesh = await app.making.make("load", self.names[0], url)
        with trio.fail_after(PATIENCE_S):
            while mesh.link.value != "online":
                await trio.sleep(0.02)
        link = await app.wait_link(mesh, PATIENCE_S)
        assert link is not None
        made = []
        for _ in range(invites):
            opened, _ = await link.membership.open_invite(mesh.row.broker_url, "member", now_ms() + 3_600_000)
            made.append(opened.url())
        return {"links": made}

    async def join(self, links: Sequence[str]) -> Json:
        """Let every daemon that is in no mesh join by a link."""
        places = trio.Semaphore(JOINS_AT_ONCE)

        async def one(app: App, name: str, link: str) -> None:
            async with places:
                await app.making.join(link, name)
                with trio.fail_after(PATIENCE_S):
                    while not all(mesh.active and mesh.link.value == "online" for mesh in app.node.meshes.values()):
                        await trio.sleep(0.02)

        outside = [(app, name) for app, name in zip(self.apps, self.names, strict=True) if not app.node.meshes]
        async with trio.open_nursery() as nursery:
            for (app, name), link in zip(outside, links, strict=True):
                nursery.start_soon(one, app, name, link)
        return {}

    async def know(self, count: int) -> Json:
        """Wait until every daemon has the chain with `count` members and every other's prekey."""
        with trio.fail_after(PATIENCE_S):
            while not all(len(self._mesh(app).state.members) == count for app in self.apps):
                await trio.sleep(0.05)
        return {}

    async def go(self, count: int, size: int, seed: int) -> Json:
        """Send `count` messages from each daemon to random others; then wait until every receipt is back."""
        cpu, began = time.process_time(), time.monotonic()
        async with trio.open_nursery() as nursery:
            for number, app in enumerate(self.apps):
                nursery.start_soon(self._send_all, app, count, size, random.Random(f"{seed} {number} {self.names[0]}"))
        sent_s = time.monotonic() - began
        await self._all_back(count)
        return {"seconds": time.monotonic() - began, "sent_s": sent_s, "cpu_s": time.process_time() - cpu}

    async def _send_all(self, app: App, count: int, size: int, chance: random.Random) -> None:
        mesh = self._mesh(app)
        state = mesh.state
        others = [device for device in state.devices if device != app.node.device]
        left = count
        text = "x" * size

        async def sender() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                device = chance.choice(others)
                recipient = Recipient("", state.devices[device].member_id, (device,), "")
                await app.outbox.send(Draft(mesh, [recipient], text, "agent", "", "next", b"", b"", "bench", ""))

        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(sender)

    async def _all_back(self, count: int) -> None:
        """Every message of every daemon has its receipt."""
        waiting = list(self.apps)
        while waiting:
            await trio.sleep(0.2)
            waiting = [app for app in waiting if _count(app, "delivery WHERE stored_ms>0") < count]

    async def facts(self) -> Json:
        """What the databases say."""
        accepted = [
            int(row[0])
            for app in self.apps
            for row in app.db.reader.execute("SELECT accepted_ms - queued_ms FROM delivery WHERE accepted_ms>0")
        ]
        return {
            "received": sum(_count(app, "inbox") for app in self.apps),
            "stored": sum(_count(app, "delivery WHERE stored_ms>0") for app in self.apps),
            "distinct": sum(
                _number(app, "SELECT count(DISTINCT from_device || msg_id) FROM inbox") for app in self.apps
            ),
            "accepted_ms": sorted(accepted),
            "peak_kib": _peak_kib(),
        }

    def _mesh(self, app: App) -> Mesh:
        return next(iter(app.node.meshes.values()))


def _count(app: App, rows: str) -> int:
    return _number(app, f"SELECT count(*) FROM {rows}")


def _number(app: App, query: str) -> int:
    found = app.db.reader.execute(query).get
    assert isinstance(found, int)
    return found


def _peak_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    return 0


async def main(folder: Path, names: Sequence[str]) -> None:
    """Answer commands until the input ends."""
    async with trio.open_nursery() as nursery:
        host = Host(folder, names, nursery)
        verbs = {each.__name__: each for each in (host.start, host.new, host.join, host.know, host.go, host.facts)}
        async with trio.lowlevel.FdStream(os.dup(0)) as lines:
            buffer = b""
            async for chunk in lines:
                buffer += chunk
                while b"\n" in buffer:
                    line, _, buffer = buffer.partition(b"\n")
                    verb, arguments = json.loads(line)
                    print(json.dumps(await verbs[verb](**arguments)), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), sys.argv[2:])
