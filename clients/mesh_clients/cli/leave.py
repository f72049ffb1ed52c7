"""`mesh leave`: what it means on this machine, the person's yes, and how far it came."""

import sys

from mesh_clients.cli.invocation import Invocation
from mesh_clients.exits import finish
from mesh_clients.render import clean_line, say, word
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue


def run(called: Invocation) -> int:
    params = dict(called.params)
    yes, forget = params.pop("yes", False), bool(params.get("forget"))
    if not yes:
        _ask(called, params, forget=forget)
    wait = params.get("wait_s", 10.0)
    answer = called.call(params, wait=wait if isinstance(wait, int | float) else 10.0)
    if not called.as_json:
        _tell(answer)
    return finish(answer, as_json=called.as_json)


def _ask(called: Invocation, params: "dict[str, JsonValue]", *, forget: bool) -> None:
    """Say what it means, and go on only if a person at a terminal says yes. Raises `MeshError`."""
    where: dict[str, JsonValue] = {"mesh": params["mesh"]} if params.get("mesh") else {}
    if called.as_json or sys.stdin is None or not sys.stdin.isatty():
        raise MeshError("bad_request", what="this deletes messages and keys: say --yes, or run it on a terminal")
    try:
        terms = called.call(where, method="leave.terms")
    except MeshError as error:
        if not forget or error.code != "not_allowed":
            raise
        say(f"Nobody can sign that you leave: {error.message}")
        terms = {}
    else:
        for line in explain(terms, forget=forget):
            say(line)
    from mesh_clients.cli.open import confirm

    name = word(terms, "mesh") if terms else clean_line(str(params.get("mesh") or "the mesh"))
    confirm(f"{'Forget' if forget else 'Leave'} {name}?")


def explain(terms: "dict[str, JsonValue]", *, forget: bool) -> "list[str]":
    """The consequences, a line for each."""
    mesh, how = word(terms, "mesh"), word(terms, "how")
    lines = [
        f"Deleted from this machine: the keys of {mesh}; messages: {_count(terms, 'messages')} received"
        f" ({_count(terms, 'unread')} unread), {_count(terms, 'queued')} not sent yet."
    ]
    if how == "alone":
        lines.append("Nobody else is in it: it ends here, and nobody can ever join it again.")
    elif forget and how in ("asked", "leaving"):
        lines.append(
            "Nobody is told: the others go on listing this machine, and write to it in vain, until it is removed."
        )
    elif how == "asked":
        lines.append(f"Signed by the first that is online of: {', '.join(_names(terms))}.")
    elif how == "leaving":
        lines.append("That was said already; it waits for somebody to sign it.")
    if _count(terms, "stays"):
        lines.append(f"Your other machines stay in {mesh}: {_count(terms, 'stays')}.")
    if how == "asked" and not forget:
        again = "Another invite may let this machine in again."
        never = "This machine can never come back to it (another machine can, or another MESH_HOME)."
        lines.append(again if terms.get("returns") else never)
    if word(terms, "recovery_key") == "not backed up":
        lines.append(
            "The recovery key of this mesh is only here and goes too: mesh backup first, if others stay in it."
        )
    return lines


def _tell(answer: "dict[str, JsonValue]") -> None:
    mesh = word(answer, "mesh")
    if word(answer, "state") == "left":
        told = " Nobody was told." if answer.get("forgotten") else ""
        say(f"{mesh} is gone from this machine.{told}")
        return
    say(f"Leaving {mesh}: its keys and messages are gone from this machine.")
    say("Nobody who may sign it was there yet; it goes on by itself (mesh list says leaving until then).")


def _count(terms: "dict[str, JsonValue]", field: str) -> int:
    value = terms.get(field)
    return value if isinstance(value, int) else 0


def _names(terms: "dict[str, JsonValue]") -> "list[str]":
    names = terms.get("askable")
    return [clean_line(name) for name in names if isinstance(name, str)] if isinstance(names, list) else []
