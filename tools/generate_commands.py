"""Writes docs/cli.md: every command as its own --help prints it, and the keys of its --json. Run by `make generate`.

`--check` writes nothing and fails when the file is stale.
"""

import argparse
import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final

from generate_operations import Row, answer_keys, write_table
from mesh_clients.cli import own
from mesh_clients.cli.help import print_verb
from mesh_clients.cli.main import find_verb
from mesh_clients.cli.topics import STATUSES
from mesh_protocol.op import Operation
from mesh_protocol.registry import load_operations

REFERENCE: Final = Path(__file__).parent.parent / "docs" / "cli.md"
HEAD: Final = """\
<!-- Written by tools/generate_commands.py (make generate); not edited by hand. -->
# Commands

`mesh COMMAND …` talks to the daemon of this machine, and starts it where none runs; `mesh statusline` and `mesh hook`
never start one, nor does any command with `--no-start`. `MESH_HOME=DIR` puts everything of one daemon below DIR; without
it that is `~/.local/share/meshd` (on macOS `~/Library/Application Support/meshd`).

With `--json` a command prints one JSON document on one line, also where it fails:
`{"error": {"code": …, "message": …, "data": {…}}}`. The keys below are stable: new ones may be added, none renamed.
Times end in `_ms` and are milliseconds since the Unix epoch, 0 for never. Without `--json` the output is for people and
may change. A refusal is one line on standard error. An id may be shortened to its first 8 characters.

What is secret, an invite link or a broker's URL with its token, is better given as `-` and pasted, or piped in: other
users of the machine can read the arguments of a command while it runs.

An agent's session may not run what is marked *guarded*: it is refused, and told which command its person has to run.
This stops an agent that uses its tools, not a program that hides where it comes from.
"""
TAIL: Final = """
## The long-running programs

`meshd run` stays in the foreground, logs to standard error, prints `meshd ready` when it serves, and ends with 0 after
SIGTERM. What waits to be sent stays on the disk. `mesh up` starts the same, detached.

`mesh-broker run --listen HOST:PORT --data DIR` prints `mesh-broker ready on URL`; see [running a broker](../broker/OPERATING.md).

## Error codes

Every code that a command can end with is in the table at the end of
[the operations](../protocol/mesh_protocol/OPERATIONS.md#error-codes), with its text and its exit status.
"""
OWN_KEYS: Final[Mapping[str, tuple[Row, ...]]] = {
    "up": (
        ("`started`", "true or false: whether this command started it"),
        ("`service`", "text: the service that it was started as; empty: without one"),
        *((f"`{name}`", "as in `mesh status`") for name in ("pid", "version", "home", "state")),
    ),
    "down": (("`stopped`", "true or false: whether one ran"), ("`pid`", "its pid, or null")),
    "version": (("`version`", "text"),),
    "backup": (
        ("`file`", "text: the file that was written, read back and verified"),
        ("`size`", "integer: its bytes"),
        ("`meshes`", "list of text: what is in it"),
        ("`left_out`", "list of text: meshes of this machine's own broker"),
        ("`recovery`", "list of text: whose recovery keys are in it"),
        ("`device_key`", "true or false: whether this machine's own key is"),
        ("`dropped`", "list of text: whose recovery keys are here no longer"),
    ),
    "install": (
        ("`changed`", "true or false: whether anything had to be changed"),
        ("`files[].path`, `.changed`", "each file of Claude Code's, and whether it was changed"),
        ("`service`", "text: the service's file; empty: none"),
        ("`backup`", "text: the folder with the files as they were"),
        ("`notes[]`", "text: what keeps it from working"),
        ("`installed`, `version`", "with `--check`: true or false, and the version that was looked for"),
        ("`parts[].name`, `.ok`, `.path`, `.text`", "with `--check`: each part"),
    ),
    "uninstall": (
        ("`changed`", "true or false: whether anything was there"),
        ("`files[].path`, `.changed`", "as above"),
        ("`notes[]`", "text: what the service manager said against it"),
    ),
    "launch": (),
    "open": (),
    "completion": (),
    "help": (),
    "mcp": (),
    "statusline": (),
    "hook": (),
}
"""The documents of commands that are no operation's, or say something else than it does."""
SEVERAL: Final[Mapping[str, str]] = {
    "inbox": " With `--follow` one document a message: a row of `messages[]`.",
    "device link": " It is the first line; each further step is one of `mesh device join`'s.",
    "device join": " One line for each step: the words, then the end.",
}
"""What is said of commands that print more than one document."""
NO_JSON: Final[Mapping[str, str]] = {
    "launch": "Claude Code takes its place; only a refusal is a document. See [launching](launch.md).",
    "open": "Asks, and then ends as `mesh join` or `mesh send` does; with `--json` nothing can be asked, so nothing is done.",
    "completion": "Prints text only. It starts no daemon, and asks the one that runs for at most 80 ms.",
    "help": "Prints text only.",
    "mcp": "Speaks MCP, one JSON-RPC message a line; it outlives restarts of the daemon.",
    "statusline": "Reads Claude Code's JSON, prints one line; where something is wrong the line says so. Always ends with 0.",
    "hook": "Reads Claude Code's JSON, prints what the daemon answers, and nothing where there is none.",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    wanted = write_reference(load_operations())
    if parser.parse_args().check:
        if not REFERENCE.exists() or REFERENCE.read_text(encoding="utf-8") != wanted:
            print(f"{REFERENCE} is stale: run make generate", file=sys.stderr)
            return 1
        return 0
    REFERENCE.write_text(wanted, encoding="utf-8")
    return 0


def write_reference(operations: Mapping[str, Operation]) -> str:
    """The whole file."""
    parts = [HEAD, "\n## Exit statuses\n\n"]
    parts.append(write_table(("status", "means"), [(str(status), text) for status, text in STATUSES.items()]))
    for title, verbs in own.ORDER:
        parts.append(f"\n## {title}\n")
        parts.extend(_section(verb, operations) for verb in verbs)
    parts.append(TAIL)
    return "".join(parts)


def _section(name: str, operations: Mapping[str, Operation]) -> str:
    verb = find_verb(name)
    operation = operations.get(verb.method)
    guarded = " *(guarded)*" if operation is not None and operation.guarded else ""
    lines = [f"\n### mesh {name}{guarded}\n", f"```\n{_help(name)}```\n"]
    if name in NO_JSON:
        lines.append(f"{NO_JSON[name]}\n")
    else:
        follow = SEVERAL.get(name, "")
        lines.append(f"The document of `--json`:{follow}\n\n{write_table(('key', 'is'), [*_keys(name, operation)])}")
    return "\n".join(lines)


def _keys(name: str, operation: Operation | None) -> Iterator[Row]:
    if name in OWN_KEYS:
        yield from OWN_KEYS[name]
    elif operation is not None:
        yield from answer_keys(operation.answer, {})
    else:
        raise ValueError(f"mesh {name} is no operation's: say in OWN_KEYS what it prints")


def _help(name: str) -> str:
    said = io.StringIO()
    with redirect_stdout(said):
        print_verb(find_verb(name))
    return said.getvalue()


if __name__ == "__main__":
    os.environ.pop("COLUMNS", None)
    sys.exit(main())
