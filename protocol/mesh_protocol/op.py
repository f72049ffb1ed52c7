"""Declaring operations. One class gives the RPC method, the validation, the rights check, the MCP tool and the CLI form.

An operation is a frozen msgspec struct decorated with `@op`; its fields are the parameters, their annotations the
validation and the help. Nothing else in the program lists methods by hand.
"""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from mesh_protocol.wire.codec import JsonValue
from mesh_protocol.wire.errors import CODES, MeshError
from mesh_protocol.wire.rpc import Params

COMMON_ERRORS: Final = (
    "bad_request",
    "unknown_field",
    "unknown_method",
    "newer_client",
    "version_mismatch",
    "busy",
    "cancelled",
    "not_allowed",
    "guarded",
    "guard_asks",
    "keys_locked",
    "storage_full",
    "rate_limited",
    "internal",
    "shutting_down",
)
"""What any call may end with, beside the errors that its operation declares."""


class Tier(enum.IntEnum):
    """Who may call. A higher tier may call all that a lower one may."""

    STATUS = 0
    """Reads what a status line shows."""
    AGENT = 1
    """An agent's session, its hooks and tools."""
    USER = 2
    """A person, or a person's script."""


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of an operation."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an operation. Readers ignore fields they do not know, so that a newer daemon may add some."""


@dataclass(frozen=True, slots=True)
class Tool:
    """The MCP form: `name` as agents see it, `text` that teaches when to use it, fields an agent does not give."""

    name: str
    text: str
    hidden: frozenset[str] = frozenset()
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """The CLI form: `mesh VERB ARGS… [--flags]`. A verb has one word or two (`outbox cancel`); `args` are positional
    fields, every other field becomes a flag.

    `columns` name the answer's list field and the keys shown of each row; empty: a line a field.
    """

    verb: str
    args: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    rows: str = ""
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One declared operation."""

    method: str
    request: type[Request]
    answer: type[Answer]
    tier: Tier
    guarded: bool
    """Refused to an agent's session, whatever its tier."""
    errors: tuple[str, ...]
    drops_unknown: bool
    """A newer client's unknown fields may be ignored without changing the meaning of the rest."""
    summary: str
    tool: Tool | None
    command: Command | None
    payload: str
    """The request's text field that travels as the frame's body, in UTF-8; empty: none."""
    texts: str
    """Where the answer's texts are (``field`` or ``rows[].field``) that travel as items in the body; empty: none."""
    audited: tuple[str, ...] | None
    """The request's fields that the audit names as what it was done to: never a secret or a text. None: not audited."""


R = TypeVar("R", bound=type[Request])

_ATTRIBUTE: Final = "__operation__"
MAX_TEXT: Final = 64 * 1024
"""Bytes of a text that travels as a body."""


def op(
    method: str,
    *,
    answer: type[Answer],
    tier: Tier,
    guarded: bool = False,
    errors: tuple[str, ...] = (),
    drops_unknown: bool = False,
    tool: Tool | None = None,
    command: Command | None = None,
    payload: str = "",
    texts: str = "",
    audited: tuple[str, ...] | None = None,
) -> Callable[[R], R]:
    """Declare the decorated request class as the operation `method`. The class docstring's first line is its summary."""
    for code in errors:
        if code not in CODES:
            raise ValueError(f"{method} declares the unknown error {code}")

    def declare(request: R) -> R:
        summary = (request.__doc__ or "").strip().partition("\n")[0]
        if not summary:
            raise ValueError(f"{method} has no docstring")
        if not {*(audited or ())} <= {*request.__annotations__}:
            raise ValueError(f"{method} audits a field that it does not have")
        operation = Operation(
            method,
            request,
            answer,
            tier,
            guarded,
            errors,
            drops_unknown,
            summary,
            tool,
            command,
            payload,
            texts,
            audited,
        )
        setattr(request, _ATTRIBUTE, operation)
        return request

    return declare


def operation_of(request: type[Request]) -> Operation:
    """The declaration of a request class."""
    operation = request.__dict__.get(_ATTRIBUTE)
    if not isinstance(operation, Operation):
        raise TypeError(f"{request.__name__} is not declared with @op")
    return operation


def read_request(operation: Operation, params: Params, body: bytes = b"", *, newer: bool = False) -> Request:
    """Validate `params` and, where the operation has one, the payload text in `body`.

    `newer` says that the caller speaks a later minor version than this side.

    Raises `MeshError` with `unknown_field`, `newer_client`, `too_large` or `bad_request`.
    """
    known = operation.request.__struct_encode_fields__
    unknown = sorted(params.keys() - set(known))
    if unknown:
        if newer and operation.drops_unknown:
            params = {name: value for name, value in params.items() if name in known}
        elif newer:
            raise MeshError("newer_client")
        else:
            raise MeshError("unknown_field", method=operation.method, field=unknown[0])
    if operation.payload and body:
        if len(body) > MAX_TEXT:
            raise MeshError("too_large", what=f"{operation.method}: the text", size=len(body), limit=MAX_TEXT)
        try:
            params = {**params, operation.payload: body.decode()}
        except UnicodeDecodeError:
            raise MeshError("bad_request", what=f"{operation.method}: the text is not UTF-8") from None
    try:
        return msgspec.convert(params, operation.request, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise MeshError("bad_request", what=f"{operation.method}: {describe_misfit(error)}") from None


def describe_misfit(error: msgspec.ValidationError) -> str:
    """What does not fit its declaration, for a person: the parameter first, without msgspec's way to it."""
    what, _, place = str(error).replace("`", "").partition(" - at $")
    missing = what.removeprefix("Object missing required field ")
    if missing != what:
        what = f"{missing} is missing"
    place = place.strip(".")
    return f"{place}: {what[:1].lower()}{what[1:]}" if place else what


def write_answer(answer: Answer) -> dict[str, JsonValue]:
    """The answer as it travels."""
    built: dict[str, JsonValue] = msgspec.to_builtins(answer, builtin_types=(bytes,))
    return built


def write_params(request: Request) -> Params:
    """The request as it travels; fields at their default are left out."""
    built: Params = msgspec.to_builtins(request, builtin_types=(bytes,))
    for field_info in msgspec.structs.fields(request):
        default = field_info.default
        if field_info.default_factory is not msgspec.NODEFAULT:  # msgspec's form of `[]` and `{}`
            default = field_info.default_factory()
        if default is not msgspec.NODEFAULT:
            name = field_info.encode_name
            if built[name] == msgspec.to_builtins(default, builtin_types=(bytes,)):
                del built[name]
    return built


A = TypeVar("A", bound=Answer)


def read_answer(kind: type[A], result: JsonValue) -> A:
    """Validate an answer. Raises `MeshError("bad_request")`: the other side broke its own declaration."""
    try:
        return msgspec.convert(result, kind, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise MeshError("bad_request", what=f"answer: {describe_misfit(error)}") from None
