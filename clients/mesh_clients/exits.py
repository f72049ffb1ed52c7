"""How a command ends: one line on standard error, an exit status of the closed list, and with --json one document."""

import sys

from mesh_clients.render import clean_line
from mesh_protocol.wire.errors import OK, MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


def finish(answer: "JsonValue", *, as_json: bool) -> int:
    """The end of a command that went well."""
    if as_json:
        print_json(answer)
    sys.stdout.flush()
    return OK


def fail(verb: str, error: MeshError, *, as_json: bool) -> int:
    """The end of a command that was refused. Returns the exit status."""
    if as_json:
        print_json({"error": {"code": error.code, "message": error.message, "data": error.data}})
        sys.stdout.flush()
    name = f"mesh {verb}" if verb else "mesh"
    sys.stderr.write(f"{name}: {clean_line(error.message)}\n")
    return error.exit


def print_json(value: "JsonValue") -> None:
    """One document on one line. ASCII, so that no terminal and no encoding can be hurt by it."""
    import json

    sys.stdout.write(json.dumps(value, default=bytes.hex) + "\n")
