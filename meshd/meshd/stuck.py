"""Why a session does not go on, or is not reached: the first reason that explains it, in one line. Pure."""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

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


class Backlog(NamedTuple):
    """What a session was not shown. `waiting` counts all of it but what is `held` because of its sender; `summed` were named
    to it in a digest; `pause_s` seconds pass before it may be pushed anything again."""

    waiting: int = 0
    held: int = 0
    summed: int = 0
    pause_s: float = 0.0


def why_stuck(session: Session, rung: str, backlog: Backlog, link: Why | None, now_ms: int) -> Why:
    """`link` is what keeps its mesh from the broker, if anything does."""
    waiting = backlog.waiting
    if not session.alive:
        return Why("offline", f"it ended {ago(now_ms - session.ended_ms)}; {_wait(waiting)} for it")
    if session.status.word == "waiting":
        return Why("waiting_for_you", "it waits for your answer in its terminal: a permission or a question")
    if session.failure:
        return Why(session.failure, f"its last turn failed ({session.failure}): say something to it to go on")
    if session.mode != "push" or session.status.word == "dnd":
        set_to = f"mode {session.mode}" if session.mode != "push" else "do not disturb"
        return Why("closed", f"it takes no messages by itself ({set_to}); {_wait(waiting)}")
    if backlog.held:
        held = f"{_count(backlog.held)} for it {'is' if backlog.held == 1 else 'are'} held until you let them in"
        return Why("held", f"{held}: mesh held, then mesh held release ID")
    if session.trouble in TROUBLES:
        return Why(session.trouble, TROUBLES[session.trouble])
    return link or _why_slow(session, rung, backlog)


def _why_slow(session: Session, rung: str, backlog: Backlog) -> Why:
    """Nothing keeps its messages from it for good."""
    waiting = backlog.waiting
    if waiting and rung == "pull":
        return Why("pull", f"{_wait(waiting)} until its agent calls check_messages: it has no inbox and no hooks")
    if backlog.summed and backlog.summed >= waiting:
        named = (
            f"{_count(backlog.summed)} came too fast and {'was' if backlog.summed == 1 else 'were'} named in a digest"
        )
        return Why("digest", f"{named}: it has them when its agent calls check_messages")
    if waiting and session.status.word == "working":
        return Why("working", f"it works; {_wait(waiting)} until it is idle")
    if waiting and backlog.pause_s > 0:
        pause = f"the next goes to it in {math.ceil(backlog.pause_s)} s"
        return Why("rate_limited", f"it had its share of pushes for this minute; {_wait(waiting)}, {pause}")
    word = (
        "nothing keeps it" if not waiting else f"{_count(waiting)} {'is' if waiting == 1 else 'are'} on the way to it"
    )
    return Why("fine", f"{word}; it is {session.status.word}")


def _count(number: int) -> str:
    return "1 message" if number == 1 else f"{number} messages"


def _wait(number: int) -> str:
    return f"{_count(number)} {'waits' if number == 1 else 'wait'}"
