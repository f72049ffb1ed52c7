"""Two connected links of each kind, and two running connections over them: what the conformance suite runs on."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio_websocket

from mesh_protocol.io.blocking import Client
from mesh_protocol.io.connection import Connection, drop_notification, refuse_all
from mesh_protocol.io.link import Link, LinkClosed
from mesh_protocol.io.memory import link_pair
from mesh_protocol.io.stream import StreamLink
from mesh_protocol.io.websocket import open_websocket
from mesh_protocol.wire.framing import MAX_BODY, MAX_HEADER, PREFIX

sys.path.insert(0, str(Path(__file__).parent))
from blocking_daemon import Daemon

SECONDS = 20
"""No test waits longer for anything."""


@asynccontextmanager
async def memory_links() -> AsyncIterator[tuple[Link, Link]]:
    yield link_pair()


@asynccontextmanager
async def socket_links() -> AsyncIterator[tuple[Link, Link]]:
    left, right = trio.socket.socketpair()
    yield StreamLink(trio.SocketStream(left)), StreamLink(trio.SocketStream(right))


class ServerEnd:
    """The server's end of a WebSocket, by another library than the daemon's."""

    whole = True

    def __init__(self, connection: trio_websocket.WebSocketConnection) -> None:
        self._connection = connection

    async def send(self, frame: bytes) -> None:
        try:
            await self._connection.send_message(frame)
        except trio_websocket.ConnectionClosed:
            raise LinkClosed("closed") from None

    async def receive(self) -> bytes:
        try:
            return bytes(await self._connection.get_message())
        except trio_websocket.ConnectionClosed:
            raise LinkClosed("closed") from None

    async def aclose(self) -> None:
        with trio.move_on_after(0.3):  # it waits for the answer of a client that may not read
            await self._connection.aclose()
        await trio.aclose_forcefully(self._connection._stream)


@asynccontextmanager
async def websocket_links() -> AsyncIterator[tuple[Link, Link]]:
    accepted_send, accepted = trio.open_memory_channel[ServerEnd](1)
    done = trio.Event()

    async def accept(request: trio_websocket.WebSocketRequest) -> None:
        connection = await request.accept()
        await accepted_send.send(ServerEnd(connection))
        await done.wait()

    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            lambda task_status: trio_websocket.serve_websocket(
                accept,
                "127.0.0.1",
                0,
                None,
                max_message_size=PREFIX + MAX_HEADER + MAX_BODY,
                task_status=task_status,
            )
        )
        async with open_websocket(f"ws://127.0.0.1:{server.port}/", None) as link:
            yield link, await accepted.receive()
        done.set()
        nursery.cancel_scope.cancel()


KINDS: dict[str, Callable[[], AbstractAsyncContextManager[tuple[Link, Link]]]] = {
    "memory": memory_links,
    "socketpair": socket_links,
    "websocket": websocket_links,
}


class Bugs(list):
    """Collects what connections report as bugs."""

    def __call__(self, method: str, error: BaseException) -> str:
        self.append((method, error))
        return f"ref-{len(self)}"


@pytest.fixture
def bugs():
    return Bugs()


@pytest.fixture(params=KINDS)
def links(request):
    """A context manager that gives two connected links."""

    @asynccontextmanager
    async def bounded():
        with trio.fail_after(SECONDS):
            async with KINDS[request.param]() as ends:
                try:
                    yield ends
                finally:
                    with trio.CancelScope(shield=True):
                        for end in ends:
                            await end.aclose()

    return bounded


@pytest.fixture
def join(links, bugs):
    """A context manager that gives two running connections: (left, right); `serve` is the right one's."""

    @asynccontextmanager
    async def joined(serve=refuse_all, *, notified=drop_notification, left_serve=refuse_all, **right_options):
        async with links() as (left_link, right_link), trio.open_nursery() as nursery:
            left = Connection(left_link, serve=left_serve, failed=bugs)
            right = Connection(right_link, serve=serve, notified=notified, failed=bugs, **right_options)
            nursery.start_soon(left.run)
            nursery.start_soon(right.run)
            yield left, right
            nursery.cancel_scope.cancel()

    return joined


@pytest.fixture
def daemon(tmp_path):
    with Daemon(tmp_path / "sock") as daemon:
        yield daemon


@pytest.fixture
def client(daemon):
    with Client(str(daemon.path), build="1.2.3") as client:
        yield client
