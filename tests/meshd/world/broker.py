"""A broker of the world: the real one, in this process, writing in the event loop."""

from pathlib import Path

import apsw
import trio

from mesh_broker.app import Broker
from mesh_broker.client import PeerInfo
from mesh_broker.floor import Space
from mesh_broker.limits import Limits
from mesh_broker.log import Log
from mesh_broker.store.schema import APPLICATION_ID, MIGRATIONS
from mesh_broker.store.sqlite import SqliteStore
from mesh_protocol.crashpoints import Reached, unnoticed
from mesh_protocol.io.memory import MemoryLink
from mesh_protocol.io.sqlite import Database, InlineWorker
from mesh_protocol.keys import SigningKey
from world.network import hang_up
from world.power import PowerDisk
from world.seeds import SeededRng, WallClock

TOKEN = b"an admission token of at least 32 characters"


class BrokerHouse:
    """One broker's address, key, disk and clock; the broker itself comes and goes."""

    def __init__(self, folder: Path, url: str, rng: SeededRng, nursery: trio.Nursery, limits: Limits | None) -> None:
        self.url = url
        self.clock = WallClock()
        self.limits = limits or Limits()
        self.peer = PeerInfo("127.0.0.1", True)
        self.log: list[str] = []
        self.space = Space(10**12, 10**12)
        self.power: PowerDisk | None = None
        """The disk of its database, for stories in which it fails or the power does."""
        self.reached: Reached = unnoticed
        self.killed = False
        self.ended = trio.Event()
        """Set when it has ended."""
        self.broker: Broker
        self.database: Database
        self.path = folder / "broker.db"
        self._rng = rng
        self._key = SigningKey.from_seed(rng(32))
        self._outer = nursery
        self._inner: trio.Nursery | None = None
        self._links: list[MemoryLink] = []

    @property
    def running(self) -> bool:
        return self._inner is not None

    async def start(self) -> None:
        await self._outer.start(self._live)

    async def stop(self) -> None:
        """Its connections end at once, as when its process is killed; what it committed stays."""
        assert self._inner is not None
        inner, self._inner = self._inner, None
        inner.cancel_scope.cancel()
        await self.ended.wait()

    def kill(self) -> None:
        """SIGKILL, here and now, as `Machine.kill`."""
        assert self.power is not None
        self.killed = True
        if self.power.on:
            self.power.kill()
        for link in self._links:
            hang_up(link)
        if self._inner is not None:
            self._inner.cancel_scope.cancel()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def answer(self, link: MemoryLink) -> None:
        """Serve one connection."""
        assert self._inner is not None
        self._links.append(link)
        self._inner.start_soon(self.broker.serve, link, self.peer)

    async def _live(self, task_status: "trio.TaskStatus[None]") -> None:
        self.ended, self.killed = trio.Event(), False
        self.database = Database(
            self.path,
            application_id=APPLICATION_ID,
            migrations=MIGRATIONS,
            worker=InlineWorker(),
            vfs=self.power.name if self.power is not None else None,
            reached=lambda point: self.reached(point),
        )
        try:
            self.broker = Broker(
                SqliteStore(self.database, lambda point: self.reached(point)),
                key=self._key,
                token=TOKEN,
                clock=self.clock,
                rng=self._rng,
                limits=self.limits,
                log=Log(self._note, self.clock),
                measure=lambda: self.space,
                reached=lambda point: self.reached(point),
            )
            async with trio.open_nursery() as nursery:
                self._inner = nursery
                nursery.start_soon(self.broker.run)
                nursery.start_soon(self._watch)
                task_status.started()
        except Exception:
            if not self.killed:  # what a dead process met on its way out
                raise
        finally:
            self._inner = None
            self._links.clear()
            try:
                self.database.close()
            except apsw.Error:  # a disk that fails, or is off
                if self.power is None:
                    raise
            self.ended.set()

    async def _watch(self) -> None:
        """Its process ends with its database, as `mesh_broker.app.open_broker` does."""
        await self.database.failure.wait()
        self.killed = True
        assert self._inner is not None
        self._inner.cancel_scope.cancel()

    def _note(self, line: str) -> None:
        if not self.killed:
            self.log.append(line)
