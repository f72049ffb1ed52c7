"""`mesh outbox`: what has not reached its recipients yet, each with the reason."""

import sys

from mesh_clients.cli.invocation import Invocation
from mesh_clients.exits import finish
from mesh_clients.render import emphasise, say, show_value, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue


def run(called: Invocation) -> int:
    answer = called.call(called.params)
    if not called.as_json:
        waiting = answer.get("waiting")
        rows = [row for row in waiting if isinstance(row, dict)] if isinstance(waiting, list) else []
        failed = bool(called.params.get("failed"))
        for row in rows:
            print_row(row)
        if not rows:
            say("nothing failed" if failed else "nothing waits")
        elif answer.get("more"):
            say("There is more: --limit N shows it.")
        if rows:
            say("mesh outbox requeue ID sends one once more." if failed else "mesh outbox cancel ID takes one back.")
    return finish(answer, as_json=called.as_json)


def print_row(row: "dict[str, JsonValue]") -> None:
    head = f"{word(row, 'id')[:8]} to {word(row, 'to')} on device {word(row, 'device')}: {word(row, 'state')}"
    say(emphasise(f"{head} ({word(row, 'why')})", sys.stdout))
    say(
        f"    since {show_value('since_ms', row.get('since_ms'))}, until {show_value('expires_ms', row.get('expires_ms'))}"
    )
    say(f"    | {word(row, 'message')}")
