"""A broker to test, and the other side of its connections."""

import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import trio

from broker_kit.people import START_MS, Device, Mesh, new_mesh, seeded
from broker_kit.side import PATIENCE, CapturedLink, Side
from mesh_broker.app import Broker
from mesh_broker.client import PeerInfo
from mesh_broker.floor import Space
from mesh_broker.limits import Limits
from mesh_broker.listener import Listener, Network, open_sockets
from mesh_broker.log import Log
from mesh_broker.pages import StatusPages
from mesh_broker.store.interface import Store
from mesh_broker.store.schema import APPLICATION_ID, MIGRATIONS
from mesh_broker.store.sqlite import SqliteStore
from mesh_protocol.broker_api import (
    CHALLENGE,
    Challenge,
)
from mesh_protocol.io.link import Link
from mesh_protocol.io.memory import link_pair
from mesh_protocol.io.sqlite import Database, InlineWorker, ThreadWorker, Worker
from mesh_protocol.io.websocket import open_websocket
from mesh_protocol.keys import SigningKey
from mesh_protocol.op import read_answer

TOKEN = b"an admission token of at least 32 characters"


class HeldWorker(InlineWorker):
    """Writes when it is told to: what is between a request and its commit can be looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.held = False

    def kick(self) -> None:
        if not self.held:
            super().kick()

    def release(self) -> None:
        self.held = False
        super().kick()


class HandClock:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms


class SeededRng:
    """Bytes that look random and are the same each time."""

    def __init__(self, word: str) -> None:
        self._word = word
        self._count = 0

    def __call__(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            self._count += 1
            found += sha256(f"{self._word}{self._count}".encode()).digest()
        return found[:size]


@dataclass
class Stand:
    """A running broker. `connect` opens a connection to it, as many as you like."""

    broker: Broker
    database: Database
    clock: HandClock
    nursery: trio.Nursery
    log: list[str]
    space: list[Space]
    """What the disk shows: change its one item."""
    address: tuple[str, int] | None = None
    """Where the WebSocket is, if there is one."""
    headers: list[tuple[str, str]] = field(default_factory=list)
    """HTTP headers that connections to come send."""
    opened: list[trio.abc.AsyncResource] = field(default_factory=list)
    """Closed with the stand."""
    dials: trio.Nursery | None = None
    closing: trio.Event = field(default_factory=trio.Event)
    captured: list[bytes] | None = None
    """Every frame of connections made while this is a list."""

    async def link(self, peer: PeerInfo) -> Link:
        if self.address is not None:
            assert self.dials is not None
            link: Link = await self.dials.start(self._dial)
            return link
        near, far = link_pair()
        self.nursery.start_soon(self.broker.serve, far, peer)
        return near

    async def _dial(self, task_status: trio.TaskStatus[Link]) -> None:
        assert self.address is not None
        url = f"ws://{self.address[0]}:{self.address[1]}"
        async with open_websocket(url, None, headers=self.headers) as link:
            task_status.started(link)
            await self.closing.wait()

    async def connect(self, *, loopback: bool = True, address: str = "127.0.0.1") -> "Side":
        """A connection that has been challenged and has said nothing yet."""
        link = await self.link(PeerInfo(address, loopback))
        if self.captured is not None:
            link = CapturedLink(link, self.captured)
        side = Side(link)
        self.nursery.start_soon(side.run)
        side.challenge = read_answer(Challenge, (await side.heard(CHALLENGE)).params)
        return side

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        with trio.fail_after(PATIENCE):
            while not condition():
                await trio.lowlevel.checkpoint()

    async def enter(self, mesh: Mesh, device: Device, generation: int = 1) -> "Side":
        """A connection on which `device` has said hello."""
        side = await self.connect()
        await side.hello(mesh.id, device.key, generation=generation)
        return side

    async def create(self, owner: str | Device = "ann", word: str = "mesh", name: str = "team") -> "tuple[Mesh, Side]":
        """A new mesh, and its owner's connection."""
        device = owner if isinstance(owner, Device) else Device(owner)
        mesh = new_mesh(device, self.broker.public_key, word, name)
        side = await self.connect()
        await side.hello(mesh.id, device.key, create=mesh)
        return mesh, side


@asynccontextmanager
async def open_memory_stand(
    folder: Path,
    limits: Limits | None = None,
    worker: Worker | None = None,
    store: Callable[[Database], Store] = SqliteStore,
) -> AsyncIterator[Stand]:
    """A broker that writes in the event loop and is reached through memory."""
    async with _open_stand(folder, limits, worker or InlineWorker(), store) as stand:
        yield stand


@asynccontextmanager
async def open_websocket_stand(
    folder: Path,
    limits: Limits | None = None,
    *,
    proxies: Sequence[Network] = (),
    tls: ssl.SSLContext | None = None,
    inline: bool = False,
) -> AsyncIterator[Stand]:
    """A broker with its writer thread and its listener on a loopback port; the daemon's own WebSocket connects to it.

    With `inline` it writes in the event loop, so that time may be virtual.
    """
    async with _open_stand(folder, limits, InlineWorker() if inline else ThreadWorker("test-writer")) as stand:
        broker = stand.broker
        sockets = open_sockets("127.0.0.1", 0)
        listener = Listener(
            sockets,
            broker.serve,
            StatusPages(broker.store, broker.metrics, lambda: broker.storage_full).page,
            limits=broker.limits,
            metrics=broker.metrics,
            log=broker.log,
            proxies=proxies,
            tls=tls,
        )
        stand.nursery.start_soon(listener.run)
        stand.address = sockets[0].getsockname()
        async with trio.open_nursery() as stand.dials:
            try:
                yield stand
            finally:
                stand.closing.set()
                for stream in stand.opened:
                    await trio.aclose_forcefully(stream)


@asynccontextmanager
async def _open_stand(
    folder: Path, limits: Limits | None, worker: Worker, store: Callable[[Database], Store] = SqliteStore
) -> AsyncIterator[Stand]:
    database = Database(folder / "broker.db", application_id=APPLICATION_ID, migrations=MIGRATIONS, worker=worker)
    clock, log, space = HandClock(), list[str](), [Space(10**12, 10**12)]
    try:
        broker = Broker(
            store(database),
            key=SigningKey.from_seed(seeded("broker")),
            token=TOKEN,
            clock=clock,
            rng=SeededRng("broker"),
            limits=limits,
            log=Log(log.append, clock),
            measure=lambda: space[0],
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.run)
            yield Stand(broker, database, clock, nursery, log, space)
            nursery.cancel_scope.cancel()
    finally:
        database.close()
    assert not [line for line in log if '"level": "error"' in line], "an unexpected failure was logged"
