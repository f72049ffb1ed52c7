"""Writes the reference of all operations, out of their declarations. Run by `make generate`.

`--check` writes nothing and fails when the file is stale.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from inspect import cleandoc
from itertools import groupby
from pathlib import Path
from typing import Final, Literal, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Struct, inspect

from mesh_protocol.op import COMMON_ERRORS, Operation
from mesh_protocol.registry import load_operations
from mesh_protocol.wire.errors import CODES

REFERENCE: Final = Path(__file__).parent.parent / "protocol" / "mesh_protocol" / "OPERATIONS.md"
HEAD: Final = """\
<!-- Written by tools/generate_operations.py (make generate); not edited by hand. -->
# Operations

What a client may ask the daemon, generated from the declarations in `mesh_protocol/ops/`. The command line prints an
answer as one JSON document with `--json`: its keys are those of the table "Answer". Times are milliseconds since the
Unix epoch. *Who* is the least caller: a status line, an agent's session, or a person; "guarded" means that an agent's
session is refused even where it is the person's process. A field marked *body* travels beside the parameters.

What a caller can bring about is listed under "Errors". Whatever the operation, a call may also end with one of these:
{common}.
"""
TIERS: Final = ("a status line", "an agent's session", "a person")
Row = tuple[str, ...]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    wanted = write_reference(load_operations().values())
    if parser.parse_args().check:
        if not REFERENCE.exists() or REFERENCE.read_text(encoding="utf-8") != wanted:
            print(f"{REFERENCE} is stale: run make generate", file=sys.stderr)
            return 1
        return 0
    REFERENCE.write_text(wanted, encoding="utf-8")
    return 0


def write_reference(operations: Iterable[Operation]) -> str:
    """The whole file."""
    ordered = sorted(operations, key=lambda each: (_family(each), each.method))
    parts = [HEAD.format(common=", ".join(f"`{code}`" for code in COMMON_ERRORS))]
    for family, members in groupby(ordered, _family):
        module = sys.modules[f"mesh_protocol.ops.{family}"]
        parts.append(f"\n## {family}\n\n{cleandoc(module.__doc__ or '')}\n")
        parts.extend(_section(each) for each in members)
    parts.append("\n## Error codes\n\nThe closed list, with the exit status of a command that ends with one.\n\n")
    rows = [(f"`{code}`", str(kind.exit), kind.text) for code, kind in CODES.items()]
    parts.append(write_table(("code", "exit", "text"), rows))
    return "".join(parts)


def _family(operation: Operation) -> str:
    return operation.request.__module__.rpartition(".")[2]


def _section(operation: Operation) -> str:
    lines = [f"\n### {operation.method}\n", _docstring(operation.request), ""]
    forms = [f"Who: {TIERS[operation.tier]}{', guarded' if operation.guarded else ''}."]
    if operation.command is not None:
        forms.append(f"Command: `mesh {operation.command.verb}`.")
    if operation.tool is not None:
        forms.append(f"Tool: `{operation.tool.name}`.")
    lines.append(" ".join(forms))
    fields = [*_fields(operation)]
    if fields:
        lines += ["", write_table(("field", "is", "default", "meaning"), fields).rstrip("\n")]
    lines += ["", f"Answer: {_docstring(operation.answer)}".rstrip(": ")]
    rows: dict[str, str] = {}
    answer = [*answer_keys(operation.answer, rows)]
    lines += [line for name, text in rows.items() if text for line in ("", f"`{name}`: {text}")]
    if answer:
        lines += ["", write_table(("key", "is"), answer).rstrip("\n")]
    if operation.errors:
        lines += ["", f"Errors: {', '.join(f'`{code}`' for code in operation.errors)}."]
    return "\n".join(lines) + "\n"


def _fields(operation: Operation) -> Iterator[Row]:
    """A row for each parameter."""
    kind = inspect.type_info(operation.request)
    if not isinstance(kind, inspect.StructType):
        raise TypeError(f"{operation.method} takes no fields")
    for field in kind.fields:
        name = f"`{field.encode_name}`" + (" *body*" if field.encode_name == operation.payload else "")
        default = field.default if field.default_factory is NODEFAULT else field.default_factory()
        shown = "" if default is NODEFAULT else f"`{default!r}`"
        yield name, _words(field.type), shown, _described(field.type)


def _docstring(kind: type[Struct]) -> str:
    """What a class says of itself; empty where it only inherits a docstring."""
    return cleandoc(kind.__dict__.get("__doc__") or "")


def answer_keys(answer: type[Struct], rows: dict[str, str], path: str = "") -> Iterator[Row]:
    """A row for each key of an answer, those of its rows behind the list's name; `rows` takes what these say of themselves."""
    kind = inspect.type_info(answer)
    if not isinstance(kind, inspect.StructType):
        raise TypeError(f"{answer.__name__} has no keys")
    for field in kind.fields:
        name = path + field.encode_name
        if isinstance(field.type, inspect.ListType) and isinstance(field.type.item_type, inspect.StructType):
            rows[f"{name}[]"] = _docstring(field.type.item_type.cls)
            yield from answer_keys(field.type.item_type.cls, rows, f"{name}[].")
        else:
            yield f"`{name}`", _words(field.type)


def _words(kind: inspect.Type) -> str:
    """A type in words, with its bounds."""
    match kind:
        case inspect.Metadata():
            return _words(kind.type)
        case inspect.StrType():
            text = f"text{_bounds(kind.min_length, kind.max_length, ' characters')}"
            return f"{text} like `{kind.pattern}`" if kind.pattern else text
        case inspect.IntType():
            return f"integer{_bounds(kind.ge, kind.le)}"
        case inspect.FloatType():
            return f"number{_bounds(kind.ge, kind.le)}"
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType():
            return " · ".join(f"`{value}`" for value in _declared_orders()[frozenset(map(str, kind.values))])
        case inspect.ListType():
            return f"list{_bounds(kind.min_length, kind.max_length, ' items')} of {_words(kind.item_type)}"
        case inspect.DictType():
            bounds = _bounds(kind.min_length, kind.max_length, " entries")
            return f"map{bounds} of {_words(kind.key_type)} to {_words(kind.value_type)}"
        case inspect.StructType():
            return "{" + ", ".join(f"{each.encode_name}: {_words(each.type)}" for each in kind.fields) + "}"
        case inspect.UnionType():
            return ", or ".join(_words(each) for each in kind.types)
    raise TypeError(f"{type(kind).__name__} has no words yet: add them here")


@cache
def _declared_orders() -> dict[frozenset[str], tuple[str, ...]]:
    """The values of every Literal as they were written. msgspec sorts them; of message states the order says something."""
    found: dict[frozenset[str], tuple[str, ...]] = {}
    waiting: list[object] = [kind for each in load_operations().values() for kind in (each.request, each.answer)]
    while waiting:
        hint = waiting.pop()
        if get_origin(hint) is Literal:
            found[frozenset(get_args(hint))] = get_args(hint)
        elif isinstance(hint, type) and issubclass(hint, Struct):
            waiting.extend(get_type_hints(hint, include_extras=True).values())
        else:
            waiting.extend(get_args(hint))
    return found


def _bounds(low: float | None, high: float | None, unit: str = "") -> str:
    if low is None and high is None:
        return ""
    if high is None:
        return f", at least {low}{unit}"
    return f", {low}…{high}{unit}" if low is not None else f", at most {high}{unit}"


def _described(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.Metadata):
        return str((kind.extra_json_schema or {}).get("description", "")) or _described(kind.type)
    return ""


def write_table(heads: Row, rows: Iterable[Row]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    escaped = [tuple(cell.replace("|", "\\|") for cell in line) for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


if __name__ == "__main__":
    sys.exit(main())
