"""Connections to brokers: one for each distinct (broker key, URL), kept up by full-jitter backoff and a watchdog."""

import math
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import trio

from mesh_protocol.broker_api import CHALLENGE, Challenge
from mesh_protocol.ids import MeshId
from mesh_protocol.io.connection import Connection
from mesh_protocol.io.link import Link, LinkClosed
from mesh_protocol.op import read_answer
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.rpc import NotificationReceived
from meshd.failure import first_error
from meshd.link.greeting import Greeting
from meshd.link.meshlink import REFUSED_RETRY_S, LinkParts, MeshLink
from meshd.link.table import LinkEvent, LinkState, backoff_ceiling
from meshd.log import Word, get_logger
from meshd.mesh import Mesh
from meshd.seams import jitter

log = get_logger("link")

LOCAL: Final = "local:"
CHALLENGE_S: Final = 5.0
WATCH_S: Final = 20.0
"""A link this long silent is asked a question (limits: ping 20 s, dead 60 s)."""
ANSWER_S: Final = 10.0
STEADY_S: Final = 5.0
"""A connection that served for so long is taken up again at once; one that ended sooner, with backoff, up to 4 s."""
UNSTEADY_FAILURES: Final = 4

_BEFORE: Final = {
    LinkEvent.TRY: (LinkState.OFFLINE,),
    LinkEvent.CONNECTED: (LinkState.OFFLINE, LinkState.CONNECTING),
}

Connect = Callable[[str], AbstractAsyncContextManager[Link]]
"""Opens a transport to a broker's URL; raises `LinkClosed`."""


def require_allowed_url(url: str) -> None:
    """Off loopback only TLS. Raises `MeshError`."""
    if url == LOCAL or url.startswith("wss://"):
        return
    if not _is_on_this_machine(url):
        raise MeshError("bad_request", what=f"the broker {url} must be wss://, or ws:// on this machine itself")


def _is_on_this_machine(url: str) -> bool:
    """A ws:// URL whose host is a loopback address, and not merely looks like one."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
    return parts.scheme == "ws" and parts.username is None and loopback


@asynccontextmanager
async def connect_url(url: str) -> AsyncIterator[Link]:
    """A transport over the network."""
    # 20 ms of imports that a start need not wait for, and that a machine with only its own broker never needs.
    from mesh_protocol.io.websocket import open_websocket

    context = ssl.create_default_context() if url.startswith("wss://") else None
    async with open_websocket(url, context) as link:
        yield link


@asynccontextmanager
async def open_greeting(
    connect: Connect,
    url: str,
    failed: Callable[[str, BaseException], str],
    notified: Callable[[NotificationReceived], None],
) -> AsyncIterator[Greeting]:
    """Connect and read the broker's challenge. Raises `LinkClosed`."""
    first: list[Challenge] = []
    arrived, garbled = trio.Event(), trio.Event()

    def take(event: NotificationReceived) -> None:
        if event.method == CHALLENGE and not first:
            try:
                first.append(read_answer(Challenge, event.params))
            except MeshError:
                garbled.set()
            arrived.set()
        else:
            notified(event)

    async with connect(url) as raw:
        connection = Connection(raw, notified=take, failed=failed)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_run_until_end, connection, arrived)
            try:
                with trio.fail_after(CHALLENGE_S):
                    await arrived.wait()
                if not first:
                    why = "its challenge is none that this build knows" if garbled.is_set() else "no challenge came"
                    raise LinkClosed(connection.closed or why)
                yield Greeting(connection, first[0])
            except trio.TooSlowError:
                raise LinkClosed("no challenge came") from None
            finally:
                await connection.aclose()
                nursery.cancel_scope.cancel()


async def _run_until_end(connection: Connection, arrived: trio.Event) -> None:
    await connection.run()
    arrived.set()


@dataclass(slots=True, eq=False)
class Driver:
    """One broker URL and the meshes that live there."""

    parts: LinkParts
    url: str
    connect: Connect
    failed: Callable[[str, BaseException], str]
    meshes: dict[MeshId, Mesh] = field(default_factory=dict)
    links: dict[MeshId, MeshLink] = field(default_factory=dict)
    why: str = ""
    _greeting: Greeting | None = None
    _nursery: trio.Nursery | None = None
    _poke: trio.Event = field(default_factory=trio.Event)

    def add(self, mesh: Mesh) -> None:
        """A mesh that is to be kept online here, from now on."""
        self.meshes[mesh.id] = mesh
        self.retry(mesh)

    def retry(self, mesh: Mesh) -> None:
        """Enter a mesh now: it is new here, or has another invite."""
        link = self.links.get(mesh.id)
        if link is not None:
            link.retry()
        elif self._greeting is not None and self._nursery is not None and not mesh.row.trouble:
            mesh.move_link(LinkEvent.CONNECTED, self.parts.node.now())
            self._nursery.start_soon(self._serve, mesh, self._greeting)
        self._poke.set()

    def remove(self, mesh_id: MeshId) -> None:
        """Keep it no longer; its link ends with the next reconnection."""
        self.meshes.pop(mesh_id, None)
        self.links.pop(mesh_id, None)

    async def run(self) -> None:
        """Connect, serve, and after a loss try again, for ever."""
        failures = 0
        while True:
            served_from = math.inf
            while all(mesh.row.trouble for mesh in self.meshes.values()):  # none, or none that will ever be let in
                self._poke = trio.Event()
                await self._poke.wait()
            self._move_all(LinkEvent.TRY)
            try:
                async with open_greeting(self.connect, self.url, self.failed, self._notified) as greeting:
                    served_from = trio.current_time()
                    self._move_all(LinkEvent.CONNECTED)
                    await self._serve_all(greeting)
            except* (LinkClosed, MeshError) as group:
                self.why = str(first_error(group))
            except* Exception as group:  # noqa: BLE001 - a bug costs this connection, never the daemon
                self.why = f"internal error {self.failed('link', group)}"
            finally:
                self._greeting = None
                unlisted = bool(self.links) and all(link.unlisted for link in self.links.values())
                self.links.clear()
                # A broker that answers and then hangs up on everybody is not asked again and again at once.
                served = any(mesh.link is LinkState.ONLINE for mesh in self.meshes.values())
                self._move_all(LinkEvent.LOST)
            if served:  # for a while, or only just: then what ended it may be about to happen again
                steady = trio.current_time() - served_from >= STEADY_S
                failures = 0 if steady else min(failures + 1, UNSTEADY_FAILURES)
            else:
                failures += 1
            log.info("link lost", why=Word(_host(self.why)), failures=failures)
            wait = jitter(self.parts.node.seams.rng, backoff_ceiling(failures))
            if unlisted:  # the broker ends such a connection soon, and makes who comes often wait for longer than this
                wait = REFUSED_RETRY_S - (trio.current_time() - served_from)
            self._poke = trio.Event()
            with trio.move_on_after(wait):
                await self._poke.wait()

    def _move_all(self, event: LinkEvent) -> None:
        for mesh in self.meshes.values():
            if event is not LinkEvent.LOST and (mesh.row.trouble or mesh.link not in _BEFORE[event]):
                continue
            mesh.move_link(event, self.parts.node.now(), self.why if event is LinkEvent.LOST else "")
            self.parts.node.events.publish("link", mesh=mesh.slug, state=mesh.link.value)

    async def _serve_all(self, greeting: Greeting) -> None:
        async with trio.open_nursery() as nursery:
            self._greeting, self._nursery = greeting, nursery
            for mesh in self.meshes.values():
                if not mesh.row.trouble:
                    nursery.start_soon(self._serve, mesh, greeting)
            await self._watch(greeting.connection)
            nursery.cancel_scope.cancel()
        self.why = greeting.connection.closed or "closed"

    async def _serve(self, mesh: Mesh, greeting: Greeting) -> None:
        link = self.links[mesh.id] = MeshLink(self.parts, mesh, greeting)
        try:
            await link.run()
        except* (LinkClosed, trio.TooSlowError):
            await greeting.connection.aclose("the broker stopped answering")

    async def _watch(self, connection: Connection) -> None:
        """Return when the link is dead: closed, or silent to a question."""
        while connection.closed is None:
            due = connection.last_heard + WATCH_S
            if trio.current_time() < due:
                with trio.move_on_at(due):
                    await connection.wait_closed()
                continue
            try:
                await connection.call("ping", {}, seconds=ANSWER_S)
            except trio.TooSlowError:
                await connection.aclose("the broker does not answer")
            except MeshError:
                continue  # any answer, also a refusal, shows that it lives
            except LinkClosed:
                return

    def _notified(self, event: NotificationReceived) -> None:
        mesh = event.params.get("mesh")
        link = self.links.get(MeshId(mesh)) if isinstance(mesh, bytes) else None
        if link is None:
            return
        try:
            link.notified(event)
        except MeshError as error:
            log.warning("the broker broke the protocol", code=Word(error.code))
            if self._nursery is not None:
                self._nursery.start_soon(link.greeting.connection.aclose, "the broker broke the protocol")


def _host(why: str) -> str:
    return why.replace(" ", "-")[:80]
