"""One connection: a client's requests go to the upstream, its answers come back, each as soon as it is here.

Each client connection has an upstream connection of its own, for its whole life. So what either side does to its
connection (keeping it, closing it, resetting it, reading slowly) is what the other side sees, as without a proxy, and
nothing has to be retried. Answers pass as the bytes they are; of requests only the target and the host are changed.
"""

import select
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol

import trio

from meshd.services.proxy.exchanges import Answers, Exchange, Outcome
from meshd.services.proxy.guards import Guards, Refusal
from meshd.services.proxy.heads import (
    BadRequest,
    Credential,
    End,
    Head,
    RequestReader,
    Whose,
    write_end,
    write_head,
    write_piece,
)
from meshd.services.proxy.upstreams import Door, Unreachable

RECEIVE: Final = 64 * 1024
HEAD_S: Final = 10.0
"""How long a head may take from its first byte to its last, and the first one from the connection's begin."""
LINGER_S: Final = 2.0
"""How long a refused client may go on sending before its connection is closed: closing at once could cost it the answer."""
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of nothing: closing resets."""
_OFF: Final = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "api_error", "the proxy was switched off: mesh proxy on")


class Witness(Protocol):
    """Who is shown what passes. Neither may raise or wait."""

    def begin(self, head: Head, target: bytes, whose: Whose) -> Exchange:
        """A request goes out."""

    def done(self, exchange: Exchange) -> None:
        """Its answer has ended."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every connection shares. `gate` may hold a request of a client with that
    name (empty: none), and refuse it; `credential` is what an account's requests
    carry."""

    guards: Guards
    door: Door
    witness: Witness
    gate: Callable[[Head, str], Awaitable[Refusal | None]]
    credential: Callable[[str], Awaitable[Credential | Refusal]]


class Relay:
    """Runs one connection to its end."""

    def __init__(self, client: trio.SocketStream, around: Surroundings) -> None:
        self._client = client
        self._around = around
        self._answers = Answers(around.witness.done)
        self._upstream: trio.abc.Stream | None = None
        self._deaf = False
        """The upstream takes nothing any more; what it has said still goes to the client."""
        self._exchange: Exchange | None = None
        self._chunked = False
        self._replaced = False
        """The request under way carries an account's credential."""
        self._outcome = Outcome.STOPPED
        self._closing = False
        self._scope = trio.CancelScope()

    @property
    def answering(self) -> bool:
        """A request has not been answered to its end."""
        return self._answers.pending

    def finish_soon(self) -> None:
        """End when what is under way has been answered; now, if nothing is."""
        self._closing = True
        if not self._answers.pending:
            self._scope.cancel()

    async def run(self) -> None:
        """Until either side ends it. Raises nothing but bugs and cancellation."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    await self._pass_requests(nursery)
                    nursery.cancel_scope.cancel()
        finally:
            self._answers.close(self._outcome, trio.current_time())
            if self._upstream is not None:
                await trio.aclose_forcefully(self._upstream)
            await trio.aclose_forcefully(self._client)

    # From the client.

    async def _pass_requests(self, nursery: trio.Nursery) -> None:
        reader = RequestReader()
        with trio.move_on_after(HEAD_S) as patience:
            while True:
                try:
                    data = await self._client.receive_some(RECEIVE)
                except trio.BrokenResourceError:
                    data = b""
                if not data:
                    self._outcome = Outcome.CLIENT_LEFT
                    return
                try:
                    events = reader.feed(data)
                except BadRequest as error:
                    await self._refuse(Refusal(HTTPStatus.BAD_REQUEST, "invalid_request_error", str(error)))
                    return
                was_finite = patience.deadline != float("inf")
                if not reader.unfinished:
                    patience.deadline = float("inf")
                elif not was_finite:
                    patience.deadline = trio.current_time() + HEAD_S
                if not await self._pass_events(events, nursery):
                    return

    async def _pass_events(self, events: "list[Head | bytes | End]", nursery: trio.Nursery) -> bool:
        """False: the connection ends here."""
        out: list[bytes] = []
        for event in events:
            if isinstance(event, bytes):
                out.append(write_piece(event, chunked=self._chunked))
                if self._exchange is not None:
                    self._exchange.asked.feed(event)
            elif isinstance(event, End):
                out.append(write_end(event, chunked=self._chunked, replaced=self._replaced))
                self._exchange = None
            else:
                if out:  # what came before it must not wait where this one is held
                    await self._send_upstream(b"".join(out))
                    out.clear()
                written = await self._begin(event, nursery)
                if isinstance(written, Refusal):
                    await self._refuse(written, to_head=event.method == b"HEAD")
                    return False
                out.append(written)
        if out:
            await self._send_upstream(b"".join(out))
        return True

    async def _begin(self, head: Head, nursery: trio.Nursery) -> bytes | Refusal:
        """A new request: the head as it goes on."""
        around = self._around
        if self._closing:
            return _OFF
        admitted = around.guards.admit(head)
        if isinstance(admitted, Refusal):
            return admitted
        target, whose = admitted
        began = trio.current_time()
        held = await around.gate(head, whose.client)
        if held is not None:
            return held
        credential = await around.credential(whose.account) if whose.account else None
        if isinstance(credential, Refusal):
            return credential
        if trio.current_time() > began and self._client_has_left():
            return _OFF  # nobody waits for it any more: it must not be spent on
        exchange = around.witness.begin(head, target, whose)
        self._answers.expect(exchange)
        if self._upstream is None:
            try:
                self._upstream = await around.door.open()
            except Unreachable as error:
                self._outcome = Outcome.UNREACHABLE
                self._answers.close(self._outcome, trio.current_time())
                return Refusal(HTTPStatus.BAD_GATEWAY, "api_error", f"the API cannot be reached: {error}")
            if self._client_has_left():
                self._outcome = Outcome.CLIENT_LEFT
                self._answers.close(self._outcome, trio.current_time())
                return _OFF  # nobody reads it
            nursery.start_soon(self._pass_answers, self._upstream, nursery.cancel_scope)
        self._exchange, self._chunked, self._replaced = exchange, head.chunked, credential is not None
        return write_head(head, around.door.prefix + target, around.door.host_header, credential)

    def _client_has_left(self) -> bool:
        """Asked of the system: its closing may stand behind bytes that nobody has read yet."""
        poll = select.poll()
        poll.register(self._client.socket.fileno(), getattr(select, "POLLRDHUP", 0))  # macOS has none
        return bool(poll.poll(0))

    async def _send_upstream(self, data: bytes) -> None:
        assert self._upstream is not None
        if self._deaf:
            return
        try:
            await self._upstream.send_all(data)
        except trio.BrokenResourceError:
            self._deaf = True

    async def _refuse(self, refusal: Refusal, *, to_head: bool = False) -> None:
        """An answer of our own, unless one of the upstream's is still on its way: it would stand in its middle."""
        if self._answers.pending:
            return
        try:
            await self._client.send_all(refusal.answer(to_head=to_head))
            await self._client.send_eof()
            with trio.move_on_after(LINGER_S):
                while await self._client.receive_some(RECEIVE):
                    pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    # From the upstream.

    async def _pass_answers(self, upstream: trio.abc.Stream, scope: trio.CancelScope) -> None:
        client, answers = self._client, self._answers
        while True:
            try:
                data = await upstream.receive_some(RECEIVE)
            except trio.BrokenResourceError:
                self._outcome = Outcome.UPSTREAM_RESET
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                break
            if not data:
                self._outcome = Outcome.UPSTREAM_CLOSED
                break
            at = trio.current_time()
            try:
                await client.send_all(data)
            except trio.BrokenResourceError:
                self._outcome = Outcome.CLIENT_LEFT
                break
            answers.feed(bytes(data), at)
            if self._closing and not answers.pending:
                break
        scope.cancel()
