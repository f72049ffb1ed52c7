"""A command that is its operation and nothing more: called, and printed by the table."""

from mesh_clients.cli.invocation import Invocation
from mesh_clients.exits import finish
from mesh_clients.render import print_fields, print_rows, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

NOTHING = {
    "audit.list": "no entries",
    "group.list": "no session is in a group",
    "member.removals": "nobody was taken out",
    "trust.held": "nothing is held",
    "trust.list": "nobody's messages are held or refused",
}
"""What an empty list is called where its field's name would say something else."""


def run(called: Invocation) -> int:
    answer = called.call(called.params)
    if not called.as_json:
        verb = called.verb
        if verb.rows:
            print_list(answer.get(verb.rows), NOTHING.get(verb.method, f"no {verb.rows}"), verb.columns)
        else:
            print_fields(answer)
    return finish(answer, as_json=called.as_json)


def print_list(rows: "JsonValue", nothing: str, columns: tuple[str, ...]) -> None:
    """A list answer's rows, or, where there are none, the words for that."""
    found = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    if found:
        print_rows(found, columns)
    else:
        say(nothing)
