"""The one port: accepting connections at a pace the process can bear, and leading each to a page or to the broker."""

import errno
import ipaddress
import os
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final, TypeAlias

import trio

from mesh_broker.client import PeerInfo
from mesh_broker.http import BadHead, Head, Page, Pages, answer_head, read_head, send_page
from mesh_broker.limits import Buckets, Limits
from mesh_broker.log import Log
from mesh_broker.metrics import Metrics
from mesh_broker.transport import SocketTransport, TlsTransport
from mesh_broker.wire import WsLink
from mesh_protocol.io.link import LinkClosed

BACKLOG: Final = 1024
ACCEPT_BATCH: Final = 64
FILES_SHARE: Final = 0.9
FILES_KEPT: Final = 32
"""Files that are not connections: the database, its log, the listeners, standard streams."""
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
EXHAUSTED_SECONDS: Final = 0.5

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Serve: TypeAlias = Callable[[WsLink, PeerInfo], Awaitable[None]]


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Listening sockets for every address of `host`; with port 0 all on the port that the first was given."""
    sockets: list[socket.socket] = []
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    try:
        for family, kind, proto, _, address in found:
            sock = socket.socket(family, kind, proto)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            chosen = port or (sockets[0].getsockname()[1] if len(sockets) > 1 else 0)
            sock.bind((address[0], chosen, *address[2:]))
            sock.setblocking(False)
            sock.listen(BACKLOG)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def allowed_connections(limits: Limits) -> int:
    """How many connections the process may hold: the limit, or 90 % of its files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = int(limits.connections / FILES_SHARE) + FILES_KEPT
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(limits.connections, int(soft * FILES_SHARE) - FILES_KEPT))


class Listener:
    """Accepts on `sockets` and serves each connection in a task of its own, contained."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        serve: Serve,
        pages: Pages,
        *,
        limits: Limits,
        metrics: Metrics,
        log: Log,
        tls: ssl.SSLContext | None = None,
        proxies: Sequence[Network] = (),
    ) -> None:
        self._sockets = sockets
        self._serve = serve
        self._pages = pages
        self._limits = limits
        self._metrics = metrics
        self._log = log
        self._tls = tls
        self._proxies = proxies
        self._room = trio.Semaphore(allowed_connections(limits))
        self._pace: Buckets[str] = Buckets(limits.connects_rate, limits.connects_burst, trio.current_time)
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    async def run(self) -> None:
        """Accept until stopped, serve until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                for sock in self._sockets:
                    nursery.start_soon(self._accept, sock, nursery)
        finally:
            self.stop()
            os.close(self._spare)

    def stop(self) -> None:
        """Accept no more; what is open goes on."""
        for sock in self._sockets:
            if sock.fileno() >= 0:
                trio.lowlevel.notify_closing(sock)
                sock.close()

    async def _accept(self, listener: socket.socket, nursery: trio.Nursery) -> None:
        while listener.fileno() >= 0:
            try:
                await trio.lowlevel.wait_readable(listener)
            except trio.ClosedResourceError:
                return  # stopped
            for _ in range(ACCEPT_BATCH):
                await self._room.acquire()  # at the cap the kernel's backlog waits
                try:
                    sock, address = listener.accept()
                except OSError as error:
                    self._room.release()
                    if error.errno in EXHAUSTED:
                        await self._turn_away(listener)
                    break  # nothing waits, or one that waited has gone
                nursery.start_soon(self._contained, sock, str(address[0]))

    async def _turn_away(self, listener: socket.socket) -> None:
        """No file is left: give up the spare one to close one connection cleanly, then wait for others to end."""
        self._log.warn("out-of-files")
        os.close(self._spare)
        try:
            listener.accept()[0].close()
        except OSError:
            pass
        finally:
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        await trio.sleep(EXHAUSTED_SECONDS)

    async def _contained(self, sock: socket.socket, address: str) -> None:
        try:
            await self._handle(sock, address)
        except LinkClosed:
            self._metrics.count("connections_refused_total")
        except Exception as error:  # noqa: BLE001 - one connection's bug must not end the others
            self._metrics.count("failures_total")
            self._log.bug("failure", error, method="connection")
        finally:
            sock.close()
            self._room.release()

    async def _handle(self, sock: socket.socket, address: str) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not _is_loopback(address) and not self._is_proxy(address):
            await self._wait_turn(address)
        with trio.move_on_after(self._limits.first_byte_seconds) as patience:
            await trio.lowlevel.wait_readable(sock)
        if patience.cancelled_caught:
            raise LinkClosed("no first byte in time")
        transport = SocketTransport(sock) if self._tls is None else TlsTransport(sock, self._tls)
        try:
            link, peer = await self._open(transport, address)
        except LinkClosed:
            await transport.close()
            raise
        if link is None:
            await transport.close()
        else:
            await self._serve(link, peer)

    async def _open(self, transport: SocketTransport | TlsTransport, address: str) -> tuple[WsLink | None, PeerInfo]:
        """The WebSocket that the connection becomes, or None after a page. Raises `LinkClosed`."""
        try:
            with trio.fail_after(self._limits.head_seconds):
                if isinstance(transport, TlsTransport):
                    await transport.handshake()
                head = await read_head(transport)
            peer = self._peer(address, head)
            if self._is_proxy(address):
                await self._wait_turn(peer.address)
            with trio.fail_after(self._limits.head_seconds):
                protocol = await answer_head(transport, head, self._pages)
            if protocol is None:
                return None, peer
            link = WsLink(transport, protocol, dead_seconds=self._limits.dead_seconds)
            if head.rest:
                await link.feed(head.rest)
            return link, peer
        except BadHead as error:
            await self._say(transport, error.page)
        except trio.TooSlowError:
            await self._say(transport, Page(HTTPStatus.REQUEST_TIMEOUT, "no request in time\n"))
        raise LinkClosed("not a request we answer")

    async def _wait_turn(self, address: str) -> None:
        wait = self._pace.reserve(address)
        if wait > self._limits.pace_seconds:
            raise LinkClosed("too many connections from one address")
        await trio.sleep(wait)

    async def _say(self, transport: SocketTransport | TlsTransport, page: Page) -> None:
        with trio.move_on_after(1):
            await send_page(transport, page)

    def _peer(self, address: str, head: Head) -> PeerInfo:
        """Whom the connection counts as. What comes through a proxy is never this machine."""
        forwarded = head.header("x-forwarded-for")
        if self._is_proxy(address):
            if forwarded is None:
                return PeerInfo(address, False)
            return PeerInfo(forwarded.rpartition(",")[2].strip()[:64], False)
        return PeerInfo(address, _is_loopback(address) and forwarded is None and head.header("forwarded") is None)

    def _is_proxy(self, address: str) -> bool:
        return any(_address(address) in network for network in self._proxies)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    found = ipaddress.ip_address(text.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


def _is_loopback(text: str) -> bool:
    return _address(text).is_loopback
