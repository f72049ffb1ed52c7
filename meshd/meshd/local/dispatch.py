"""From a request on the socket to its handler: version, rights, validation, in that order of cost."""

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar, cast

from mesh_protocol.io.connection import Reply
from mesh_protocol.io.sqlite import StorageFailed
from mesh_protocol.op import Answer, Operation, Request, Tier, operation_of, read_request, write_answer
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.items import take_texts
from mesh_protocol.wire.rpc import RequestReceived
from meshd.audit import run_audited
from meshd.guarding import PASSPHRASE_ONLY, Gate
from meshd.sessions import Session

if TYPE_CHECKING:
    from meshd.app import App

LOCKED_METHODS: Final = frozenset(
    {"hello", "daemon.status", "daemon.doctor", "daemon.stop", "statusline", "hook", "keys.unlock", "keys.status"}
)
"""What a daemon answers whose keys are locked."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `guarded_ok`: may use the guarded verbs. `why` is the sentence of a refusal."""

    tier: Tier
    guarded_ok: bool
    session: Session | None
    pid: int
    why: str
    gate: Gate = field(default_factory=Gate)
    """What the connection has proved to the guard."""

    @property
    def scope(self) -> str:
        """What an idempotency key belongs to."""
        return f"session:{self.session.key}" if self.session is not None else "user"


class Call(NamedTuple):
    """One call of an operation. `mark` names a tool call beyond its arguments; `body` is the frame's raw payload."""

    app: "App"
    caller: Caller
    body: bytes = b""
    mark: str = ""


R = TypeVar("R", bound=Request)
Handler = Callable[[Call, Request], Awaitable[Answer | Reply]]

_MARK: Final = "__handles__"


def handles(request: type[R]) -> Callable[[Callable[[Call, R], Awaitable[Answer | Reply]]], Handler]:
    """Marks an async function as the one handler of an operation."""

    def mark(function: Callable[[Call, R], Awaitable[Answer | Reply]]) -> Handler:
        setattr(function, _MARK, operation_of(request).method)
        return cast(Handler, function)

    return mark


def handlers_in(modules: Iterable[ModuleType]) -> dict[str, Handler]:
    """The handlers that `modules` define, by method. Two for one method stop the program."""
    found: dict[str, Handler] = {}
    for module in modules:
        for value in vars(module).values():
            method = getattr(value, _MARK, None)
            if method is None or getattr(value, "__module__", "") != module.__name__:
                continue
            if method in found:
                raise ValueError(f"{method} has two handlers")
            found[method] = value
    return found


def load_handlers() -> dict[str, Handler]:
    """Every family's handlers."""
    root = importlib.import_module("meshd.families")
    names = sorted(info.name for info in pkgutil.iter_modules(root.__path__))
    return handlers_in(importlib.import_module(f"meshd.families.{name}") for name in names)


class Dispatch:
    """Checks rights before work, and validates what is left."""

    def __init__(self, operations: Mapping[str, Operation], handlers: Mapping[str, Handler]) -> None:
        missing = operations.keys() ^ handlers.keys()
        if missing:
            raise ValueError(f"operations and handlers do not match: {', '.join(sorted(missing))}")
        self.operations = operations
        self._handlers = handlers

    async def call(self, app: "App", caller: Caller, request: RequestReceived, *, newer: bool) -> Reply:
        """Answer a request of the socket. Raises `MeshError`."""
        operation = self.operations.get(request.method)
        if operation is None:
            raise MeshError("unknown_method", method=request.method)
        check_rights(app, caller, operation)
        parsed = read_request(operation, request.params, request.body if operation.payload else b"", newer=newer)
        answer = await self.invoke(Call(app, caller, request.body), operation, parsed)
        if isinstance(answer, Reply):
            return answer
        built = write_answer(answer)
        body = take_texts(built, operation.texts) if operation.texts else b""
        return Reply(built, body)

    async def invoke(self, call: Call, operation: Operation, request: Request) -> Answer | Reply:
        """Run the handler of a validated request, with its entries in the audit if it changes something."""
        handler = self._handlers[operation.method]
        try:
            return await run_audited(call, operation, request, lambda: handler(call, request))
        except StorageFailed:  # the daemon ends; the next one reads what the disk has
            raise MeshError("shutting_down") from None


def check_rights(app: "App", caller: Caller, operation: Operation) -> None:
    """Raises `MeshError` unless the caller may use the operation now."""
    if app.locked and operation.method not in LOCKED_METHODS:
        raise MeshError("keys_locked")
    if operation.guarded and not caller.guarded_ok:
        raise MeshError("guarded", command=f"mesh {_verb(operation)} …", why=caller.why)
    if operation.tier > caller.tier:
        raise MeshError("not_allowed", why=f"{operation.method} needs {operation.tier.name.lower()}: {caller.why}")
    if operation.guarded and not app.locked and not app.guard.admits(caller.gate, operation):
        takes_token = operation.method not in PASSPHRASE_ONLY
        raise MeshError(
            "guard_asks",
            command=f"mesh {_verb(operation)}",
            script="a script sets MESH_TOKEN_FILE (mesh token create)" if takes_token else "a token does not do for it",
            takes_token=takes_token,
        )


def _verb(operation: Operation) -> str:
    return operation.command.verb if operation.command is not None else operation.method
