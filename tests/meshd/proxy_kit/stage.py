"""A proxy on real sockets, an upstream that does what a test tells it, and clients that speak bytes."""

import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import trio

from mesh_protocol.io.sqlite import ThreadWorker
from meshd.seams import Seams
from meshd.services.proxy.service import Service

T = TypeVar("T")
SECONDS = 60.0
KEY = bytes(range(32))
Play = Callable[[trio.SocketStream], Awaitable[None]]


async def in_thread(work: Callable[[], T]) -> T:
    return await trio.to_thread.run_sync(work)


SEAMS = Seams(clock=lambda: time.time_ns() // 1_000_000, rng=os.urandom, threads=in_thread, worker=ThreadWorker)


@dataclass(eq=False)
class Upstream:
    """Plays `play` on each connection."""

    port: int
    play: Play
    ended: list[int] = field(default_factory=list)
    """Connections that the proxy has closed, by their number."""

    async def serve(self, stream: trio.SocketStream) -> None:
        try:
            await self.play(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)


class Hearing:
    """A stream that notes what comes; `until` waits for it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.got = bytearray()
        self.closed = False

    async def until(self, ending: bytes) -> bytes:
        """Read until what was read ends with `ending`."""
        with trio.fail_after(SECONDS):
            while not self.got.endswith(ending):
                data = await self.stream.receive_some(65536)
                assert data, f"closed after {bytes(self.got)!r}"
                self.got += data
        return bytes(self.got)

    async def rest(self) -> bytes:
        """Read until the other side closes."""
        with trio.fail_after(SECONDS):
            while data := await self.stream.receive_some(65536):
                self.got += data
        self.closed = True
        return bytes(self.got)

    async def send(self, data: bytes) -> None:
        with trio.fail_after(SECONDS):
            await self.stream.send_all(data)


@dataclass(eq=False)
class Stage:
    """`service` runs; its upstream is `upstream`."""

    service: Service
    upstream: Upstream
    nursery: trio.Nursery
    clients: list[Hearing] = field(default_factory=list)

    @property
    def path(self) -> str:
        """What every target begins with: the token is in it."""
        return self.service.url.partition(str(self.service.settings.port))[2]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.service.settings.port}"

    async def client(self) -> Hearing:
        """A new connection; it is closed with the stage."""
        self.clients.append(Hearing(await trio.open_tcp_stream("127.0.0.1", self.service.settings.port)))
        return self.clients[-1]

    def request(self, target: str, body: bytes = b"", *, method: str = "POST", more: str = "") -> bytes:
        """The bytes of a request, with a length where it has a body."""
        length = f"content-length: {len(body)}\r\n" if body or method == "POST" else ""
        head = f"{method} {self.path}{target} HTTP/1.1\r\nHost: {self.host}\r\n{more}{length}\r\n"
        return head.encode("latin-1") + body

    async def recorded(self, count: int) -> list[dict[str, object]]:
        """The rows of the record, once there are so many."""

        def rows() -> list[dict[str, object]]:
            cursor = self.service.db.reader.execute("SELECT * FROM request ORDER BY row")
            names = [each[0] for each in cursor.get_description()] if self.count() else []
            return [dict(zip(names, row, strict=True)) for row in cursor]

        await until(lambda: self.count() >= count, f"{count} requests in the record")
        return rows()

    def count(self) -> int:
        found = self.service.db.reader.execute("SELECT count(*) FROM request").get
        assert isinstance(found, int)
        return found


async def until(condition: Callable[[], bool], what: str) -> None:
    with trio.move_on_after(SECONDS):
        while not condition():
            await trio.sleep(0.005)
        return
    raise AssertionError(f"{what} did not come")


def answering(answer: bytes, heard: list[bytes] | None = None) -> Play:
    """An upstream that reads a head and its counted body, notes it in `heard`, answers, and goes on with the next one."""

    async def play(stream: trio.SocketStream) -> None:
        buffer = bytearray()
        while (request := await read_request(stream, buffer)) is not None:
            if heard is not None:
                heard.append(request)
            await stream.send_all(answer)

    return play


async def read_request(stream: trio.abc.ReceiveStream, buffer: bytearray) -> bytes | None:
    """One request with its counted or chunked body, taken out of `buffer`; None when the other side closed."""
    while True:
        head, blank, rest = bytes(buffer).partition(b"\r\n\r\n")
        if blank:
            lower = head.lower()
            if b"transfer-encoding" in lower:
                end = rest.find(b"0\r\n\r\n")
                size = end + 5 if end >= 0 else -1
            else:
                _, named, after = lower.partition(b"content-length:")
                size = int(after.split(b"\r\n")[0]) if named else 0
            if 0 <= size <= len(rest):
                whole = bytes(buffer[: len(head) + 4 + size])
                del buffer[: len(whole)]
                return whole
        data = await stream.receive_some(65536)
        if not data:
            return None
        buffer += data


@asynccontextmanager
async def open_stage(folder: Path, play: Play, *, seams: Seams = SEAMS) -> AsyncIterator[Stage]:
    """A proxy that is on while the block runs."""
    folder.chmod(0o700)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        upstream = Upstream(listeners[0].socket.getsockname()[1], play)
        nursery.start_soon(trio.serve_listeners, upstream.serve, listeners)
        async with open_service(folder, seams) as service:
            await service.turn_on(f"http://127.0.0.1:{upstream.port}", 0, new_token=False)
            stage = Stage(service, upstream, nursery)
            try:
                yield stage
            finally:
                for client in stage.clients:
                    await trio.aclose_forcefully(client.stream)
        nursery.cancel_scope.cancel()


def broken(method: str, error: BaseException) -> str:
    raise AssertionError(f"a bug in {method}") from error


@asynccontextmanager
async def open_service(
    folder: Path, seams: Seams = SEAMS, make_context: Callable[[], ssl.SSLContext] = ssl.create_default_context
) -> AsyncIterator[Service]:
    """The service of a folder, running; it ends as the daemon's end would end it."""
    service = Service(folder / "proxy.db", seams, KEY, broken, make_context)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.run)
        yield service
        nursery.cancel_scope.cancel()
