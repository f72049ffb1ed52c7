"""From a request on the wire to the one handler that answers it.

A handler is called in the order in which requests arrive and returns an awaitable; what it does before its first await
keeps that order. Who may call is decided here: a key that said no hello for the mesh may do nothing, an open invite's
key only what is declared for everybody, the recovery key a few, a device all of it.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias, TypeVar

from mesh_broker.client import Client, Session
from mesh_broker.limits import Buckets, Limits
from mesh_protocol import broker_api, broker_chain, broker_meeting
from mesh_protocol.broker_api import Hello, PrekeyTake
from mesh_protocol.broker_chain import ChainAppend, ChainRead
from mesh_protocol.broker_meeting import MeetSay
from mesh_protocol.ids import DeviceId, MeshId
from mesh_protocol.io.connection import Reply
from mesh_protocol.op import Operation, Request, Tier, operation_of, read_request
from mesh_protocol.registry import operations_in
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.framing import MAX_BODY
from mesh_protocol.wire.rpc import NotificationReceived, Params, RequestReceived

R = TypeVar("R", bound=Request)

Handler: TypeAlias = Callable[[Session, R, bytes], Awaitable[Reply]]
Greeter: TypeAlias = Callable[[Client, Hello, bytes], Awaitable[Reply]]

MAX_HELLO_BODY: Final = 64 * 1024
RECOVERY: Final = (ChainRead, ChainAppend, PrekeyTake)
"""What the recovery key of a mesh may ask for: it has no mailbox, and stands for no device."""


class Dispatcher:
    """All handlers of a broker. `complete` it before serving."""

    def __init__(self, greeter: Greeter, limits: Limits, now: Callable[[], float]) -> None:
        self._greeter = greeter
        self._rate: Buckets[tuple[MeshId, DeviceId]] = Buckets(limits.call_rate, limits.call_burst, now)
        self._unrated: set[str] = set()
        self._operations = operations_in([broker_api, broker_chain, broker_meeting])
        self._handlers: dict[str, Callable[[Session, Request, bytes], Awaitable[Reply]]] = {}
        self._listeners: dict[str, Callable[[Session, Request, bytes], None]] = {}
        self._max_body: dict[str, int] = {}

    def answer(self, request: type[R], handler: Handler[R], *, max_body: int = 0, rated: bool = True) -> None:
        """Let `handler` answer requests of this class; with `rated` false it bounds its calls itself."""
        method = operation_of(request).method
        if method in self._handlers:
            raise ValueError(f"{method} has two handlers")
        self._handlers[method] = handler  # type: ignore[assignment]  # it is only called with its own class
        self._max_body[method] = max_body
        if not rated:
            self._unrated.add(method)

    def listen(self, request: type[R], listener: Callable[[Session, R, bytes], None]) -> None:
        """Let `listener` take this class when it comes as a notification. Its refusals go nowhere."""
        self._listeners[operation_of(request).method] = listener  # type: ignore[assignment]

    def complete(self) -> None:
        """Raises ValueError unless every declared operation has its handler."""
        missing = self._operations.keys() - self._handlers.keys() - {operation_of(Hello).method}
        if missing:
            raise ValueError(f"no handler for {', '.join(sorted(missing))}")

    @property
    def operations(self) -> Mapping[str, Operation]:
        """All operations, by method."""
        return self._operations

    def serve(self, client: Client, event: RequestReceived) -> Awaitable[Reply]:
        """Answer a request. Raises `MeshError` for what is refused before its handler sees it."""
        operation = self._operations.get(event.method)
        if operation is None:
            raise MeshError("unknown_method", method=event.method)
        if operation.request is Hello:
            hello = read_request(operation, event.params)
            assert isinstance(hello, Hello)
            require_size(operation, event.body, MAX_HELLO_BODY if hello.create else 0)
            return self._greeter(client, hello, event.body)
        session, request = self._admit(client, operation, event.params, event.body)
        return self._handlers[event.method](session, request, event.body)

    def notified(self, client: Client, event: NotificationReceived) -> None:
        """Take a notification. One that is refused is dropped: there is nobody to tell."""
        listener = self._listeners.get(event.method)
        if listener is None:
            return
        try:
            session, request = self._admit(client, self._operations[event.method], event.params, event.body)
            listener(session, request, event.body)
        except MeshError:
            return

    def _admit(self, client: Client, operation: Operation, params: Params, body: bytes) -> tuple[Session, Request]:
        mesh = params.get("mesh")
        session = client.session(MeshId(mesh) if isinstance(mesh, bytes) else MeshId(b""))
        if session.invite is not None and operation.tier > Tier.STATUS:
            raise MeshError("not_allowed", why="an invite's key may only read the chain and ask to join")
        if session.meeting is not None and operation.request is not MeetSay:
            raise MeshError("not_allowed", why="the key of a meeting may only say something in it")
        if session.recovery and operation.request not in RECOVERY:
            raise MeshError("not_allowed", why="the recovery key may only read the chain and append what it signs")
        session.require_right()
        wait = 0.0 if operation.method in self._unrated else self._rate.take((session.room.mesh, session.device))
        if wait:
            raise MeshError("rate_limited", retry_after=round(wait, 3))
        require_size(operation, body, self._max_body[operation.method])
        return session, read_request(operation, params)


def require_size(operation: Operation, body: bytes, limit: int) -> None:
    """Raises `too_large`, or `bad_request` for a body where none belongs."""
    if len(body) <= limit:
        return
    if limit and "too_large" in operation.errors:
        raise MeshError("too_large", what=operation.method, size=len(body), limit=limit)
    raise MeshError("bad_request", what=f"{operation.method}: a body of at most {limit} bytes belongs here")


assert MAX_HELLO_BODY <= MAX_BODY
