"""Why a session does not go on, or is not reached: the first reason that explains it, in one line. Pure."""

from collections.abc import Mapping
from typing import Final

from meshd.sessions import Session
from meshd.waiting import Why, ago

TROUBLES: Final[Mapping[str, str]] = {
    "held_by_session": "it holds messages of peers: let them in there, or set crossSessionInbound to accept in its settings",
    "refused_by_session": "it refuses messages of peers: set crossSessionInbound to accept in its settings",
    "dropped_by_session": "too much came at once and it dropped some; they are tried again",
    "expired_in_session": "it held messages too long: it gets them when its agent calls check_messages",
    "taken_but_not_shown": "it took messages and nothing proves that they were shown; see mesh doctor",
}
"""What it means that a session itself did not show a push."""


def why_stuck(session: Session, rung: str, waiting: int, link: Why | None, now_ms: int) -> Why:
    """`waiting` counts its unshown messages; `link` is what keeps its mesh from the broker, if anything does."""
    if not session.alive:
        return Why("offline", f"it ended {ago(now_ms - session.ended_ms)}; {_count(waiting)} wait for it")
    if session.status.word == "waiting":
        return Why("waiting_for_you", "it waits for your answer in its terminal: a permission or a question")
    if session.failure:
        return Why(session.failure, f"its last turn failed ({session.failure}): say something to it to go on")
    if session.mode != "push" or session.status.word == "dnd":
        set_to = f"mode {session.mode}" if session.mode != "push" else "do not disturb"
        return Why("closed", f"it takes no messages by itself ({set_to}); {_count(waiting)} wait")
    if session.trouble in TROUBLES:
        return Why(session.trouble, TROUBLES[session.trouble])
    if link is not None:
        return link
    if waiting and rung == "pull":
        return Why("pull", f"{_count(waiting)} wait until its agent calls check_messages: it has no inbox and no hooks")
    if waiting and session.status.word == "working":
        return Why("working", f"it works; {_count(waiting)} wait until it is idle")
    word = "nothing keeps it" if not waiting else f"{_count(waiting)} are on the way to it"
    return Why("fine", f"{word}; it is {session.status.word}")


def _count(number: int) -> str:
    return "1 message" if number == 1 else f"{number} messages"
