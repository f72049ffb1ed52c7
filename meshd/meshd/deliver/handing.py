"""The rung of hooks: messages that a hook of the session takes along as context.

That the hook got them is no proof (`handed`): only the transcript's entry for the hook's context is, found by the mark.
Until it is found they are not given again for `given.HANDED_S`, and after that once more: the same message twice in a
conversation is the lesser evil, but not at every event. One exception: Claude Code (tried on 2.1.329) reads what the hook of
a turn's last tool answers no sooner than with the person's next prompt, so the end of the turn gives that again.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import trio

from meshd.claude.frame import Framed
from meshd.claude.hooks import MAX_CONTEXT, HookEvent
from meshd.claude.marks import Mark, new_mark
from meshd.deliver.gate import MAX_SUMMED
from meshd.deliver.given import HANDED_S
from meshd.deliver.ladder import Ladder
from meshd.deliver.rungs import rung_of
from meshd.deliver.watch import Expected
from meshd.sessions import Session
from meshd.store import inbox as store
from meshd.store.inbox import InboxRow

MAX_MESSAGES: Final = 20
"""Messages of one hook's context; the next event brings more."""
ASIDE: Final = "\n\n"
WITH_TOOL: Final = "PostToolUse"


class _Piece(NamedTuple):
    """One message of a context."""

    row: InboxRow
    mark: Mark
    framed: Framed


async def context_for(ladder: Ladder, session: Session, event: HookEvent) -> str:
    """What the answer to this event gives the session to read; empty for nothing.

    In the middle of a turn only what is `now`; at its beginning and end all but `low`, and at the end only once: a turn
    that a hook began is not followed by another. The budgets are those of pushes: one context is one push, and the last one
    of a minute is a digest where not all fits into it.
    """
    if event.name == "Stop" and not event.agent and ladder.given.is_loose(session.key):
        await ladder.watch(session).look()  # the proof may stand there since a moment ago
        ladder.given.recall(session.key)
    with_tool = event.name == WITH_TOOL
    rungs = {"hook", "channel"} if with_tool else {"hook"}  # a channel is read between turns
    dnd = session.status.word == "dnd"
    if not event.takes_context or dnd or rung_of(session, ladder.inboxes.uid) not in rungs:
        return ""
    budgets, now = ladder.budgets(session), trio.current_time()
    room = budgets.pushes.room(now)
    if not with_tool and not room:
        return ""
    rows = _waiting(ladder, session)
    if with_tool:
        rows = [row for row in rows if row.lane == "now" and budgets.urgent(row.from_member).room(now)]
    pieces = _fill(ladder, rows)
    if not pieces:
        return ""
    if with_tool:
        allowed: dict[bytes, int] = {row.from_member: budgets.urgent(row.from_member).room(now) for row in rows}
        pieces = [piece for piece in pieces if _take_one(allowed, piece.row.from_member)]
    else:
        budgets.pushes.note(now)
        if room == 1 and len(pieces) < len(rows):
            return _sum_up(ladder, session, rows[:MAX_SUMMED])
    for piece in pieces:
        if piece.row.lane == "now":
            budgets.urgent(piece.row.from_member).note(now)
        _hand(ladder, session, piece, loosely=with_tool)
    return ASIDE.join(piece.framed.text for piece in pieces)


def _waiting(ladder: Ladder, session: Session) -> list[InboxRow]:
    """What may be shown, `now` first, each lane in the order of arrival."""
    rows = store.session_rows(ladder.node.db.reader, session.key, session.name, None, None, MAX_SUMMED)
    free = [row for row in rows if row.lane != "low" and row.mesh in ladder.node.meshes]
    return sorted((row for row in free if ladder.is_free(session, row.row)), key=lambda row: row.lane != "now")


def _fill(ladder: Ladder, rows: Sequence[InboxRow]) -> list[_Piece]:
    """As many whole frames, from the first on, as one context holds."""
    pieces: list[_Piece] = []
    room = MAX_CONTEXT
    for row in rows[:MAX_MESSAGES]:
        mark = new_mark(ladder.node.seams.rng)
        framed = ladder.framer.frame(row, mark)
        room -= len(framed.text) + len(ASIDE)
        if room < 0:
            break
        pieces.append(_Piece(row, mark, framed))
    return pieces


def _take_one(allowed: dict[bytes, int], sender: bytes) -> bool:
    allowed[sender] -= 1
    return allowed[sender] >= 0


def _hand(ladder: Ladder, session: Session, piece: _Piece, *, loosely: bool) -> None:
    """It is on its way: its mark is looked for."""
    number, whole, now = piece.row.row, piece.framed.whole, trio.current_time()
    if loosely:
        ladder.given.hand_loosely(number, now, session.key)
    else:
        ladder.given.hand(number, now)
    if not whole:  # it is shown when the rest is fetched
        ladder.given.preview(number)
    ladder.watch(session).expect(Expected(row=number, mark=str(piece.mark), hook=True, whole=whole))


def _sum_up(ladder: Ladder, session: Session, rows: Sequence[InboxRow]) -> str:
    """A digest, after which they are not surfaced by themselves any more, once it is proved to be seen."""
    mark = new_mark(ladder.node.seams.rng)
    numbers = tuple(row.row for row in rows)
    ladder.given.sum_up(numbers, trio.current_time() + HANDED_S)
    ladder.watch(session).expect(Expected(row=0, mark=str(mark), hook=True, summed=numbers))
    return ladder.framer.digest(rows, mark).text
