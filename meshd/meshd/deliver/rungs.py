"""By which way messages reach a session now, and why by no better one. Pure."""

import sys
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from meshd.claude.formats import Support, is_inbox_path
from meshd.claude.inbox import NotPushed
from meshd.sessions import Session

Rung: TypeAlias = Literal["inbox", "channel", "hook", "pull"]

_CLOSED: Final[Mapping[str, str]] = {
    NotPushed.NOT_SUPPORTED.value: "its inbox is not one that is known",
    NotPushed.NO_INBOX.value: "nobody answers at its inbox socket",
    NotPushed.BAD_PATH.value: "its registry entry names a socket that Claude Code would not make",
    NotPushed.UNSAFE_FOLDER.value: "the folder of its inbox socket is open to others",
    NotPushed.WRONG_PROCESS.value: "another process answers at its inbox socket",
}
"""Troubles of the last push after which another way is used, until a push succeeds; each with what it means."""
_NO_HOOKS: Final = "no hook of it was heard yet (mesh install, and restart it, if it has none)"
_SILENT: Final = "nothing proved that it reads its channel"


class Way(NamedTuple):
    """`why` says what keeps a session from better ways; empty for the best."""

    rung: Rung
    why: str


def way_of(session: Session, uid: int) -> Way:
    """The session's inbox socket where there is one that can be trusted; else a channel, if it takes one; else its hooks,
    if it runs them; else it asks. The first two wake an idle session, hooks wait for its next turn."""
    if session.foreign:
        return Way("pull", "only Claude Code can be shown messages; its agent asks (check_messages)")
    if session.mode != "push":
        return Way("pull", f"its mode is {session.mode}")
    closed = _no_inbox(session, uid) or _CLOSED.get(session.trouble, "")
    if not closed:
        return Way("inbox", "")
    if session.channel == "open":
        return Way("channel", closed)
    silent = f"; {_SILENT}" if session.channel == "silent" else ""
    if session.hooked:
        return Way("hook", closed + silent)
    return Way("pull", f"{closed}{silent}; {_NO_HOOKS}")


def rung_of(session: Session, uid: int) -> Rung:
    """Only the way."""
    return way_of(session, uid).rung


def _no_inbox(session: Session, uid: int) -> str:
    """Why there is no inbox to be used; empty where there is one."""
    claude = session.claude
    if sys.platform != "linux":
        return "inboxes are used on Linux alone"
    if claude.support is Support.UNKNOWN:
        return f"the inbox of Claude Code {claude.version or 'of unknown version'} is not known"
    if claude.socket_path is None:
        return "it has no inbox socket"
    if not is_inbox_path(claude.socket_path, claude.pid, uid):
        return _CLOSED[NotPushed.BAD_PATH.value]
    return ""
