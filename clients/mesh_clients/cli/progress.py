"""How far a message got, in plain words that claim no more than is known."""

from mesh_clients.render import clean_line, say, show_time, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

STATES = ("queued", "accepted", "stored", "shown", "turn_started")
"""In their order."""
WORDS = {
    "queued": "queued: kept on this machine, goes out as soon as the broker takes it",
    "accepted": "accepted: the broker has it, the recipient's machine does not yet",
    "stored": "stored: it is on the recipient's machine, not shown to them yet",
    "shown": "shown to them",
    "turn_started": "shown, and the agent has begun to work",
    "held": "held: their side waits for its user's approval",
    "refused": "refused by their side",
    "expired": "expired before it was stored",
    "cancelled": "cancelled",
    "no_such_session": "no such session there (any more)",
    "removed": "they are no longer in the mesh",
    "too_large": "too large for their side",
    "unreadable": "their side could not open it; it is sent again if they ask",
}


def describe(state: str) -> str:
    return WORDS.get(state, clean_line(state))


def has_ended(state: str) -> bool:
    """Whether it is a state that goes no further, short of the goal."""
    return state not in STATES and state != "held"


def rows_of(answer: "dict[str, JsonValue]") -> "list[dict[str, JsonValue]]":
    """The recipients of a message."""
    rows = answer.get("recipients")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def print_recipient(row: "dict[str, JsonValue]") -> None:
    """One recipient, each state that was reached with its local time."""
    state = word(row, "state")
    where = "this machine" if row.get("path") == "local" else f"device {word(row, 'device')}"
    say(f"{word(row, 'to')} on {where}: {describe(state)}")
    for reached in STATES:
        at = row.get(f"{reached}_ms")
        if isinstance(at, int) and at:
            known = word(row, "evidence") if reached == "shown" else ""
            say(f"    {reached.replace('_', ' '):<13} {show_time(at)}{f'  (known by: {known})' if known else ''}")
    reason = word(row, "reason")
    if reason:
        say(f"    reason        {reason}")
