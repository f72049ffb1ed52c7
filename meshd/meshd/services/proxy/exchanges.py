"""One request and its answer while they pass, and the answers of a connection told apart.

The relay passes bytes and then shows them here; nothing here delays or changes them.
"""

import enum
from collections import deque
from collections.abc import Callable
from typing import Final

import httptools

from meshd.services.proxy.answers import AnswerAccount
from meshd.services.proxy.heads import OWN, Head, Whose

MAX_COPY: Final = 32 * 1024 * 1024
"""Bytes of one request that are kept until it is recorded."""
MAX_COPIES: Final = 128 * 1024 * 1024
"""Bytes of all such copies together."""


class Outcome(enum.StrEnum):
    """How an exchange ended."""

    OPEN = "open"
    COMPLETE = "complete"
    CLIENT_LEFT = "client_left"
    UPSTREAM_CLOSED = "upstream_closed"
    UPSTREAM_RESET = "upstream_reset"
    UNREACHABLE = "unreachable"
    GARBAGE = "garbage"
    STOPPED = "stopped"
    """The daemon ended."""


class Room:
    """How many bytes of copies may still be kept."""

    def __init__(self, size: int = MAX_COPIES) -> None:
        self.left = size

    def take(self, size: int) -> bool:
        if size > self.left:
            return False
        self.left -= size
        return True


class Copy:
    """A request's body as it passes by. `whole` says that nothing is missing; else nothing is kept at all."""

    __slots__ = ("_pieces", "_room", "_size", "wanted", "whole")

    def __init__(self, room: Room, *, wanted: bool) -> None:
        self._room = room
        self._pieces: list[bytes] = []
        self._size = 0
        self.wanted = self.whole = wanted

    def __len__(self) -> int:
        return self._size

    def feed(self, piece: bytes) -> None:
        if not self.whole:
            return
        if self._size + len(piece) > MAX_COPY or not self._room.take(len(piece)):
            self.release()
            return
        self._size += len(piece)
        self._pieces.append(piece)

    def join(self) -> bytes:
        return b"".join(self._pieces)

    def release(self) -> None:
        """Nothing of it is needed any more."""
        self._room.left += self._size
        self._pieces, self._size, self.whole = [], 0, False


UNWANTED: Final = Copy(Room(0), wanted=False)
"""Of what nobody keeps."""


class Exchange:
    """Times are seconds of trio's clock, -1 while they have not come; `started_ms` is the epoch's."""

    __slots__ = (
        "account",
        "answer",
        "asked",
        "began",
        "ended",
        "first_byte",
        "head",
        "number",
        "outcome",
        "started_ms",
        "status",
        "target",
        "told",
        "whose",
    )

    def __init__(
        self, number: int, head: Head, target: bytes, asked: Copy, began: float, started_ms: int, whose: Whose = OWN
    ) -> None:
        self.number = number
        self.head = head
        self.whose = whose
        self.target = target
        """Path and query at the upstream: the token is not in it."""
        self.asked = asked
        self.answer = UNWANTED
        """The answer's body, where it is to be stored."""
        self.began = began
        self.started_ms = started_ms
        self.first_byte = -1.0
        self.ended = -1.0
        self.outcome = Outcome.OPEN
        self.status = 0
        self.told: dict[bytes, bytes] = {}
        """The answer's headers by their names in lower case; of several the first."""
        self.account: AnswerAccount | None = None

    def release(self) -> None:
        """Nothing of what passed is needed any more."""
        self.asked.release()
        self.answer.release()

    def header(self, name: bytes) -> str:
        """A header of the answer, by its name in lower case."""
        return self.told.get(name, b"").decode("latin-1")


class Answers:
    """The answers of one connection, in the order of its requests. `done` is called with each exchange that ended.

    Fed with exactly what the client is sent, after it was sent. What is not HTTP is passed all the same, and ends the
    observation.
    """

    def __init__(self, done: Callable[[Exchange], None]) -> None:
        self._done = done
        self._waiting: deque[Exchange] = deque()
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._now = 0.0
        self._in_body = False
        self._until_closed = False
        self._blind = False

    @property
    def pending(self) -> bool:
        """A request has not been answered completely."""
        return bool(self._waiting)

    def expect(self, exchange: Exchange) -> None:
        """A request goes out."""
        self._waiting.append(exchange)

    def feed(self, data: bytes, at: float) -> None:
        """A piece of answers, received at `at`."""
        if self._blind or not self._waiting:
            return
        self._now = at
        exchange = self._waiting[0]
        if exchange.first_byte < 0:
            exchange.first_byte = at
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._blind = True
            if self._waiting:
                self._waiting[0].outcome = Outcome.GARBAGE

    def close(self, outcome: Outcome, at: float) -> None:
        """The connection has ended for this reason; whatever is under way ends with it."""
        while self._waiting:
            exchange = self._waiting[0]
            whole = self._until_closed and self._in_body and outcome is Outcome.UPSTREAM_CLOSED
            if exchange.outcome is Outcome.OPEN:
                exchange.outcome = Outcome.COMPLETE if whole else outcome
            self._finish(at)

    def _finish(self, at: float) -> None:
        exchange = self._waiting.popleft()
        exchange.ended = at
        if exchange.account is not None:
            exchange.account.end()
        self._in_body = self._until_closed = False
        self._done(exchange)

    # httptools' callbacks.

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:
            self._headers.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        headers, self._headers = self._headers, {}
        if 100 <= status < 200 or not self._waiting:
            return
        exchange = self._waiting[0]
        exchange.status, exchange.told = status, headers
        exchange.account = AnswerAccount(exchange.header(b"content-type"), exchange.header(b"content-encoding"))
        self._in_body = True
        self._until_closed = not exchange.header(b"content-length") and not exchange.header(b"transfer-encoding")
        if exchange.head.method == b"HEAD":  # its length is another's: no body comes (RFC 9110, 9.3.2)
            exchange.outcome = Outcome.COMPLETE
            self._finish(self._now)
            self._parser = httptools.HttpResponseParser(self)

    def on_body(self, body: bytes) -> None:
        if self._in_body and self._waiting and (account := self._waiting[0].account) is not None:
            self._waiting[0].answer.feed(body)
            account.feed(body, self._now)

    def on_message_complete(self) -> None:
        if self._in_body and self._waiting:
            self._waiting[0].outcome = Outcome.COMPLETE
            self._finish(self._now)
