"""The RPC pump: drives a sans-I/O `Peer` over a `Link`. One class for all three links of the system."""

import math
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeAlias

import trio

from mesh_protocol.io.link import Link, LinkClosed
from mesh_protocol.io.outgoing import Outgoing
from mesh_protocol.wire.codec import JsonValue
from mesh_protocol.wire.errors import MeshError, RemoteError
from mesh_protocol.wire.rpc import (
    MAX_IN_FLIGHT,
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

FAREWELL_SECONDS: Final = 1.0
"""How long the end of a connection may take: to send what is queued, to read what the other side said last."""


class Reply(NamedTuple):
    """An answer: `result` goes into the header, `body` beside it.

    A handler may name in `sent` what shall follow the answer on this connection, never precede it.
    """

    result: JsonValue
    body: bytes = b""
    sent: Callable[[], None] | None = None


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
        max_calls: int = MAX_IN_FLIGHT,
    ) -> None:
        self._link = link
        self._serve = serve
        self._notified = notified
        self._failed = failed
        self._peer = peer or Peer()
        self._outgoing = Outgoing()
        self._slots = trio.Semaphore(max_calls)
        self._pending: dict[int, Call] = {}
        self._serving: dict[int, trio.CancelScope] = {}
        self._closed: str | None = None
        self._ended = trio.Event()
        self.last_heard = trio.current_time()
        """trio time of the newest bytes from the other side."""
        self.frames = 0
        """Frames that have arrived whole."""

    @property
    def closed(self) -> str | None:
        """Why the connection ended; None while it lives."""
        return self._closed

    @property
    def unfinished(self) -> int:
        """Bytes of a frame that has not arrived whole."""
        return self._peer.unfinished

    async def call(self, method: str, params: Params, body: bytes = b"", *, seconds: float = math.inf) -> Reply:
        """Call the other side. Raises `RemoteError`, `LinkClosed`, or `trio.TooSlowError` after `seconds`.

        A call that is cancelled or too slow is taken back: the other side is told, its answer is dropped.
        """
        with trio.fail_after(seconds):
            return await (await self.begin(method, params, body))._reply()

    async def begin(self, method: str, params: Params, body: bytes = b"") -> "Call":
        """Send a request and return before its answer: calls begun one after another arrive in that order.

        Waits while the other side owes as many answers as it takes at once. Raises `LinkClosed`; `CodecError` or
        `FrameError` for what cannot travel. Whoever begins a call must ask for its reply.
        """
        self._check_open()
        try:
            self._slots.acquire_nowait()
        except trio.WouldBlock:
            await self._slots.acquire()
        try:
            self._check_open()
            request_id, data = self._peer.request(method, params, body)
            call = self._pending[request_id] = Call(self, request_id)
            try:
                await self._send(data)
            except BaseException:  # nothing was sent: the other side owes no answer
                del self._pending[request_id]
                self._peer.withdraw(request_id)
                raise
        except BaseException:
            self._slots.release()
            raise
        return call

    async def notify(self, method: str, params: Params, body: bytes = b"") -> None:
        """Send a notification. Raises as `begin` does."""
        await self._send(self._peer.notify(method, params, body))

    async def send_encoded(self, frame: bytes) -> None:
        """Send a frame encoded elsewhere, so that a fan-out encodes once."""
        await self._send(frame)

    async def _send(self, data: bytes) -> None:
        """Queue a frame when there is room. Whole or, cancelled, not at all."""
        self._check_open()
        if not self._outgoing.put_now(data):
            async with self._outgoing.turn():
                self._check_open()
                self._outgoing.put(data)

    def _check_open(self) -> None:
        if self._closed is not None:
            raise LinkClosed(self._closed)

    def _end(self, why: str) -> None:
        """From here on nothing is sent, and everybody who waits is told `why`."""
        self._closed = self._closed or why
        self._ended.set()
        self._outgoing.close()
        for call in self._pending.values():
            call.event.set()
        for _ in range(self._slots.statistics().tasks_waiting):
            self._slots.release()

    async def wait_closed(self) -> None:
        """Return when the connection has ended, by either side."""
        await self._ended.wait()

    async def aclose(self, why: str = "closed by this side") -> None:
        """Send what is queued (a second at most) and end the connection; `run` returns, waiting calls raise."""
        self._end(why)
        try:
            with trio.move_on_after(FAREWELL_SECONDS):
                await self._outgoing.flushed()
        finally:
            await self._link.aclose()

    async def run(self) -> str:
        """Read and write until the end; returns why it ended."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, nursery.cancel_scope)
                try:
                    await self._read(nursery)
                finally:
                    nursery.cancel_scope.cancel()
        finally:
            self._end("cancelled")
            with trio.CancelScope(shield=True, deadline=trio.current_time() + FAREWELL_SECONDS):
                await self._link.aclose()
        return self._closed or ""

    async def _write(self, connection: trio.CancelScope) -> None:
        # One task writes, so that a cancelled caller never leaves half a frame on a stream that others share.
        try:
            await self._outgoing.pump(self._link)
        except LinkClosed as error:
            self._end(str(error))
            await trio.sleep(FAREWELL_SECONDS)  # it may have said why before it closed: read that first
            connection.cancel()

    async def _read(self, nursery: trio.Nursery) -> None:
        while True:
            try:
                data = await self._link.receive()
            except LinkClosed as error:
                self._end(str(error))
                return
            self.last_heard = trio.current_time()
            try:
                events = [self._peer.receive_message(data)] if self._link.whole else self._peer.receive(data)
            except ProtocolError as error:
                self._end(f"protocol error: {error}")
                return
            self.frames += len(events)
            for event in events:
                self._take(event, nursery)

    def _take(self, event: Event, nursery: trio.Nursery) -> None:
        match event:
            case RequestReceived():
                scope = self._serving[event.id] = trio.CancelScope()  # here: its cancel may come in the same bytes
                nursery.start_soon(self._answer, event, self._begin(event), scope)
            case NotificationReceived():
                try:
                    self._notified(event)
                except Exception as error:  # noqa: BLE001 - the boundary between a handler and its connection
                    self._failed(event.method, error)
            case ResponseReceived():
                self._settle(event.id, Reply(event.result, event.body))
            case ErrorReceived():
                self._settle(event.id, event.error)
            case CancelReceived():
                if event.id in self._serving:
                    self._serving[event.id].cancel()

    def _begin(self, request: RequestReceived) -> Awaitable[Reply] | Exception:
        try:
            return self._serve(request)
        except Exception as error:  # noqa: BLE001 - the boundary between a handler and its connection
            return error

    def _settle(self, request_id: int, outcome: "Reply | RemoteError") -> None:
        self._slots.release()
        call = self._pending.get(request_id)
        if call is not None:
            call.outcome = outcome
            call.event.set()

    async def _answer(
        self, request: RequestReceived, work: Awaitable[Reply] | Exception, scope: trio.CancelScope
    ) -> None:
        outcome: Reply | Exception = MeshError("cancelled")
        try:
            with scope:  # inside, so that what a cancelled handler's clean-up raises is caught as well
                if isinstance(work, Exception):
                    raise work
                outcome = await work
        except Exception as error:  # noqa: BLE001 - one bad call must not end its neighbours
            outcome = error
        del self._serving[request.id]
        async with self._outgoing.turn():
            # Until its bytes are queued the request counts as unanswered: who does not read cannot pile up answers.
            if self._closed is None:
                self._outgoing.put(self._encode(request, outcome))
                if isinstance(outcome, Reply) and outcome.sent is not None:
                    outcome.sent()

    def _encode(self, request: RequestReceived, outcome: object) -> bytes:
        try:
            if isinstance(outcome, Reply):
                return self._peer.respond(request.id, outcome.result, outcome.body)
            if isinstance(outcome, MeshError):
                return self._peer.fail(request.id, outcome.code, outcome.message, outcome.data)
        except ValueError as unfit:  # an answer that cannot travel
            outcome = unfit
        error = outcome if isinstance(outcome, Exception) else TypeError(f"not a Reply: {type(outcome).__name__}")
        bug = MeshError("internal", reference=self._failed(request.method, error))
        return self._peer.fail(request.id, bug.code, bug.message, bug.data)


class Call:
    """A request that was sent."""

    __slots__ = ("_connection", "_id", "event", "outcome")

    def __init__(self, connection: Connection, request_id: int) -> None:
        self._connection = connection
        self._id = request_id
        self.event = trio.Event()
        self.outcome: Reply | RemoteError | None = None

    async def reply(self, seconds: float = math.inf) -> Reply:
        """Wait for the answer. Raises `RemoteError`, `LinkClosed`, or `trio.TooSlowError` after `seconds`.

        When that is cancelled or too slow, the call is taken back.
        """
        with trio.fail_after(seconds):
            return await self._reply()

    async def _reply(self) -> Reply:
        connection = self._connection
        try:
            await self.event.wait()
        except trio.Cancelled:
            if connection._closed is None and self.outcome is None:
                connection._outgoing.put(connection._peer.cancel(self._id))  # tiny, one a call: it need not wait
            raise
        finally:
            connection._pending.pop(self._id, None)
        if isinstance(self.outcome, Reply):
            return self.outcome
        if isinstance(self.outcome, RemoteError):
            raise self.outcome
        raise LinkClosed(connection._closed or "closed")
