"""The RPC pump: drives a sans-I/O `Peer` over a `Link`. One class for all three links of the system."""

import math
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias

import trio

from mesh_protocol.io.link import Link, LinkClosed
from mesh_protocol.wire.codec import JsonValue
from mesh_protocol.wire.errors import MeshError, RemoteError
from mesh_protocol.wire.rpc import (
    CancelReceived,
    ErrorReceived,
    Event,
    NotificationReceived,
    Params,
    Peer,
    ProtocolError,
    RequestReceived,
    ResponseReceived,
)


class Reply(NamedTuple):
    """An answer: `result` goes into the header, `body` beside it."""

    result: JsonValue
    body: bytes = b""


Serve: TypeAlias = Callable[[RequestReceived], Awaitable[Reply]]
"""Answers a request. It is *called* in the order of arrival, in the reading task, and its awaitable is awaited in a task
of its own: a plain function that queues its work and returns an awaitable keeps the order; an `async def` does not."""

Notified: TypeAlias = Callable[[NotificationReceived], None]
"""Takes a notification, in order, without waiting."""

Failed: TypeAlias = Callable[[str, BaseException], str]
"""Reports an unexpected exception of a handler (method, exception); returns the reference that the caller is told."""


async def refuse_all(request: RequestReceived) -> Reply:
    """A peer that serves nothing."""
    raise MeshError("unknown_method", method=request.method)


def drop_notification(_: NotificationReceived) -> None:
    """A peer that expects no notifications."""


class Connection:
    """One live connection. `run` it in a nursery; it returns when the link ends, whoever ended it.

    `failed` is told of exceptions that are bugs; declared refusals (`MeshError`) go to the caller alone.
    """

    def __init__(
        self,
        link: Link,
        *,
        serve: Serve = refuse_all,
        notified: Notified = drop_notification,
        failed: Failed,
        peer: Peer | None = None,
    ) -> None:
        self._link = link
        self._serve = serve
        self._notified = notified
        self._failed = failed
        self._peer = peer or Peer()
        self._sending = trio.StrictFIFOLock()
        self._pending: dict[int, _Waiting] = {}
        self._serving: dict[int, trio.CancelScope] = {}
        self._closed: str | None = None
        self.last_heard = trio.current_time()
        """trio time of the newest bytes from the other side."""

    @property
    def closed(self) -> str | None:
        """Why the connection ended; None while it lives."""
        return self._closed

    @property
    def unfinished(self) -> int:
        """Bytes of a frame that has not arrived whole."""
        return self._peer.unfinished

    async def call(self, method: str, params: Params, body: bytes = b"", *, seconds: float = math.inf) -> Reply:
        """Call the other side. Raises `RemoteError`, `LinkClosed`, or `trio.TooSlowError` after `seconds`."""
        if self._closed is not None:
            raise LinkClosed(self._closed)
        request_id, data = self._peer.request(method, params, body)
        waiting = self._pending[request_id] = _Waiting()
        try:
            with trio.fail_after(seconds) if seconds != math.inf else trio.CancelScope():
                await self._send(data)
                await waiting.event.wait()
        except trio.TooSlowError:
            await self._send(self._peer.cancel(request_id))
            raise
        finally:
            self._pending.pop(request_id, None)
        outcome = waiting.outcome
        if isinstance(outcome, Reply):
            return outcome
        if isinstance(outcome, RemoteError):
            raise outcome
        raise LinkClosed(self._closed or "closed")

    async def notify(self, method: str, params: Params, body: bytes = b"") -> None:
        await self._send(self._peer.notify(method, params, body))

    async def send_encoded(self, frame: bytes) -> None:
        """Send a frame encoded elsewhere, so that a fan-out encodes once."""
        await self._send(frame)

    async def _send(self, data: bytes) -> None:
        if self._closed is not None:
            raise LinkClosed(self._closed)
        async with self._sending:
            await self._link.send(data)

    async def aclose(self, why: str = "closed by this side") -> None:
        """End the connection; `run` returns and waiting calls raise."""
        if self._closed is None:
            self._closed = why
        await self._link.aclose()

    async def run(self) -> str:
        """Read until the end; returns why it ended."""
        try:
            async with trio.open_nursery() as nursery:
                try:
                    await self._read(nursery)
                finally:
                    nursery.cancel_scope.cancel()
        finally:
            self._closed = self._closed or "cancelled"
            for waiting in self._pending.values():
                waiting.event.set()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await self._link.aclose()
        return self._closed

    async def _read(self, nursery: trio.Nursery) -> None:
        while True:
            try:
                data = await self._link.receive()
            except LinkClosed as error:
                self._closed = self._closed or str(error)
                return
            self.last_heard = trio.current_time()
            try:
                events = [self._peer.receive_message(data)] if self._link.whole else self._peer.receive(data)
            except ProtocolError as error:
                self._closed = f"protocol error: {error}"
                return
            for event in events:
                self._take(event, nursery)

    def _take(self, event: Event, nursery: trio.Nursery) -> None:
        match event:
            case RequestReceived():
                nursery.start_soon(self._answer, event, self._begin(event))
            case NotificationReceived():
                self._notified(event)
            case ResponseReceived():
                self._settle(event.id, Reply(event.result, event.body))
            case ErrorReceived():
                self._settle(event.id, event.error)
            case CancelReceived():
                scope = self._serving.get(event.id)
                if scope is not None:
                    scope.cancel()

    def _begin(self, request: RequestReceived) -> Awaitable[Reply] | Exception:
        try:
            return self._serve(request)
        except Exception as error:  # noqa: BLE001 - the boundary between a handler and its connection
            return error

    def _settle(self, request_id: int, outcome: "Reply | RemoteError") -> None:
        waiting = self._pending.get(request_id)
        if waiting is not None:
            waiting.outcome = outcome
            waiting.event.set()

    async def _answer(self, request: RequestReceived, work: Awaitable[Reply] | Exception) -> None:
        with trio.CancelScope() as scope:
            self._serving[request.id] = scope
            try:
                if isinstance(work, Exception):
                    raise work
                reply = await work
                data = self._peer.respond(request.id, reply.result, reply.body)
            except MeshError as error:
                data = self._peer.fail(request.id, error.code, error.message, error.data)
            except Exception as error:  # noqa: BLE001 - one bad call must not end its neighbours
                bug = MeshError("internal", reference=self._failed(request.method, error))
                data = self._peer.fail(request.id, bug.code, bug.message, bug.data)
            finally:
                del self._serving[request.id]
        if scope.cancelled_caught:
            gone = MeshError("cancelled")
            data = self._peer.fail(request.id, gone.code, gone.message, gone.data)
        try:
            await self._send(data)
        except LinkClosed:
            return


class _Waiting:
    __slots__ = ("event", "outcome")

    def __init__(self) -> None:
        self.event = trio.Event()
        self.outcome: Reply | RemoteError | None = None
