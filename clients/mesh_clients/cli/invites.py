"""`mesh invites` and what is done with one: who came in, who waits, and yes or no."""

from mesh_clients.cli.invocation import Invocation
from mesh_clients.exits import finish
from mesh_clients.render import print_rows, say, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

    Row = dict[str, JsonValue]

COLUMNS = ("invite", "role", "state", "uses_left", "expires_ms", "approve", "opener", "joined", "waiting")
WHY = {
    "approve": "the invite asks for your yes",
    "expired": "it asked after the invite had expired",
    "opener": "who made the invite may not invite any more",
}
SHORT = 8
INVITE = 12


def run(called: Invocation) -> int:
    answer = called.call(called.params)
    if not called.as_json:
        {"invites": _list, "invite close": _closed}.get(called.verb.name, _decided)(answer)
    return finish(answer, as_json=called.as_json)


def _list(answer: "Row") -> None:
    invites = _rows(answer, "invites")
    if invites:
        print_rows([{**row, "invite": word(row, "id")[:INVITE]} for row in invites], COLUMNS)
    else:
        say("No invite is open: mesh invite makes one, mesh invites --all shows the others.")
    if answer.get("more"):
        say("There are more than are shown here.")
    waiting = _rows(answer, "waiting")
    if waiting:
        say("")
    for row in waiting:
        name, device = word(row, "name"), word(row, "device")[:SHORT]
        say(
            f"{name} ({device}) asks to join {word(row, 'mesh')} as {word(row, 'role')}: {WHY.get(word(row, 'why'), '')}."
        )
        say(f"  mesh invite approve {name}, or mesh invite deny {name}; ask them whether it is they")


def _closed(answer: "Row") -> None:
    away = answer.get("turned_away")
    more = f"; {word(answer, 'turned_away')} that waited under it will not be let in" if away else ""
    say(f"The invite {word(answer, 'id')[:INVITE]} to {word(answer, 'mesh')} lets nobody in any more{more}.")


def _decided(answer: "Row") -> None:
    name, device, mesh = word(answer, "name"), word(answer, "device")[:SHORT], word(answer, "mesh")
    if word(answer, "state") == "joined":
        say(f"{name} ({device}) is in {mesh} now.")
    else:
        say(f"{name} ({device}) was turned away from {mesh}. The invite is as it was: mesh invite close ID closes it.")


def _rows(answer: "Row", name: str) -> "list[Row]":
    rows = answer.get(name)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
