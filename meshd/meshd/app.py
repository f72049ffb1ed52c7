"""The daemon: builds its parts, runs them in one nursery tree, and ends in good order."""

import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import apsw
import trio

from mesh_protocol.ids import MsgId
from mesh_protocol.io.connection import Reply
from mesh_protocol.io.sqlite import Database, Pending
from mesh_protocol.registry import load_operations
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.rpc import RequestReceived
from meshd import details, standings
from meshd.audience import Writer, addresses
from meshd.audit import Audit
from meshd.brokers import Brokers
from meshd.claude.inbox import Inboxes
from meshd.config import Config
from meshd.deliver.ladder import Ladder
from meshd.details import Details
from meshd.embedded import Embedded
from meshd.failure import first_error
from meshd.gathering import Shipments
from meshd.groups import Groups
from meshd.guarding import Guard
from meshd.hardening import Hardening
from meshd.inbox import Address, Inbox
from meshd.keys.argon2 import stretch
from meshd.keys.identity import Identity
from meshd.keys.states import KeysNotReady, KeysRefused
from meshd.keys.store import KeyStore
from meshd.launches import Launches
from meshd.leaving import Leaving
from meshd.link.mailbox import keep_heard
from meshd.link.meshlink import LinkParts, MeshLink
from meshd.link.table import LinkState
from meshd.linking import Linking
from meshd.local.dispatch import Dispatch, load_handlers
from meshd.local.mcp_pipe import open_pipe
from meshd.local.server import Client, Server
from meshd.log import Word, get_logger
from meshd.mesh import Mesh
from meshd.meshmaking import MeshMaking
from meshd.node import Node
from meshd.outbox import Outbox
from meshd.ownnotes import OwnNotes
from meshd.paths import Paths
from meshd.presence import PresenceBoard
from meshd.processes import ProcessTable
from meshd.profiles import Profiles
from meshd.prompts.folder import NAME as PROMPTS
from meshd.prompts.folder import PromptFolder
from meshd.reading import Reading, store_local
from meshd.refusal import StartRefused
from meshd.seams import Seams
from meshd.services.proxy.switch import ProxySwitch
from meshd.sessions import Session, Sessions
from meshd.standings import Standings
from meshd.store import outbox as sent
from meshd.store.inbox import expire_receipts, forget_seen
from meshd.store.meshes import set_meta
from meshd.store.outbox import DeliveryRow, MessageRow
from meshd.store.schema import APPLICATION_ID, MIGRATIONS
from meshd.store.verified import read_pins
from meshd.store.voids import expiring_numbers
from meshd.voids import Voids, add_voids

log = get_logger("app")

SWEEP_S: Final = 60.0
"""How often what has expired is ended."""
FORGET_MS: Final = 24 * 3600 * 1000
"""How often marks are forgotten that no envelope can come for: it reads all of them."""
BROKEN: Final = (apsw.IOError, apsw.CorruptError, apsw.NotADBError)
"""What says that the database's file is broken."""
RESTART_CAP_S: Final = 30.0
DRAIN_S: Final = 3.0
"""How long stopping may take to finish what is under way."""


@dataclass(slots=True, eq=False)
class App:
    """The running daemon. `locked` until its keys are here; then `unlock` has built everything below."""

    seams: Seams
    paths: Paths
    config: Config
    version: str
    hardening: Hardening
    keystore: KeyStore
    processes: ProcessTable
    started_ms: int
    pid: int = field(default_factory=os.getpid)
    stretch: Callable[[bytes, bytes], bytes] = stretch
    """Argon2id, in a child process."""
    locked: bool = True
    exit_status: int = 0
    dispatch: Dispatch = field(init=False)
    node: Node = field(init=False)
    audit: Audit = field(init=False)
    guard: Guard = field(init=False)
    outbox: Outbox = field(init=False)
    voids: Voids = field(init=False)
    inbox: Inbox = field(init=False)
    reading: Reading = field(init=False)
    sessions: Sessions = field(init=False)
    groups: Groups = field(init=False)
    launches: Launches = field(init=False)
    profiles: Profiles = field(init=False)
    standings: Standings = field(init=False)
    details: Details = field(init=False)
    ladder: Ladder = field(init=False)
    board: PresenceBoard = field(init=False)
    brokers: Brokers = field(init=False)
    making: MeshMaking = field(init=False)
    linking: Linking = field(init=False)
    leaving: Leaving = field(init=False)
    shipments: Shipments = field(init=False)
    proxy: ProxySwitch = field(init=False)
    prompts: PromptFolder = field(init=False)
    db: Database = field(init=False)
    take_identity: Callable[[Identity], Awaitable[Identity]] = field(init=False)
    """Holds opened keys against the database and counts the start."""
    keys_changing: trio.Lock = field(default_factory=trio.Lock)
    """Held while the key store is at work in a thread."""
    _stop: trio.Event = field(default_factory=trio.Event)
    _unlocked: trio.Event = field(default_factory=trio.Event)
    _failures: int = 0
    _forgot_ms: int = 0

    # Life.

    def build(self, db: Database, identity: Identity | None) -> None:
        """Put the parts together. Without an identity only status is served, until `unlock`."""
        self.db = db
        self.dispatch = Dispatch(load_operations(), load_handlers())
        if identity is not None:
            self._assemble(identity)

    def _assemble(self, identity: Identity) -> None:
        db = self.db
        self.seams.reached("FP-19")
        remember_identity(db, identity)
        node = self.node = Node(self.seams, db, identity.device, bytes(identity.store_key), identity.generation)
        self.audit = Audit(node, self.paths.keys)
        self.guard = Guard(node, self.stretch)
        self.board = PresenceBoard(node)
        self.reading = Reading(node, self._receipts_due)
        self.sessions = Sessions(node, self.processes, os.geteuid(), self._presence_changed, self._session_arrived)
        self.groups = Groups(node, self.sessions, lambda: self.profiles.changed())
        self.launches = Launches(self.sessions, self.groups, self.processes)
        inboxes = Inboxes(os.geteuid(), self.processes)
        self.ladder = Ladder(node, self.sessions, inboxes, self.reading, lambda draft: self.outbox.send(draft))
        self.outbox = Outbox(node, self._store_local, self.ladder.surfaced, self.config.limits.outbox_rows)
        self.voids = Voids(node, self.outbox.queue)
        self.profiles = Profiles(node, self.groups, self.outbox.queue)
        self.details = Details(node, self.outbox.queue, self.board.details, lambda: self.brokers.presence_changed())
        self.standings = Standings(node, self.outbox.queue, self.details.changed)
        self.inbox = Inbox(
            node,
            self.outbox,
            self._addresses,
            self._receipts_due,
            self.ladder.surfaced,
            self.profiles.commit,
            {standings.KIND: self.standings.commit, details.KIND: self.details.commit},
        )
        parts = LinkParts(node, self.outbox, self.inbox, self.board, self.sessions.views, self.voids, self._departed)
        embedded = Embedded(self.config.embedded_broker, self.paths.data / "broker")
        self.brokers = Brokers(parts, embedded, self.failed)
        self.making = MeshMaking(node, self.brokers, self.board)
        self.linking = Linking(node.seams.rng, self.failed)
        self.leaving = Leaving(node, self.brokers, self._forget_mesh)
        self.shipments = Shipments(node)
        self.proxy = ProxySwitch(node, self.paths, self.failed, OwnNotes(node, self.outbox, self.sessions).tell_budget)
        self.prompts = PromptFolder(self.paths.data / PROMPTS, self.seams.threads)
        self.audit.restore()
        self.guard.restore()
        self.details.restore()
        node.pins.load(read_pins(db.reader))
        self.making.restore()
        self.sessions.restore()
        self.voids.restore()
        self.groups.restore()
        self.profiles.restore()
        self.launches.restore()
        self.locked = False

    async def unlock(self, passphrase: bytes | None) -> None:
        """Open keys that were locked at the start, and begin to serve. Raises `MeshError`."""
        async with self.keys_changing:
            if not self.locked:
                return  # somebody else did it meanwhile
            try:
                identity = await self.take_identity(await self.seams.threads(lambda: self.keystore.unlock(passphrase)))
            except (KeysNotReady, KeysRefused, StartRefused) as error:
                raise MeshError("keys_unavailable", why=str(error)) from None
            self._assemble(identity)
            self._unlocked.set()

    async def run(self, listener: socket.socket) -> None:
        """Serve until `stop_soon`, or until the database fails (exit status 70)."""
        server = Server(self, listener, self.config.limits.clients)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run)
            nursery.start_soon(self._run_services)
            await self._stop.wait()
            if not self.locked:
                with trio.move_on_after(DRAIN_S):
                    await self.brokers.say_goodbye()
            await trio.sleep(0.05)  # the answer to `daemon.stop` is on its way
            nursery.cancel_scope.cancel()

    async def _run_services(self) -> None:
        """Everything that needs the keys."""
        if self.locked:
            await self._unlocked.wait()
        services = (
            self.brokers.embedded.run,
            self.brokers.run,
            self.leaving.run,
            self.sessions.run,
            self.ladder.run,
            self.inbox.watch_gaps,
            self.profiles.run,
            self.standings.run,
            self.details.run,
            self.proxy.run,
            self.prompts.run,
            self.launches.run,
            self.linking.run,
            self._sweep,
        )
        async with trio.open_nursery() as nursery:
            for service in services:
                nursery.start_soon(self._supervise, service)
            nursery.start_soon(self._watch_storage)

    async def _supervise(self, service: Callable[[], Awaitable[None]]) -> None:
        """One part that fails is started again, with backoff, and never takes the daemon along."""
        failures = 0
        while True:
            try:
                await service()
            except Exception as error:  # noqa: BLE001 - the edge of a service
                failures += 1
                self.failed(getattr(service, "__qualname__", "service"), error)
            await trio.sleep(min(RESTART_CAP_S, 0.25 * 2.0 ** min(failures, 10)))

    def stop_soon(self) -> None:
        """End in good order; what is queued stays and goes out at the next start."""
        self._stop.set()

    async def _watch_storage(self) -> None:
        await self.node.db.failure.wait()
        log.error("the database failed; nothing can be promised any more")
        self.exit_status = 70
        self._stop.set()

    async def _sweep(self) -> None:
        while True:
            try:
                await self._end_what_expired()
                keep_heard(self.node)
            except MeshError as error:
                log.warning("nothing was swept", code=Word(error.code))
            await trio.sleep(SWEEP_S)

    async def _end_what_expired(self) -> None:
        """And forget what has done its work. Nothing expires by a clock that is far from the broker's, or was not held
        against it yet."""
        now = self.node.now()
        expires = self.node.clock_is_known and not self.node.clock_is_off
        voids = self.voids.prepare(expiring_numbers(self.node.db.reader, now)) if expires else []

        def work(tx: apsw.Connection) -> tuple[list[MsgId], Callable[[], None]]:
            sent.forget_bounces(tx)
            forgotten = self.voids.forget(tx)
            if not expires:
                return [], forgotten
            expire_receipts(tx, now)
            if now - self._forgot_ms > FORGET_MS:
                forget_seen(tx, now)
            add_voids(tx, voids)
            return sent.expire_deliveries(tx, now), forgotten

        expired, forgotten = await self.node.db.write(work)
        if expires and now - self._forgot_ms > FORGET_MS:
            self._forgot_ms = now
        forgotten()
        self.voids.stored(voids)
        for msg_id in expired:
            self.node.changed(msg_id)

    # Seams between the parts.

    def _receipts_due(self, mesh: Mesh) -> None:
        self.brokers.receipts_due(mesh)

    def _presence_changed(self) -> None:
        self.brokers.presence_changed()
        self.profiles.changed()

    def _session_arrived(self, session: Session) -> None:
        self.launches.arrived(session)
        self.ladder.session_arrived(session)

    def _departed(self, mesh: Mesh) -> None:
        self.leaving.departed(mesh)

    def _forget_mesh(self, mesh: Mesh) -> None:
        for part in (self.groups, self.profiles, self.details, self.board, self.node.pins):
            part.forget(mesh.id)
        self.outbox.queue(mesh.id).reset()

    def _addresses(self, mesh: Mesh, label: str) -> list[Address]:
        return addresses(self.sessions, self.groups, mesh, label)

    def _store_local(
        self, message: MessageRow, delivery: DeliveryRow, text: bytes
    ) -> Callable[[apsw.Connection], list[int]]:
        mesh = self.node.meshes[message.mesh]
        writer = Writer(message.from_session)
        found = addresses(self.sessions, self.groups, mesh, delivery.to_session, writer)
        return store_local(self.node, mesh, found, message, delivery, text)

    async def open_mcp(self, client: Client, request: RequestReceived) -> Reply:
        return await open_pipe(self, client, request)

    # Facts.

    def up_s(self) -> int:
        """Seconds since the start."""
        return (self.seams.clock() - self.started_ms) // 1000

    def key_sentence(self) -> str:
        """Where the keys lie and how they are protected."""
        return self.keystore.report().sentence

    def failed(self, method: str, error: BaseException) -> str:
        """Note a bug; returns the reference that its caller is told."""
        self._failures += 1
        reference = f"{self.started_ms % 1_000_000:06d}-{self._failures}"
        log.error("a call failed", method=Word(method), error=error, reference=Word(reference))
        if isinstance(first_error(error), BROKEN):  # a reader that meets a broken file ends the daemon as a writer does
            self.db.failure.set()
        return reference

    async def wait_link(self, mesh: Mesh, seconds: float) -> MeshLink | None:
        """The mesh's link once it is online; None if that takes longer, and for a frozen mesh."""
        if mesh.fork is not None:
            return None
        with self.node.events.subscribe(frozenset({"link"})) as changes, trio.move_on_after(seconds):
            while mesh.link is not LinkState.ONLINE:
                await changes.take()
        return self.brokers.link_of(mesh) if mesh.link is LinkState.ONLINE else None


def remember_identity(db: Database, identity: Identity, generation: int | None = None) -> Pending[None]:
    """Queue the row that ties the database to its keys (FP-19). `generation`: another than the identity's own."""
    known = identity.generation if generation is None else generation

    def work(tx: apsw.Connection) -> None:
        set_meta(tx, "device", identity.device_id)
        set_meta(tx, "generation", known.to_bytes(8, "little"))

    return db.submit(work)


def open_database(path: Path, seams: Seams) -> Database:
    """The daemon's one database."""
    return Database(
        path,
        application_id=APPLICATION_ID,
        migrations=MIGRATIONS,
        worker=seams.worker("mesh.db"),
        reached=seams.reached,
    )
