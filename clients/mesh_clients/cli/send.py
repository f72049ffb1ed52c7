"""`mesh send`: says truthfully how far the message got, and goes on saying it as long as `--wait` asks for."""

import os
import sys
import time

from mesh_clients.cli.invocation import Invocation
from mesh_clients.cli.progress import STATES, describe, has_ended, rows_of
from mesh_clients.exits import fail, finish
from mesh_clients.render import say, show_value, word
from mesh_protocol.wire.errors import FAILED, MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

MAX_TEXT = 65_536
"""Bytes of a message."""
TIMEOUT = 30.0


def run(called: Invocation) -> int:
    params = called.params
    params["message"] = read_text() if params.get("message") == "-" else params["message"]
    size = len(str(params["message"]).encode())
    if size > MAX_TEXT:
        raise MeshError("too_large", what="the message", size=size, limit=MAX_TEXT)
    files = params.pop("files", [])
    if files:
        from mesh_clients.cli.announce import announce

        params["attachments"] = announce(files)
    goal = str(params.get("wait", "queued"))
    seconds = called.number("timeout", TIMEOUT)
    # With a key of its own a call can be repeated to wait for the next step: nothing is sent twice.
    params.setdefault("idempotency_key", os.urandom(16).hex())
    answer = follow(called, goal, seconds)
    state = word(answer, "state")
    if answer.get("reached"):
        return finish(answer, as_json=called.as_json)
    if has_ended(state):
        finish(answer, as_json=called.as_json)
        return FAILED
    late = MeshError("timeout", what=goal, seconds=f"{seconds:g}", id=answer.get("id"), state=state)
    return fail("send", late, as_json=called.as_json)


def follow(called: Invocation, goal: str, seconds: float) -> "dict[str, JsonValue]":
    """Send, and wait for `goal` step by step, saying each step to a person. Returns the last answer."""
    deadline = time.monotonic() + seconds
    steps = [goal] if called.as_json else [*STATES[: STATES.index(goal) + 1]]
    said = ""
    answer: dict[str, JsonValue] = {}
    for step in steps:
        left = max(0.0, deadline - time.monotonic())
        answer = ask(called, {**called.params, "wait": step, "timeout": left}, left)
        if not called.as_json and answer.get("state") != said:
            tell(answer, first=not said)
            said = str(answer.get("state"))
        if not answer.get("reached"):
            break
    return answer


def ask(called: Invocation, params: "dict[str, JsonValue]", wait: float) -> "dict[str, JsonValue]":
    """Call, and once more when the daemon goes away meanwhile: the key makes it the same message."""
    called.connect()
    try:
        return called.call(params, wait=wait)
    except MeshError as error:
        if error.code != "no_daemon":
            raise
    return called.call(params, wait=wait)


def tell(answer: "dict[str, JsonValue]", *, first: bool) -> None:
    """One line a step; the first names the message."""
    state = describe(word(answer, "state"))
    if first:
        names = ", ".join(dict.fromkeys(word(row, "to") for row in rows_of(answer)))
        say(f"{word(answer, 'id')[:8]} to {names}: {state}")
        tell_groups(answer)
    else:
        say(f"         {state}")
    for row in rows_of(answer):
        if has_ended(word(row, "state")):
            reason = word(row, "reason")
            say(f"         {word(row, 'to')}: {describe(str(row['state']))}{reason and f' ({reason})'}")
    sys.stdout.flush()


def tell_groups(answer: "dict[str, JsonValue]") -> None:
    """Until when the groups of members are known who are away: whoever joined since was not written to."""
    rows = answer.get("groups_as_of")
    known = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    if not known:
        return
    parts = [
        f"{word(row, 'member')} {show_value('as_of_ms', row.get('as_of_ms')) or 'never heard of'}" for row in known
    ]
    say(f"         groups as of: {', '.join(parts)}{' and others' if answer.get('groups_more') else ''}")


def read_text() -> str:
    """The message from standard input, without its last line feed. Raises `MeshError`."""
    data = sys.stdin.buffer.read(MAX_TEXT + 2)
    try:
        return data.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise MeshError("bad_request", what="standard input is not UTF-8 text; files are not sent this way") from None
