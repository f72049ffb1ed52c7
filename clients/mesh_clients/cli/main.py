"""`mesh`: finds the verb, reads its line by the table, runs it."""

import os
import sys

from mesh_clients.cli import own
from mesh_clients.cli.grammar import Line, Verb, near, read_line, split_flags_first, split_verb
from mesh_clients.cli.table import VERBS
from mesh_clients.exits import INTERRUPTED, fail
from mesh_protocol.wire.errors import FAILED, MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from mesh_clients.cli.invocation import Invocation

LAUNCH = "launch"


def main(arguments: list[str]) -> int:
    """Run one command. Returns the exit status."""
    launched = split_flags_first(arguments)
    if launched is not None:
        arguments = [*launched[0], LAUNCH, "--", *launched[1]]
    name, rest = split_verb(arguments, VERBS)
    as_json = "--json" in (rest[: rest.index("--")] if "--" in rest else rest)
    try:
        return run(name, rest)
    except MeshError as error:
        return fail(name, error, as_json=as_json)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads any more; what is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def run(name: str, arguments: list[str]) -> int:
    if not name:
        return run_without_verb(read_line(Verb("", "", "", (), ()), arguments))
    verb = find_verb(name)
    rest: list[str] = []
    if name == LAUNCH and "--" in arguments:
        place = arguments.index("--")
        arguments, rest = arguments[:place], arguments[place + 1 :]
    line = read_line(verb, arguments)
    line.rest = rest
    if line.help:
        from mesh_clients.cli.help import print_verb

        return print_verb(verb)
    if line.version:
        return handler("version")(invocation(verb, line))
    if name in own.DIRECT:
        run_direct(name, line)
    if line.mesh:
        raise MeshError("bad_request", what=f"{name} takes no --mesh")
    with invocation(verb, line) as called:
        return handler(name)(called)


def run_without_verb(line: Line) -> int:
    if line.version:
        return handler("version")(invocation(find_verb("version"), line))
    if line.help:
        from mesh_clients.cli.help import print_overview

        return print_overview()
    from mesh_clients.cli.overview import run as run_overview

    with invocation(Verb("", "", "", (), ()), line) as called:
        return run_overview(called)


def run_direct(name: str, line: Line) -> "NoReturn":
    """A verb of Claude Code's that came with a flag before it. Does not return."""
    if name == "mcp":
        from mesh_clients.mcp.relay import main as relay

        relay([name, *(["--mesh", line.mesh] if line.mesh else []), *([] if line.start else ["--no-start"])])
    from mesh_clients.thin import main as thin

    thin([name, *(word for option, value in line.params.items() for word in (f"--{option}", str(value)))])


def find_verb(name: str) -> Verb:
    """The verb called `name`. Raises `MeshError`."""
    if name in VERBS:
        method, summary, args, fields, payload, texts, rows, columns = VERBS[name]
        args += own.MORE_ARGS.get(name, ())
        fields += own.MORE_FIELDS.get(name, ())
        return Verb(name, method, summary, args, fields, payload, texts, rows, columns)
    if name in own.VERBS:
        return Verb(name, *own.VERBS[name])
    longer = longer_verbs(name)
    if longer:
        raise MeshError("bad_request", what=f"mesh {name} goes on: {', '.join(f'mesh {each}' for each in longer)}")
    raise MeshError(
        "bad_request", what=f"there is no command {name!r}{near(name, [*VERBS, *own.VERBS])}; see mesh help"
    )


def longer_verbs(name: str) -> list[str]:
    """The verbs of two words of which `name` is the first."""
    return [verb for verb in VERBS if verb.startswith(f"{name} ")]


def invocation(verb: Verb, line: Line) -> "Invocation":
    from mesh_clients.cli.invocation import Invocation

    return Invocation(verb, line)


def handler(name: str) -> "Callable[[Invocation], int]":
    """The function that runs a verb."""
    module = own.HANDLERS.get(name, "derived")
    found: Callable[[Invocation], int] = __import__(f"mesh_clients.cli.{module}", fromlist=["run"]).run
    return found
