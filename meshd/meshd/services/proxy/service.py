"""The proxy as it runs: its listener, its connections, its recorder and its database."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import apsw
import trio

from mesh_protocol.io.sqlite import Database
from mesh_protocol.keys import BadCiphertext
from mesh_protocol.wire.errors import MeshError
from meshd.log import Word, get_logger
from meshd.seams import Seams
from meshd.services.proxy import bodies as stored
from meshd.services.proxy.asking import Tell, tell_nobody
from meshd.services.proxy.budgets import Budgets
from meshd.services.proxy.entries import Marker, Reading, local_day
from meshd.services.proxy.follower import Follower
from meshd.services.proxy.guards import Guards
from meshd.services.proxy.pricefile import PriceFile
from meshd.services.proxy.recorder import Recorder
from meshd.services.proxy.relay import Relay, Surroundings
from meshd.services.proxy.reports import Glimpse, read_glimpse
from meshd.services.proxy.repricing import Repriced, reprice
from meshd.services.proxy.schema import APPLICATION_ID, MIGRATIONS
from meshd.services.proxy.settings import DEFAULT_UPSTREAM, NO_VIA, Settings, parse_upstream, parse_via
from meshd.services.proxy.store import read_settings, write_settings
from meshd.services.proxy.team.accounts import Accounts
from meshd.services.proxy.team.clients import Clients
from meshd.services.proxy.upstreams import Door, keep_alive

log = get_logger("proxy")

T = TypeVar("T")

MAX_CONNECTIONS: Final = 1024
DRAIN_S: Final = 2.0
"""How long the end of the daemon waits for what has ended to be recorded."""
BACKLOG: Final = 1024
DAY_MS: Final = 86_400_000
RETRY_S: Final = 30.0
"""How long after a port was found taken it is tried again."""


class Service:
    """Made when the proxy is first used. `run` serves whenever it is on; `turn_on` and `turn_off` switch it."""

    def __init__(
        self,
        path: Path,
        seams: Seams,
        store_key: bytes,
        failed: Callable[[str, BaseException], str],
        make_context: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        tell: Tell = tell_nobody,
    ) -> None:
        self._seams = seams
        self._store_key = store_key
        self._failed = failed
        self._make_context = make_context
        self.prices = PriceFile(path.parent)
        self.db = Database(
            path,
            application_id=APPLICATION_ID,
            migrations=MIGRATIONS,
            worker=seams.worker("proxy.db"),
            reached=seams.reached,
        )
        mark = Marker(store_key)
        self.recorder = Recorder(
            self.db, seams.clock, seams.threads, store_key, lambda: Reading(self.prices.current(), mark)
        )
        self.budgets = Budgets(self.db, seams.clock, tell)
        self.clients = Clients(self.db, seams.clock, seams.rng)
        self.accounts = Accounts(self.db, seams, store_key, make_context)
        self.follower = Follower(self.db, seams, self.prices.current)
        self.settings = read_settings(self.db.reader) or Settings(False, DEFAULT_UPSTREAM, 0, b"")
        self.recorder.history_days = self.settings.history_days
        self._folder = path.parent
        self._bodies_wanted = trio.Event()
        if self.settings.bodies or (self._folder / stored.NAME).exists():
            self._open_bodies()
        self.trouble = ""
        """Why it is not listening although it is on."""
        self._changed = trio.Event()
        self._setting = trio.Lock()
        """Each change of the settings begins with those that the one before has written."""
        self._bound: socket.socket | None = None
        self._open_port = 0
        """Where it listens at this moment."""
        self._left = trio.Event()
        """It listens there no more."""
        self._relays: set[Relay] = set()
        self._around: Surroundings

    @property
    def bodies(self) -> stored.Bodies | None:
        """What requests and answers said, where any was ever stored."""
        return self.recorder.bodies

    def _open_bodies(self) -> None:
        if self.recorder.bodies is None:
            keep = stored.Keep(self.settings.keep_days, self.settings.keep_mib)
            self.recorder.bodies = stored.Bodies(self._folder, self._seams, self._store_key, keep)
            self.recorder.bodies.on = self.settings.bodies
            self._bodies_wanted.set()

    @property
    def connections(self) -> int:
        return len(self._relays)

    @property
    def answering(self) -> int:
        """Connections whose request has not been answered to its end."""
        return sum(relay.answering for relay in self._relays)

    @property
    def url(self) -> str:
        """What a client is given as its base URL. A secret."""
        return self.settings.url(self._store_key)

    async def run(self) -> None:
        """Serve while it is on, for ever. What has ended is recorded before this does."""
        try:
            async with trio.open_nursery() as nursery:
                recording = trio.CancelScope(shield=True)
                nursery.start_soon(self._record, recording)
                nursery.start_soon(self.follower.run)
                try:
                    await self._serve()
                finally:
                    with trio.CancelScope(shield=True), trio.move_on_after(DRAIN_S):
                        await self.recorder.drained()
                        if self.bodies is not None:
                            await self.bodies.drained()
                    recording.cancel()
        finally:
            if self._bound is not None:
                self._bound.close()
            self.db.close()
            if self.bodies is not None:
                self.bodies.db.close()

    async def ask(self, work: Callable[[apsw.Connection], T]) -> T:
        """Read the record in a thread, on a connection of its own: a question may take as long as it has to."""
        return await self._seams.threads(partial(_read, self.db.path, work))

    def glimpse(self, session: str, now_ms: int) -> Glimpse | None:
        """What a status line may say; None where the record cannot be read."""
        try:
            return read_glimpse(self.db.reader, local_day(now_ms), session, now_ms)
        except apsw.Error as error:
            log.warning("the record could not be read", error=error)
            return None

    async def reprice(self) -> Repriced:
        """Give all recorded requests the prices of today. Raises `MeshError`."""
        prices = self.prices.current()
        if self.prices.trouble:
            raise MeshError("bad_settings", path=str(self.prices.path), why=self.prices.trouble.partition(": ")[2])
        whole = Repriced(0, 0, 0, 0, 0)
        while True:
            part = await self.db.write(partial(reprice, prices=prices, after=whole.last))
            whole = Repriced(part.last, *(one + other for one, other in zip(whole[1:], part[1:], strict=True)))
            if not part.last:
                return whole

    async def said(self, row: int, part: str) -> bytes | None:
        """What a recorded request or its answer says; None where that is not stored, or cannot be opened."""
        found = self.db.reader.execute("SELECT number, started_ms FROM request WHERE row=?", (row,)).fetchone()
        if found is None or self.bodies is None:
            return None
        number, started_ms = found
        try:
            return await self.bodies.read(number, started_ms, part)
        except BadCiphertext:
            log.warning("a stored body was altered, or sealed under another key", row=row)
            return None

    async def turn_on(self, upstream: str, port: int, *, new_token: bool, via: str = "") -> Settings:
        """Listen, and remember it. What is not given stays as it was. Raises `MeshError`."""
        async with self._setting:
            return await self._turn_on(upstream, port, new_token=new_token, via=via)

    async def _turn_on(self, upstream: str, port: int, *, new_token: bool, via: str) -> Settings:
        old = self.settings
        wanted = parse_upstream(upstream or old.upstream).url
        via = old.via if not via else "" if via == NO_VIA else via
        through = parse_via(via)
        salt = self._seams.rng(16) if new_token or not old.salt else old.salt
        if not old.on or self.trouble or (port and port != old.port):
            port = port or old.port
            while port and port == self._open_port:  # it was switched off, or elsewhere, a moment ago
                await self._left.wait()
            bound = listen(port)
            if self._bound is not None:
                self._bound.close()
            self._bound = bound
            port = bound.getsockname()[1]
        settings = replace(
            old, on=True, upstream=wanted, port=port or old.port, salt=salt, via=through.url if through else ""
        )
        await self._switch(settings)
        return settings

    async def turn_off(self) -> None:
        """Take no more requests. What is under way is answered to its end."""
        async with self._setting:
            await self._switch(replace(self.settings, on=False))

    async def keep(self, store: str, keep_days: int, keep_mib: int, history_days: int) -> None:
        """What is stored, and how long. Empty and 0: as before. Raises `MeshError`."""
        async with self._setting:
            await self._keep(store, keep_days, keep_mib, history_days)

    async def _keep(self, store: str, keep_days: int, keep_mib: int, history_days: int) -> None:
        old = self.settings
        settings = replace(
            old,
            bodies=old.bodies if not store else store == "bodies",
            keep_days=keep_days or old.keep_days,
            keep_mib=keep_mib or old.keep_mib,
            history_days=history_days or old.history_days,
        )
        await self.db.write(lambda tx: write_settings(tx, settings))
        self.settings = settings
        self.recorder.history_days = settings.history_days
        if settings.bodies:
            self._open_bodies()
        if self.bodies is not None:
            self.bodies.on = settings.bodies
            self.bodies.keep = stored.Keep(settings.keep_days, settings.keep_mib)

    async def _switch(self, settings: Settings) -> None:
        await self.db.write(lambda tx: write_settings(tx, settings))
        self.settings = settings
        self.trouble = ""
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def _record(self, scope: trio.CancelScope) -> None:
        with scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.recorder.run)
                await self._bodies_wanted.wait()
                assert self.bodies is not None
                await self.bodies.run()

    async def forget(self, before_ms: int | None) -> int:
        """Delete the single requests of the days before that moment's, or all. Returns how many."""
        return await self.recorder.forget(self._seams.clock() + DAY_MS if before_ms is None else before_ms)

    async def _serve(self) -> None:
        async with trio.open_nursery() as relays:
            while True:
                changed = self._changed
                if self.settings.on:
                    await self._listen(relays, changed)
                else:
                    await changed.wait()

    async def _listen(self, relays: trio.Nursery, changed: trio.Event) -> None:
        """Until it is off, or listens elsewhere. A new upstream or token is taken on without a gap."""
        bound, self._bound = self._bound, None
        try:
            self._settle()
            bound = bound or listen(self.settings.port)
        except MeshError as error:  # the port was taken while the daemon was away
            self.trouble = error.message
            log.warning("the proxy cannot listen", code=Word(error.code))
            with trio.move_on_after(RETRY_S):
                await changed.wait()
            return
        self.trouble = ""
        with self._opened(bound.getsockname()[1]), closing(bound):
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))
            async with trio.open_nursery() as accepting:
                accepting.start_soon(self._accept, listener, relays)
                await changed.wait()
                while self.settings.on and self._bound is None:
                    changed = self._changed
                    self._settle()
                    self._finish_relays()
                    await changed.wait()
                accepting.cancel_scope.cancel()
        self._finish_relays()

    @contextmanager
    def _opened(self, port: int) -> Iterator[None]:
        self._open_port, self._left = port, trio.Event()
        try:
            yield
        finally:
            self._open_port = 0
            self._left.set()

    def accounts_changed(self) -> None:
        """New connections are judged by the accounts of now. Those that are open end with what they are about."""
        self._wake()

    def _settle(self) -> None:
        """What the connections from now on are judged by, and where they go."""
        settings = self.settings
        door = Door(parse_upstream(settings.upstream), self._make_context, parse_via(settings.via))
        token = settings.token(self._store_key)
        guards = Guards.of(token, settings.port, self.accounts.hosts(), self.clients.find)
        self._around = Surroundings(guards, door, self.recorder, self.budgets.gate, self.accounts.credential)

    def _finish_relays(self) -> None:
        for relay in list(self._relays):
            relay.finish_soon()

    async def _accept(self, listener: trio.SocketListener, relays: trio.Nursery) -> None:
        await trio.serve_listeners(self._serve_one, [listener], handler_nursery=relays)

    async def _serve_one(self, client: trio.SocketStream) -> None:
        if len(self._relays) >= MAX_CONNECTIONS:
            log.warning("too many connections of the proxy", connections=len(self._relays))
            await trio.aclose_forcefully(client)
            return
        keep_alive(client)
        relay = Relay(client, self._around)
        self._relays.add(relay)
        try:
            await relay.run()
        except* Exception as group:  # noqa: BLE001 - one bad connection must not end its neighbours
            self._failed("a connection of the proxy", group)
        finally:
            self._relays.discard(relay)


def listen(port: int) -> socket.socket:
    """A listening socket on loopback; 0 takes a free port. Raises `MeshError("port_taken")`."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        bound.setblocking(False)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise MeshError("port_taken", port=port, why=error.strerror or "") from None
    return bound


def _read(path: Path, work: Callable[[apsw.Connection], T]) -> T:
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        db.set_busy_timeout(5000)
        return work(db)
    finally:
        db.close()
