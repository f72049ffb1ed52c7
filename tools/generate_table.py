"""Writes the table that the command line is built from, out of the declared operations. Run by `make generate`.

The command line then needs neither the declarations nor msgspec, and works without a daemon as far as help goes.
`--check` writes nothing and fails when the table is stale.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, get_args, get_origin, get_type_hints

import msgspec

from mesh_protocol.op import Command, Operation
from mesh_protocol.registry import load_operations

TABLE: Final = Path(__file__).parent.parent / "clients" / "mesh_clients" / "cli" / "table.py"
HEAD: Final = '''"""The commands that come from operations. Written by tools/generate_table.py (make generate); not edited by hand.

verb: (method, summary, positional fields, fields, payload, texts, rows, columns), and a field is
(name, flag, kind, choices, default, help); its flag is empty where it is positional.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from mesh_protocol.wire.codec import JsonValue

    Row: TypeAlias = tuple[str, str, str, tuple[str, ...], JsonValue, str]
    Entry: TypeAlias = tuple[str, str, tuple[str, ...], tuple[Row, ...], str, str, str, tuple[str, ...]]

# fmt: off
VERBS: "dict[str, Entry]" = {
'''


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    wanted = write_table(load_operations().values())
    if parser.parse_args().check:
        if TABLE.read_text() != wanted:
            sys.stderr.write(f"{TABLE} is stale: run make generate\n")
            return 1
        return 0
    TABLE.write_text(wanted)
    return 0


def write_table(operations: Iterable[Operation]) -> str:
    """The module's text. Raises `ValueError` for a declaration that has no command form."""
    lines = [HEAD]
    verbs: set[str] = set()
    for operation in sorted(operations, key=lambda each: each.method):
        command = operation.command
        if command is None:
            continue
        if not re.fullmatch(r"[a-z]+( [a-z]+)?", command.verb):
            raise ValueError(f"mesh {command.verb}: a verb is one word, or two")
        if command.verb in verbs:
            raise ValueError(f"mesh {command.verb} is declared twice")
        verbs.add(command.verb)
        lines.append(_entry(operation, command))
    return "".join(lines) + "}\n# fmt: on\n"


def _entry(operation: Operation, command: Command) -> str:
    request = operation.request
    unknown = {*command.args, *command.flags, *command.hidden} - set(request.__struct_fields__)
    if unknown:
        raise ValueError(f"mesh {command.verb} names fields that {operation.method} lacks: {sorted(unknown)}")
    properties = msgspec.json.schema(request)["$defs"][request.__name__]["properties"]
    hints = get_type_hints(request, include_extras=True)
    required = {field.name for field in msgspec.structs.fields(request) if field.required}
    fields = [
        (
            name,
            "" if name in command.args else command.flags.get(name, "--" + name.replace("_", "-")),
            _kind(properties[name], operation),
            _choices(hints[name]),
            None if name in required else properties[name].get("default", ""),
            properties[name].get("description", ""),
        )
        for name in request.__struct_fields__
        if name not in command.hidden
    ]
    written = "".join(f"        {field!r},\n" for field in fields)
    # Few lines: the table is held to the size of a file that people read.
    return (
        f"    {command.verb!r}: ({operation.method!r}, {operation.summary!r}, {command.args!r}, (\n{written}    ),"
        f" {operation.payload!r}, {operation.texts!r}, {command.rows!r}, {command.columns!r}),\n"
    )


def _choices(hint: object) -> tuple[str, ...]:
    """The values of a Literal in the order of their declaration, which means something; empty: any."""
    if get_origin(hint) in (Annotated, list):
        return _choices(get_args(hint)[0])
    return tuple(str(value) for value in get_args(hint)) if get_origin(hint) is Literal else ()


def _kind(schema: Mapping[str, object], operation: Operation) -> str:
    """How a field is given on a command line."""
    match schema:
        case {"enum": _} | {"type": "string"}:
            return "text"
        case {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}:
            return "targets"
        case {"type": "array", "items": {"type": "string"} | {"enum": _}}:
            return "texts"
        case {"type": "boolean", "default": False}:
            return "on"
        case {"type": "integer"}:
            return "int"
        case {"type": "number"}:
            return "float"
    raise ValueError(f"{operation.method} has a field that no command can give: {schema}")


if __name__ == "__main__":
    sys.exit(main())
