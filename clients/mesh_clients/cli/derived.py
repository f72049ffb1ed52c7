"""A command that is its operation and nothing more: called, and printed by the table."""

from mesh_clients.cli.invocation import Invocation
from mesh_clients.exits import finish
from mesh_clients.render import print_fields, print_rows, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue


def run(called: Invocation) -> int:
    answer = called.call(called.params)
    if not called.as_json:
        verb = called.verb
        if verb.rows:
            print_list(answer.get(verb.rows), verb.rows, verb.columns)
        else:
            print_fields(answer)
    return finish(answer, as_json=called.as_json)


def print_list(rows: "JsonValue", name: str, columns: tuple[str, ...]) -> None:
    """A list answer's rows, or a word that there are none."""
    found = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    if found:
        print_rows(found, columns)
    else:
        say(f"no {name}")
