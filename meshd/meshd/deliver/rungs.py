"""By which way messages reach a session now. Pure."""

import sys
from typing import Final, Literal, TypeAlias

from meshd.claude.formats import Support, is_inbox_path
from meshd.claude.inbox import NotPushed
from meshd.sessions import Session

Rung: TypeAlias = Literal["inbox", "hook", "pull"]

_CLOSED: Final = frozenset(
    each.value
    for each in (
        NotPushed.NOT_SUPPORTED,
        NotPushed.NO_INBOX,
        NotPushed.BAD_PATH,
        NotPushed.UNSAFE_FOLDER,
        NotPushed.WRONG_PROCESS,
    )
)
"""Troubles of the last push after which another way is used, until a push succeeds."""


def rung_of(session: Session, uid: int) -> Rung:
    """The session's inbox socket where there is one that can be trusted; else its hooks, if it has them; else it asks."""
    if session.mode == "push":
        if session.trouble not in _CLOSED and _has_inbox(session, uid):
            return "inbox"
        if session.hooked:
            return "hook"
    return "pull"


def _has_inbox(session: Session, uid: int) -> bool:
    claude = session.claude
    if sys.platform != "linux" or claude.support is Support.UNKNOWN or claude.socket_path is None:
        return False
    return is_inbox_path(claude.socket_path, claude.pid, uid)
