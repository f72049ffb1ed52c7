"""All links to brokers: one driver for each URL, and short connections for making and joining a mesh."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import trio

from mesh_protocol.io.link import Link, LinkClosed
from mesh_protocol.keys import CryptoError
from mesh_protocol.wire.codec import CodecError
from mesh_protocol.wire.errors import MeshError, RemoteError
from mesh_protocol.wire.rpc import NotificationReceived
from meshd.embedded import Embedded
from meshd.failure import first_error
from meshd.link.driver import LOCAL, Connect, Driver, connect_url, open_greeting, require_allowed_url
from meshd.link.greeting import Greeting
from meshd.link.meshlink import LinkParts, MeshLink
from meshd.link.refusals import not_genuine, own_words
from meshd.mesh import Mesh

Key = tuple[bytes, str]
"""Broker key and URL: meshes that share both share a connection."""


@dataclass(slots=True, eq=False)
class Brokers:
    """The drivers, by broker key and URL."""

    parts: LinkParts
    embedded: Embedded
    failed: Callable[[str, BaseException], str]
    network: Connect = connect_url
    _drivers: dict[Key, Driver] = field(default_factory=dict)
    _nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Keep every link up; for ever."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for driver in self._drivers.values():
                nursery.start_soon(driver.run)
            await trio.sleep_forever()

    def add(self, mesh: Mesh) -> None:
        """Keep this mesh online from now on."""
        key = (mesh.row.broker_key, mesh.row.broker_url)
        driver = self._drivers.get(key)
        if driver is None:
            driver = self._drivers[key] = Driver(self.parts, mesh.row.broker_url, self._connect, self.failed)
            if self._nursery is not None:
                self._nursery.start_soon(driver.run)
        driver.add(mesh)

    def link_of(self, mesh: Mesh) -> MeshLink | None:
        """The mesh's link while it is on a connection."""
        driver = self._drivers.get((mesh.row.broker_key, mesh.row.broker_url))
        return driver.links.get(mesh.id) if driver is not None else None

    def retry(self, mesh: Mesh) -> None:
        """Try to enter the mesh now: there is another invite."""
        driver = self._drivers.get((mesh.row.broker_key, mesh.row.broker_url))
        if driver is not None:
            driver.retry(mesh)

    async def reenter(self, mesh: Mesh) -> None:
        """Enter the mesh anew: what it is to this machine has changed. Other meshes of its connection are entered anew too."""
        link = self.link_of(mesh)
        if link is not None:
            await link.greeting.connection.aclose("a mesh is entered anew")

    async def remove(self, mesh: Mesh) -> None:
        """Keep this mesh no longer."""
        link = self.link_of(mesh)
        driver = self._drivers.get((mesh.row.broker_key, mesh.row.broker_url))
        if driver is not None:
            driver.remove(mesh.id)
        if link is not None:
            await link.greeting.connection.aclose("a mesh was left")

    def receipts_due(self, mesh: Mesh) -> None:
        link = self.link_of(mesh)
        if link is not None:
            link.mailer.receipts.set()

    def presence_changed(self) -> None:
        """Publish presence anew in all meshes."""
        for driver in self._drivers.values():
            for link in driver.links.values():
                link.presence.set()

    async def say_goodbye(self) -> None:
        """Tell the meshes that this device goes offline in good order."""
        for driver in self._drivers.values():
            for link in driver.links.values():
                if link.mesh.active and link.mesh.link.value == "online":
                    with trio.move_on_after(0.5):
                        try:
                            await link.publish(online=False)
                        except LinkClosed:
                            continue

    def _connect(self, url: str) -> AbstractAsyncContextManager[Link]:
        return self.embedded.connect() if url == LOCAL else self.network(url)

    @asynccontextmanager
    async def visit(
        self, url: str, notified: Callable[[NotificationReceived], None] = lambda _: None
    ) -> AsyncIterator[Greeting]:
        """A short connection of its own.

        Raises `broker_unreachable`, `broker_refused`, or another refusal of the broker, in our own words.
        """
        require_allowed_url(url)
        connected = False
        try:
            async with open_greeting(self._connect, url, self.failed, notified) as greeting:
                connected = True
                yield greeting
        except (LinkClosed, ExceptionGroup) as error:
            # The connection's nursery wraps what its user raised; the user's caller is to see that alone.
            cause = first_error(error) if isinstance(error, ExceptionGroup) else error
            if isinstance(cause, RemoteError):
                raise own_words(cause, url) from None
            if isinstance(cause, CryptoError | CodecError):
                raise not_genuine(cause, url) from None
            if not isinstance(cause, LinkClosed):
                raise cause from None
            why = "the connection was lost" if connected else str(cause)
            raise MeshError("broker_unreachable", url=url, why=why) from None
