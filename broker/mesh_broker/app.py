"""The broker: wiring, one task tree, and the ways to run it inside something else.

It orders, keeps and forwards. What it is given is ciphertext, signed records and public keys; it has no key that opens
anything, and no operation that would need one.
"""

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import trio

from mesh_broker.accepting import Accepting
from mesh_broker.branches import Branches
from mesh_broker.chain import Chains
from mesh_broker.client import CLOSE_GOING_AWAY, CLOSE_POLICY, THIS_PROCESS, Client, PeerInfo
from mesh_broker.clock import steady
from mesh_broker.dispatch import Dispatcher
from mesh_broker.floor import Floor, Space
from mesh_broker.folder import held_folder
from mesh_broker.gate import Gate
from mesh_broker.invites import MAX_JOIN, Joins
from mesh_broker.keyfile import TOKEN_FILE, load_key, load_token
from mesh_broker.limits import Limits
from mesh_broker.link import BrokerLink, NearLink
from mesh_broker.live import MAX_LIVE_FRAME, LiveLane
from mesh_broker.log import Log, write_stderr
from mesh_broker.mail import Mailboxes
from mesh_broker.meetings import MAX_FRAME, Meetings
from mesh_broker.metrics import Metrics
from mesh_broker.prekeys import MAX_PREKEY, Prekeys
from mesh_broker.rates import MailRates
from mesh_broker.rooms import Rooms
from mesh_broker.store.interface import Store
from mesh_broker.store.schema import APPLICATION_ID, MIGRATIONS
from mesh_broker.store.sqlite import SqliteStore
from mesh_broker.sweep import Sweeper
from mesh_protocol.broker_api import (
    JoinAsk,
    JoinDrop,
    JoinList,
    LivePublish,
    LiveSubscribe,
    MailAck,
    MailFan,
    MailResume,
    MailSend,
    PrekeyAdd,
    PrekeyLeft,
    PrekeyPut,
    PrekeyTake,
    PrekeyWithdraw,
    Stats,
)
from mesh_protocol.broker_chain import ChainAppend, ChainBranch, ChainBranches, ChainRead, SealsAck, SealsRead
from mesh_protocol.broker_meeting import MeetOpen, MeetSay
from mesh_protocol.crashpoints import Reached, unnoticed
from mesh_protocol.envelope import MAX_ENVELOPE
from mesh_protocol.io.connection import Reply
from mesh_protocol.io.link import Link, LinkClosed
from mesh_protocol.io.memory import link_pair
from mesh_protocol.io.sqlite import Database, StorageFailed, ThreadWorker
from mesh_protocol.keys import SigningKey
from mesh_protocol.prekeys import BATCH_BYTES
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.framing import MAX_BODY
from mesh_protocol.wire.rpc import RequestReceived

DATABASE_FILE: Final = "broker.db"
DRAIN_SECONDS: Final = 5.0
DRAIN_POLL_SECONDS: Final = 0.01


class Broker:
    """One broker over a store.

    `clock` gives epoch milliseconds, `rng` random bytes, `measure` the space on the store's disk (None: not watched);
    `reached` is told where a test may end the process.
    Run `run` beside the calls of `serve`.
    """

    def __init__(
        self,
        store: Store,
        *,
        key: SigningKey,
        token: bytes,
        clock: Callable[[], int],
        rng: Callable[[int], bytes],
        limits: Limits | None = None,
        log: Log | None = None,
        measure: Callable[[], Space] | None = None,
        reached: Reached = unnoticed,
    ) -> None:
        self._reached = reached
        self.limits = limits or Limits()
        self.metrics = Metrics()
        self.log = log or Log(write_stderr, clock)
        self.clients: set[Client] = set()
        self.store = store
        self._key = key
        self._rng = rng
        self._draining = False
        self.floor = Floor(self.limits, measure)
        steady_clock = steady(clock, trio.current_time)
        self.rooms = Rooms(store, key, self.limits.kept_records)
        self._meetings = Meetings(self.limits, trio.current_time)
        self._gate = Gate(
            store,
            self.rooms,
            key,
            token,
            self.limits,
            self.metrics,
            self.log,
            clock,
            trio.current_time,
            rng,
            self.floor.require,
            self._meetings,
        )
        self._dispatcher = Dispatcher(self._gate.hello, self.limits, trio.current_time)
        self._add_handlers(store, steady_clock)
        self._sweeper = Sweeper(self.clients, store, self.limits, self.metrics, self.log, steady_clock, self.floor)
        self.metrics.gauge("connections", "connections that are open", lambda: len(self.clients))
        self.metrics.gauge(
            "devices_online", "sessions of devices", lambda: sum(len(room.sessions) for room in self.rooms)
        )
        self.metrics.gauge("storage_full", "1 while nothing new is taken", lambda: float(self.storage_full))

    def _add_handlers(self, store: Store, clock: Callable[[], int]) -> None:
        limits, metrics, now, require_room = self.limits, self.metrics, trio.current_time, self.floor.require
        answer = self._dispatcher.answer
        branches = Branches(store, limits, metrics, self._key.public, require_room)
        chains = Chains(store, limits, metrics, now, require_room, branches.settle)
        answer(ChainAppend, chains.append, max_body=MAX_BODY)
        answer(ChainRead, chains.read)
        answer(ChainBranch, branches.offer, max_body=MAX_BODY)
        answer(ChainBranches, branches.read)
        answer(SealsRead, chains.read_seals)
        answer(SealsAck, chains.drop_seals)
        prekeys = Prekeys(store, limits, now, require_room)
        answer(PrekeyPut, prekeys.put, max_body=MAX_PREKEY)
        answer(PrekeyTake, prekeys.take)
        answer(PrekeyAdd, prekeys.add, max_body=BATCH_BYTES)
        answer(PrekeyLeft, prekeys.left)
        answer(PrekeyWithdraw, prekeys.withdraw)
        rates = MailRates(limits, now)
        accepting = Accepting(store, limits, metrics, rates, clock, require_room, self._reached)
        answer(MailSend, accepting.send, max_body=MAX_ENVELOPE, rated=False)
        answer(MailFan, accepting.fan, max_body=MAX_BODY, rated=False)
        mailboxes = Mailboxes(store, limits, metrics, rates, clock, self._reached)
        answer(MailResume, mailboxes.resume)
        answer(MailAck, mailboxes.acknowledge, rated=False)
        answer(Stats, mailboxes.stats)
        self._dispatcher.listen(MailAck, mailboxes.acknowledged)
        live = LiveLane(limits, metrics, now)
        answer(LiveSubscribe, live.subscribe)
        answer(LivePublish, live.publish, max_body=MAX_LIVE_FRAME, rated=False)
        self._dispatcher.listen(LivePublish, live.fan_out)
        joins = Joins(store, limits, metrics, clock, now, require_room)
        answer(JoinAsk, joins.ask, max_body=MAX_JOIN)
        answer(JoinList, joins.list)
        answer(JoinDrop, joins.drop)
        answer(MeetOpen, self._meetings.open)
        answer(MeetSay, self._meetings.say, max_body=MAX_FRAME)
        self._dispatcher.complete()

    @property
    def public_key(self) -> bytes:
        """The broker's Ed25519 public key, 32 bytes."""
        return self._key.public

    @property
    def storage_full(self) -> bool:
        """New things are refused for want of disk space."""
        return self.floor.reached

    async def run(self) -> None:
        """The broker's own chores: pings, deadlines, expiry, disk. Runs until cancelled."""
        await self._sweeper.run()

    async def serve(self, link: Link, peer: PeerInfo) -> None:
        """Serve one connection until it ends. Nothing that happens on it raises here."""
        broker_link = link if isinstance(link, BrokerLink) else NearLink(link)
        challenge, greeting = self._gate.challenge()
        async with trio.open_nursery() as nursery:
            client = Client(
                broker_link,
                peer,
                challenge,
                nursery,
                serve=self._serve,
                notified=self._dispatcher.notified,
                log=self.log,
                metrics=self.metrics,
                reference=lambda: self._rng(4).hex(),
            )
            self.clients.add(client)
            self.metrics.count("connections_total")
            client.spawn(lambda: self._await_hello(client))
            try:
                await client.connection.send_encoded(greeting)
                await client.connection.run()
            except LinkClosed:
                pass
            finally:
                self._forget(client)
                nursery.cancel_scope.cancel()

    def _forget(self, client: Client) -> None:
        client.ended = True
        self.clients.discard(client)
        if not client.greeted.is_set():
            self.metrics.count("connections_refused_total")
        for session in client.sessions.values():
            session.room.detach(session)

    def _serve(self, client: Client, request: RequestReceived) -> Awaitable[Reply]:
        if self._draining:
            raise MeshError("shutting_down")
        return self._dispatcher.serve(client, request)

    async def _await_hello(self, client: Client) -> None:
        with trio.move_on_after(self.limits.hello_seconds):
            await client.greeted.wait()
            return
        await client.close(CLOSE_POLICY, "no hello in time")

    async def drain(self) -> None:
        """Take no new requests, let those that run end (five seconds at most), then close all connections."""
        self._draining = True
        with trio.move_on_after(DRAIN_SECONDS):
            while any(client.answering for client in self.clients):  # noqa: ASYNC110 - once in a process's life
                await trio.sleep(DRAIN_POLL_SECONDS)
        async with trio.open_nursery() as nursery:
            for client in tuple(self.clients):
                nursery.start_soon(client.close, CLOSE_GOING_AWAY, "the broker is stopping")


class EmbeddedBroker:
    """A broker in this process, reached through memory. Its peer counts as this machine."""

    def __init__(self, broker: Broker, nursery: trio.Nursery) -> None:
        self._broker = broker
        self._nursery = nursery

    @property
    def public_key(self) -> bytes:
        return self._broker.public_key

    def connect(self) -> Link:
        """A new connection."""
        near, far = link_pair()
        self._nursery.start_soon(self._broker.serve, far, THIS_PROCESS)
        return near


def epoch_ms() -> int:
    """The wall clock outside of simulations."""
    return time.time_ns() // 1_000_000


def measure_disk(folder: Path) -> Callable[[], Space]:
    """Measures the file system of `folder`."""

    def measure() -> Space:
        found = os.statvfs(folder)
        return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)

    return measure


@asynccontextmanager
async def open_broker(data: Path, *, limits: Limits | None = None, log: Log | None = None) -> AsyncIterator[Broker]:
    """A running broker that keeps its data in the folder `data`.

    Raises `BadFolder`, `FolderTaken`, `BadKeyFile` or `WrongDatabase` before it runs; while it runs, a dead disk ends the context with
    `StorageFailed`, and the process must exit.
    """
    with held_folder(data, (DATABASE_FILE,)), _opened_database(data) as database:
        key = load_key(data, os.urandom)
        token, made = load_token(data, os.urandom)
        log = log or Log(write_stderr, epoch_ms)
        if made:
            log.info("admission-token-made", path=str(data / TOKEN_FILE))
        broker = Broker(
            SqliteStore(database),
            key=key,
            token=token,
            clock=epoch_ms,
            rng=os.urandom,
            limits=limits,
            log=log,
            measure=measure_disk(data),
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.run)
            nursery.start_soon(_watch, database)
            yield broker
            nursery.cancel_scope.cancel()


@contextmanager
def _opened_database(data: Path) -> Iterator[Database]:
    database = Database(
        data / DATABASE_FILE,
        application_id=APPLICATION_ID,
        migrations=MIGRATIONS,
        worker=ThreadWorker("broker-writer"),
    )
    try:
        yield database
    finally:
        database.close()


async def _watch(database: Database) -> None:
    await database.failure.wait()
    raise StorageFailed("the broker's database cannot be trusted any more")


@asynccontextmanager
async def open_embedded(data: Path) -> AsyncIterator[EmbeddedBroker]:
    """A broker inside the daemon, as `mesh_protocol.io.memory.EmbeddedBrokerModule` says."""
    async with open_broker(data) as broker, trio.open_nursery() as nursery:
        yield EmbeddedBroker(broker, nursery)
        await broker.drain()
        nursery.cancel_scope.cancel()
