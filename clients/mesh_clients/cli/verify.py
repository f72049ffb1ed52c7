"""`mesh verify`: the digits and the code to compare, who changed a peer's keys, and the word that they are the same."""

import sys

from mesh_clients.cli.invocation import Invocation
from mesh_clients.exits import finish
from mesh_clients.qr import print_code
from mesh_clients.render import emphasise, say, show_value, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue


def run(called: Invocation) -> int:
    params = dict(called.params)
    confirm, number = params.pop("confirm", False), params.pop("number", "")
    if confirm or number:
        return _confirm(called, params, str(number))
    answer = called.call(params)
    if not called.as_json:
        _show(answer, f" --mesh {word(answer, 'mesh')}" if params.get("mesh") else "")
    return finish(answer, as_json=called.as_json)


def _confirm(called: Invocation, params: "dict[str, JsonValue]", number: str) -> int:
    if not number:  # what is shown is what is pinned: a change between the two is refused
        shown = called.call(params)
        number = word(shown, "digits")
        if not called.as_json:
            _print_changes(shown)
            say(number)
    answer = called.call({**params, "number": number}, method="verify.confirm")
    if not called.as_json:
        say(f"{word(answer, 'peer')} in {word(answer, 'mesh')} is verified, with these keys.")
    return finish(answer, as_json=called.as_json)


def _show(answer: "dict[str, JsonValue]", where: str) -> None:
    peer, state = word(answer, "peer"), word(answer, "state")
    _print_changes(answer)
    groups = word(answer, "digits").split()
    for start in range(0, len(groups), 4):
        say(emphasise("  ".join(groups[start : start + 4]), sys.stdout))
    say("")
    print_code(answer)
    say("")
    if state == "verified":
        say(f"{peer} was verified with these keys on {show_value('verified_ms', answer.get('verified_ms'))}.")
    else:
        say(f"Compare them with what {peer} sees (mesh verify YOU), by voice or face to face, not over the mesh.")
        say(f"If they are the same: mesh verify {peer}{where} --confirm")


def _print_changes(answer: "dict[str, JsonValue]") -> None:
    if word(answer, "state") != "changed":
        return
    peer = word(answer, "peer")
    say(
        emphasise(
            f"The keys of {peer} changed, or others signed them in for him; nothing is sent to {peer} by name.",
            sys.stdout,
        )
    )
    changes = answer.get("changes")
    for row in changes if isinstance(changes, list) else []:
        if isinstance(row, dict):
            what = "came" if row.get("came") else "went"
            say(f"  device {word(row, 'device')} {what}, signed by {word(row, 'signed_by')}")
