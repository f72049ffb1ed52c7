"""`mesh budget`: the limits, and who waits because one is used up."""

import sys

from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.pages import rows_of
from mesh_clients.cli.usage import dollars
from mesh_clients.exits import finish
from mesh_clients.render import emphasise, say, show_value, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

PER = {"day": "a day", "session": "a session", "agents": "a sub-agent and all that it starts"}


def run(called: Invocation) -> int:
    answer = called.call(called.params)
    if not called.as_json:
        budgets, held = rows_of(answer, "budgets"), rows_of(answer, "held")
        if not budgets:
            say("no budgets: mesh budget set AMOUNT makes one")
        for row in budgets:
            only = f", only {word(row, 'only')}" if row.get("only") else ""
            say(f"{word(row, 'id'):>4}  {amount(row, 'amount')} {PER.get(word(row, 'per'), '')}{only}")
        for row in held:
            say_held(row)
    return finish(answer, as_json=called.as_json)


def say_held(row: "dict[str, JsonValue]") -> None:
    """One who waits, and how he goes on."""
    named = f"client {word(row, 'client')}" if row.get("client") else ""
    who = " ".join(filter(None, (named, word(row, "session"), word(row, "agent")))) or "a client that names no session"
    spent = f"{amount(row, 'spent')} of {amount(row, 'limit')}"
    say(emphasise(f"waits since {show_value('since_ms', row.get('since_ms'))}: {who}, {spent}", sys.stdout))
    say(f"      mesh budget allow {word(row, 'id')} lets it go on")


def amount(row: "dict[str, JsonValue]", name: str) -> str:
    value = row.get(name)
    number = float(value) if isinstance(value, int | float) else 0.0
    return dollars(number) if row.get("unit") == "usd" else f"{number:.0f} tokens"
