"""Whose a session is where Claude Code's registry does not say: one of an earlier life, or another maker's MCP client."""

import hashlib
import os
from typing import TYPE_CHECKING, Final

from meshd.claude.formats import ClaudeSession
from meshd.presence import SessionView
from meshd.processes import Process
from meshd.store.sessions import SessionRow

if TYPE_CHECKING:
    from meshd.sessions import Session

CLIENT: Final = "mcp-"
"""How the id of another maker's session begins. Claude Code's ids are UUIDs."""


def is_client(session_id: str) -> bool:
    """Whether it is the session of an MCP client that is no Claude Code."""
    return session_id.startswith(CLIENT)


def client_of(relay: Process, folder: str) -> ClaudeSession:
    """The session of the MCP client that started `mesh mcp` in `folder`.

    It is known by our relay, not by the client above it: that may be an editor, in whose terminals its person works too,
    and what is typed there is no agent's. The same relay is the same session, also after a restart of the daemon.
    """
    digest = hashlib.sha256(folder.encode("utf-8", "replace")).hexdigest()[:8]
    return _session(relay.pid, f"{CLIENT}{relay.pid}-{relay.start}-{digest}", relay.start, folder)


def remembered(row: SessionRow) -> ClaudeSession:
    """What is known of a session whose process is gone."""
    return _session(row.pid, row.session_id, row.start, row.cwd)


def name_of(folder: str) -> str:
    """What a session in a folder is called unless somebody says otherwise: what a name may not hold becomes a dash."""
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in os.path.basename(folder))  # noqa: PTH119 - not ours
    return plain[:32].strip("-") or "session"


def view_of(session: "Session") -> SessionView:
    """What peers are told of a session."""
    return SessionView(
        name=session.name,
        status=session.status.word,
        since_ms=session.status.since_ms,
        summary=session.summary,
        role=str(session.profile.get("role", "")),
        title=str(session.profile.get("title", "")),
        visible=session.visible,
    )


def _session(pid: int, session_id: str, start: int, folder: str) -> ClaudeSession:
    return ClaudeSession(
        pid=pid,
        session_id=session_id,
        proc_start=str(start),
        socket_path=None,
        cwd=folder,
        name=None,
        kind=None,
        status=None,
        status_at_ms=None,
        version="",
        entrypoint=None,
        peer_protocol=None,
    )
