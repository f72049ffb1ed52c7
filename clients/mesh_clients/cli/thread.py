"""`mesh thread ID`: a conversation, oldest first; what went out says how far it got."""

import sys

from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.progress import describe
from mesh_clients.exits import finish
from mesh_clients.render import block, emphasise, say, show_value, standing, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue


def run(called: Invocation) -> int:
    answer = called.call(called.params)
    rows = answer.get("messages")
    if not called.as_json:
        if answer.get("more"):
            say("… earlier messages are left out: mesh thread ID --limit 100")
            say("")
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict):
                print_row(row)
    return finish(answer, as_json=called.as_json)


def print_row(row: "dict[str, JsonValue]") -> None:
    """A head line with sender and recipients, then the text, indented so that no text can pass for a head line."""
    sender, origin = word(row, "sender"), word(row, "origin")
    head = f"{sender}{standing(row)} ({origin}) to {show_value('to', row.get('to'))}  {show_value('at_ms', row.get('at_ms'))}"
    say(emphasise(f"{head}  {word(row, 'id')[:8]}", sys.stdout))
    for line in block(row, "message").split("\n"):
        say(f"    {line}")
    if row.get("direction") == "out":
        say(f"  {describe(word(row, 'state'))}")
    say("")
