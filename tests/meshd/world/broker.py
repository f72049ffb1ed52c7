"""A broker of the world: the real one, in this process, writing in the event loop."""

from pathlib import Path

import trio

from mesh_broker.app import Broker
from mesh_broker.client import PeerInfo
from mesh_broker.floor import Space
from mesh_broker.limits import Limits
from mesh_broker.log import Log
from mesh_broker.store.schema import APPLICATION_ID, MIGRATIONS
from mesh_broker.store.sqlite import SqliteStore
from mesh_protocol.io.memory import MemoryLink
from mesh_protocol.io.sqlite import Database, InlineWorker
from mesh_protocol.keys import SigningKey
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
        self.broker: Broker
        self.database: Database
        self._folder = folder
        self._rng = rng
        self._key = SigningKey.from_seed(rng(32))
        self._outer = nursery
        self._inner: trio.Nursery | None = None
        self._ended = trio.Event()

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
        await self._ended.wait()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def answer(self, link: MemoryLink) -> None:
        """Serve one connection."""
        assert self._inner is not None
        self._inner.start_soon(self.broker.serve, link, self.peer)

    async def _live(self, task_status: "trio.TaskStatus[None]") -> None:
        self._ended = trio.Event()
        self.database = Database(
            self._folder / "broker.db", application_id=APPLICATION_ID, migrations=MIGRATIONS, worker=InlineWorker()
        )
        try:
            self.broker = Broker(
                SqliteStore(self.database),
                key=self._key,
                token=TOKEN,
                clock=self.clock,
                rng=self._rng,
                limits=self.limits,
                log=Log(self.log.append, self.clock),
                measure=lambda: self.space,
            )
            async with trio.open_nursery() as nursery:
                self._inner = nursery
                nursery.start_soon(self.broker.run)
                task_status.started()
        finally:
            self._inner = None
            self.database.close()
            self._ended.set()
