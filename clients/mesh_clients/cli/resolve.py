"""`mesh resolve`: the histories between which a mesh is frozen, and the word which of them counts."""

import sys

from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.secrets import read_secret
from mesh_clients.exits import finish
from mesh_clients.render import clean_line, say, word
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

MAX_FILE = 1024


def run(called: Invocation) -> int:
    params = dict(called.params)
    yes, source = params.pop("yes", False), str(params.pop("recovery_from", "") or "")
    where: dict[str, JsonValue] = {"mesh": params["mesh"]} if params.get("mesh") else {}
    shown = called.call(where, method="resolve.list")
    if not params.get("head"):
        if not called.as_json:
            _show(shown)
        return finish(shown, as_json=called.as_json)
    if source:
        params["recovery"] = read_secret("recovery key") if source == "-" else _read_file(source)
    if not yes:
        _confirm(called, shown, str(params["head"]))
    answer = called.call(params)
    if not called.as_json:
        _tell(answer)
    return finish(answer, as_json=called.as_json)


def _read_file(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_FILE + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise MeshError("bad_request", what=f"the recovery key cannot be read from {path}: {error}") from None
    if len(text) > MAX_FILE or not text.strip():
        raise MeshError("bad_request", what=f"{path} does not hold the printed form of a recovery key")
    return text.strip()


def _confirm(called: Invocation, shown: "dict[str, JsonValue]", head: str) -> None:
    """Raises `MeshError` unless a person at a terminal says yes."""
    rows = [row for row in _rows(shown) if word(row, "head").startswith(head)]
    if len(rows) != 1:
        return  # which the daemon refuses
    lost = _names(rows[0], "lost")
    if called.as_json or sys.stdin is None or not sys.stdin.isatty():
        raise MeshError(
            "bad_request", what="this ends the other histories for good: say --yes, or run it on a terminal"
        )
    from mesh_clients.cli.open import confirm

    if lost:
        say(f"Members of another history only, who need a new invite then: {', '.join(lost)}")
    confirm(f"Keep the history that ends with {head} and end the others for good?")


def _show(answer: "dict[str, JsonValue]") -> None:
    mesh, rows = word(answer, "mesh"), _rows(answer)
    if not rows:
        say(f"{mesh} has one history of {_number(answer, 'common')} records: nothing to resolve.")
        return
    say(
        f"{mesh} is frozen: its broker signed {len(rows)} histories, which part after record {_number(answer, 'common')}."
    )
    say("Nothing is sent until one of them is chosen. Ask the others what they see before you do.")
    for row in rows:
        here = " (the one this machine followed)" if row.get("here") else ""
        say("")
        say(f"{word(row, 'head')[:16]}  record {_number(row, 'seq')}, {_number(row, 'members')} members{here}")
        first = f"{clean_line(word(row, 'first'))}, signed by {clean_line(word(row, 'signed_by'))}"
        say(f"  {_number(row, 'records')} records of its own, from {_number(row, 'first_seq')} on: {first}")
        lost = _names(row, "lost")
        if lost:
            say(f"  if it is chosen, these need a new invite: {', '.join(lost)}")
        if not row.get("may"):
            say("  this machine's key may not choose it: the recovery key may (--recovery FILE, or - to type it)")
    say("")
    say("To choose: mesh resolve HEAD")


def _tell(answer: "dict[str, JsonValue]") -> None:
    head = word(answer, "head")[:16]
    say(f"{word(answer, 'mesh')} goes on from {head}, signed by {word(answer, 'signed_by')}; what was queued is sent.")
    lost, unsealed = _names(answer, "lost"), _names(answer, "unsealed")
    if lost:
        say(f"No members any more, invite them again: {', '.join(lost)}")
    if unsealed:
        say(f"These machines got no new key and ask for it: {', '.join(unsealed)}")


def _number(row: "dict[str, JsonValue]", field: str) -> int:
    value = row.get(field)
    return value if isinstance(value, int) else 0


def _rows(answer: "dict[str, JsonValue]") -> "list[dict[str, JsonValue]]":
    heads = answer.get("heads")
    return [row for row in heads if isinstance(row, dict)] if isinstance(heads, list) else []


def _names(row: "dict[str, JsonValue]", field: str) -> "list[str]":
    names = row.get(field)
    return [clean_line(name) for name in names if isinstance(name, str)] if isinstance(names, list) else []
