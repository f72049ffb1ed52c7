"""HTTP heads on the broker's one port: a few pages for machines, and the way into a WebSocket.

One request a connection. Everything else is refused with a status that says why, and the connection is closed.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, NamedTuple, TypeAlias

import httptools
import trio
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from mesh_broker.transport import Transport
from mesh_protocol.io.link import LinkClosed

MAX_HEAD: Final = 8 * 1024
MAX_HEADERS: Final = 64
LINGER_SECONDS: Final = 1.0
"""How long we wait for the other side to close after a page: closing first may cost it our last bytes."""


class Page(NamedTuple):
    """A whole answer."""

    status: HTTPStatus
    body: str
    kind: str = "text/plain; charset=utf-8"


Pages: TypeAlias = Callable[[str], Awaitable[Page]]
"""The page at a path; an unknown path gives a page too, with status 404."""


class Head(NamedTuple):
    """A request's head. Header names are in lower case; `rest` is what followed it."""

    method: str
    path: str
    protocol: str
    headers: tuple[tuple[str, str], ...]
    upgrade: bool
    rest: bytes

    def header(self, name: str) -> str | None:
        """The last value of a header."""
        return next((value for key, value in reversed(self.headers) if key == name), None)


class BadHead(Exception):
    """What came is not a request we answer; `page` says why."""

    def __init__(self, page: Page) -> None:
        super().__init__(page.status.phrase)
        self.page = page


class _Collector:
    """Takes the callbacks of httptools."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[str, str]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_HEADERS:
            raise OverflowError("too many headers")
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.complete = True


async def read_head(transport: Transport) -> Head:
    """Read one request head. Raises `BadHead` or `LinkClosed`; the caller sets the deadline."""
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    size = 0
    while not collector.complete:
        data = await transport.receive()
        if not data:
            raise LinkClosed("closed before a request")
        size += len(data)
        rest = _feed(parser, data)
        if size - len(rest) > MAX_HEAD:
            raise BadHead(_refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the head is too large"))
    return Head(
        parser.get_method().decode("latin-1"),
        collector.url.decode("latin-1").partition("?")[0],
        f"HTTP/{parser.get_http_version()}",
        tuple(collector.headers),
        bool(parser.should_upgrade()),
        rest,
    )


def _feed(parser: httptools.HttpRequestParser, data: bytes) -> bytes:
    """Feed the parser; what follows the head of an upgrade is returned."""
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade as upgrade:
        return data[upgrade.args[0] :]
    except httptools.HttpParserCallbackError:
        raise BadHead(_refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers")) from None
    except httptools.HttpParserError:
        raise BadHead(_refusal(HTTPStatus.BAD_REQUEST, "this is not HTTP/1.1")) from None
    return b""


def _refusal(status: HTTPStatus, why: str) -> Page:
    return Page(status, why + "\n")


async def answer_head(transport: Transport, head: Head, pages: Pages) -> ServerProtocol | None:
    """Answer a page, or accept a WebSocket and return its protocol, open. Raises `BadHead` or `LinkClosed`."""
    if head.upgrade or head.header("upgrade") is not None:
        return await _accept(transport, head)
    if head.method != "GET":
        raise BadHead(_refusal(HTTPStatus.METHOD_NOT_ALLOWED, "only GET"))
    await send_page(transport, await pages(head.path))
    return None


async def _accept(transport: Transport, head: Head) -> ServerProtocol:
    if head.header("origin") is not None:
        # A browser sends it always, a daemon never: a web page cannot be made to speak to a broker on this machine.
        raise BadHead(_refusal(HTTPStatus.FORBIDDEN, "no web page may connect here"))
    if head.path != "/":
        raise BadHead(_refusal(HTTPStatus.NOT_FOUND, "the WebSocket is at /"))
    protocol = ServerProtocol(state=OPEN)
    response = protocol.accept(Request(head.path, Headers(head.headers), head.method, head.protocol))
    await transport.send(response.serialize())
    if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
        raise LinkClosed("no WebSocket handshake")
    return protocol


async def send_page(transport: Transport, page: Page) -> None:
    """Send a whole answer and say that nothing follows."""
    body = page.body.encode()
    head = (
        f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\n"
        f"Content-Type: {page.kind}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    await transport.send(head.encode("ascii") + body)
    with trio.move_on_after(LINGER_SECONDS):
        await transport.finish()
