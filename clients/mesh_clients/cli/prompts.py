"""`mesh prompts`: the prompt library, and what is wrong with it."""

import sys

from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.pages import rows_of
from mesh_clients.exits import finish
from mesh_clients.render import emphasise, say, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue


def run(called: Invocation) -> int:
    answer = called.call(called.params)
    if not called.as_json:
        print_library(answer)
    return finish(answer, as_json=called.as_json)


def print_library(answer: "dict[str, JsonValue]") -> None:
    prompts, bad = rows_of(answer, "prompts"), rows_of(answer, "bad")
    if trouble := word(answer, "trouble"):
        say(emphasise(trouble, sys.stdout))
    elif not prompts and not bad:
        say(f"no prompts: put NAME.yaml files into {word(answer, 'folder')}")
    else:
        say(f"Prompts of {word(answer, 'folder')}; in Claude Code each is /mcp__mesh__NAME")
    for row in prompts:
        say("")
        say(emphasise(" ".join([word(row, "name"), *places(row)]), sys.stdout))
        if about := word(row, "description"):
            say(f"  {about}")
    for row in bad:
        say("")
        say(emphasise(f"{word(row, 'file')} is not served: {word(row, 'why')}", sys.stdout))
    if answer.get("more"):
        say("")
        say(f"and {word(answer, 'more')} more, which do not fit here")


def places(row: "dict[str, JsonValue]") -> list[str]:
    """What follows the name, as a manual writes it."""
    required, optional = row.get("required"), row.get("optional")
    return [
        *(str(each).upper() for each in (required if isinstance(required, list) else [])),
        *(f"[{str(each).upper()}]" for each in (optional if isinstance(optional, list) else [])),
    ]
