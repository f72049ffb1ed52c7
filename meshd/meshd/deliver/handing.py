"""The second rung: messages that a hook of the session takes along as context.

That the hook got them is no proof (`handed`): only the transcript's entry for the hook's context is, found by the mark.
Until it is found they are not given again for a while, and after that once more.
"""

from typing import Final

import trio

from meshd.claude.hooks import MAX_CONTEXT, HookEvent
from meshd.claude.marks import new_mark
from meshd.deliver.ladder import Ladder
from meshd.deliver.rungs import rung_of
from meshd.deliver.watch import Expected
from meshd.sessions import Session
from meshd.store import inbox as store
from meshd.store.inbox import InboxRow

MAX_LOOKED_AT: Final = 100
MAX_MESSAGES: Final = 20
"""Messages of one hook's context; the next event brings more."""
ASIDE: Final = "\n\n"
WITH_TOOL: Final = "PostToolUse"


def context_for(ladder: Ladder, session: Session, event: HookEvent) -> str:
    """What the answer to this event gives the session to read; empty for nothing.

    In the middle of a turn only what is `now`; at its beginning and end all but `low`. The budgets are those of pushes:
    one context is one push.
    """
    dnd = session.status.word == "dnd"
    if not event.takes_context or dnd or rung_of(session, ladder.inboxes.uid) != "hook":
        return ""
    budgets, now = ladder.budgets(session), trio.current_time()
    with_tool = event.name == WITH_TOOL
    if not with_tool and not budgets.pushes.room(now):
        return ""
    room = MAX_CONTEXT
    texts: list[str] = []
    for row in _waiting(ladder, session):
        if with_tool and not (row.lane == "now" and budgets.urgent(row.from_member).room(now)):
            continue
        mark = new_mark(ladder.node.seams.rng)
        framed = ladder.frame(row, mark)
        room -= len(framed.text) + len(ASIDE)
        if room < 0 or len(texts) >= MAX_MESSAGES:
            break
        texts.append(framed.text)
        ladder.handed(session, Expected(row=row.row, mark=str(mark), hook=True), whole=framed.whole)
        if row.lane == "now":
            budgets.urgent(row.from_member).note(now)
    if texts and not with_tool:
        budgets.pushes.note(now)
    return ASIDE.join(texts)


def _waiting(ladder: Ladder, session: Session) -> list[InboxRow]:
    """What may be shown, `now` first, each lane in the order of arrival."""
    rows = store.session_rows(ladder.node.db.reader, session.key, session.name, None, None, MAX_LOOKED_AT)
    free = [row for row in rows if row.lane != "low" and row.mesh in ladder.node.meshes]
    return sorted((row for row in free if ladder.is_free(session, row.row)), key=lambda row: row.lane != "now")
