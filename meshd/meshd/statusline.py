"""The one line under a session's prompt: which mesh, who is there, what waits. Short, and never more than was asked for."""

from typing import TYPE_CHECKING
from unicodedata import combining, east_asian_width

from meshd.link.table import LinkState
from meshd.mesh import Mesh
from meshd.store.inbox import count_unread

if TYPE_CHECKING:
    from meshd.app import App


def compose(app: "App", columns: int) -> str:
    """The line, at most `columns` wide (0: as long as it is)."""
    parts = _parts(app)
    line = " · ".join(parts)
    while columns and _width(line) > columns and len(parts) > 1:
        parts.pop()
        line = " · ".join(parts)
    while columns and _width(line) > columns:
        line = line[:-1]
    return line


def _width(text: str) -> int:
    """Columns of a terminal: letters of East Asia take two, combining marks none."""
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def _parts(app: "App") -> list[str]:
    if app.locked:
        return ["mesh: keys locked (mesh unlock)"]
    if not app.node.meshes:
        return ["mesh: none yet (mesh new NAME)"]
    mesh = app.node.find_mesh("")
    unread = count_unread(app.node.db.reader)
    return [f"mesh {mesh.slug}", *_state(app, mesh), *([f"{unread} unread"] if unread else [])]


def _state(app: "App", mesh: Mesh) -> list[str]:
    if mesh.alarm:
        return ["sending stopped (mesh doctor)"]
    if not mesh.active:
        return [f"invite {mesh.row.trouble.removeprefix('invite_')}" if mesh.row.trouble else "waiting to be let in"]
    if mesh.link is not LinkState.ONLINE:
        return [mesh.link.value]
    return [f"{app.board.online_count(mesh) + 1}/{len(mesh.state.devices)} online"]
