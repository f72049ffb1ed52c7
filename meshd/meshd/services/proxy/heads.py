"""Requests out of a client's bytes: heads, pieces of bodies, ends. Without I/O.

Names, values and their order are kept as they came; what could be read in two ways is refused.
"""

from typing import Final, NamedTuple, TypeAlias

import httptools

MAX_HEAD: Final = 64 * 1024
MAX_HEADERS: Final = 256
CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key"})
"""Where a client of the API says who it is, in lower case."""


class Header(NamedTuple):
    """One line of a head, as it came but for the blanks before the value. `lower` is the name in lower case."""

    name: bytes
    value: bytes
    lower: bytes


class Head(NamedTuple):
    """A request's head. `chunked`: its body comes in chunks; `last`: the client sends no other request."""

    method: bytes
    target: bytes
    version: bytes
    headers: tuple[Header, ...]
    chunked: bool
    last: bool

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header, by its name in lower case."""
        return [header.value for header in self.headers if header.lower == name]

    def value(self, name: bytes) -> bytes:
        """The first value of a header, or nothing."""
        for header in self.headers:
            if header.lower == name:
                return header.value
        return b""


class Whose(NamedTuple):
    """The client that a request's token is of, and the account whose credential it gets. Both empty: the person's own
    client, with the credential that it brings."""

    client: str = ""
    account: str = ""


OWN: Final = Whose()


class Credential(NamedTuple):
    """What takes the place of a client's own credential: one header, and a word that `anthropic-beta` needs beside it."""

    name: bytes
    value: bytes
    beta: bytes = b""

    def __repr__(self) -> str:
        return f"Credential({self.name!r}, <secret>)"


class End(NamedTuple):
    """A request is complete. `trailers` came behind a body in chunks."""

    trailers: tuple[Header, ...]


Event: TypeAlias = Head | bytes | End
"""Bytes are a piece of the body."""


class BadRequest(Exception):
    """The bytes are no request that may be passed on; the text says why."""


class RequestReader:
    """Turns bytes into events. After `BadRequest` it must not be fed again."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._target = b""
        self._headers: list[Header] = []
        self._in_body = False
        self._waiting = 0
        self._parser = httptools.HttpRequestParser(self)

    @property
    def unfinished(self) -> bool:
        """A head has begun and is not whole."""
        return self._waiting > 0 and not self._in_body

    def feed(self, data: bytes) -> list[Event]:
        """The events of `data`, in order. Raises `BadRequest`."""
        events = self._events = []
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise BadRequest("this proxy passes no other protocol on") from None
        except httptools.HttpParserCallbackError:
            raise BadRequest("the head is too large or not well formed") from None
        except httptools.HttpParserError:
            raise BadRequest("this is not HTTP/1.1") from None
        # What is not of a body is of a head, or of the framing of chunks: neither may go on for ever.
        self._waiting = self._waiting + len(data) if not events else 0
        if self._waiting > MAX_HEAD:
            raise BadRequest("the head is too large")
        return events

    # httptools' callbacks.

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > MAX_HEAD:
            raise OverflowError

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self._headers) >= MAX_HEADERS or b"\r" in value or b"\n" in value or not name:
            raise OverflowError
        self._headers.append(Header(name, value, name.lower()))

    def on_headers_complete(self) -> None:
        parser = self._parser
        headers = tuple(self._headers)
        if sum(len(header.name) + len(header.value) for header in headers) > MAX_HEAD:
            raise OverflowError
        chunked = any(header.lower == b"transfer-encoding" for header in headers)
        version = parser.get_http_version().encode("ascii")
        self._events.append(
            Head(parser.get_method(), self._target, version, headers, chunked, not parser.should_keep_alive())
        )
        self._headers = []
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        self._events.append(body)

    def on_message_complete(self) -> None:
        self._events.append(End(tuple(self._headers)))
        self._headers = []
        self._target = b""
        self._in_body = False


def write_head(head: Head, target: bytes, host: bytes, credential: Credential | None = None) -> bytes:
    """The head as it goes on: the upstream's target and host, everything else as it came, in its order.

    What is meant for the proxy itself (`Proxy-…`) ends here; with `credential` the client's own do, and it comes last.
    """
    lines = [head.method + b" " + target + b" HTTP/" + head.version]
    for name, value, lower in head.headers:
        if lower == b"host":
            value = host
        elif lower.startswith(b"proxy-") or (credential is not None and lower in CREDENTIALS):
            continue
        lines.append(name + b": " + value)
    if credential is not None:
        lines.append(credential.name + b": " + credential.value)
        said = b",".join(head.values(b"anthropic-beta"))
        if credential.beta and credential.beta not in [each.strip() for each in said.split(b",")]:
            lines.append(b"anthropic-beta: " + credential.beta)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def write_piece(piece: bytes, *, chunked: bool) -> bytes:
    """A piece of a body in the framing that the head announced."""
    return b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece


def write_end(end: End, *, chunked: bool, replaced: bool = False) -> bytes:
    """What closes a body in chunks; nothing otherwise. `replaced`: the client's own credential ends here too."""
    if not chunked:
        return b""
    trailers = [each for each in end.trailers if not (replaced and each.lower in CREDENTIALS)]
    return b"0\r\n" + b"".join(b"%b: %b\r\n" % header[:2] for header in trailers) + b"\r\n"
