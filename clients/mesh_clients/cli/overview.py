"""`mesh` alone: what is going on now, on one screen. Where there is no mesh yet, the welcome."""

import os
import sys

from mesh_clients import discover, thin
from mesh_clients.cli.invocation import Invocation
from mesh_clients.exits import finish
from mesh_clients.render import cells, clean_line, say, terminal_width, word
from mesh_clients.terminal import style_of
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh_clients.terminal import Style
    from mesh_protocol.wire.codec import JsonValue

    Row = dict[str, JsonValue]

DATABASE = "mesh.db"
WIDTH = 80
LINES = 23
"""One less than a terminal has: the prompt comes below."""
MAX_MESHES = 4
MAX_WAITING = 4
MAX_OUTBOX = 3
TO, STATUS, LABEL = 20, 9, 15
WORDS = {"waiting": "asks"}
"""It waits for its person: a permission or a question."""


def run(called: Invocation) -> int:
    if not has_begun():
        from mesh_clients.cli import welcome

        return welcome.show(daemon=False, as_json=called.as_json)
    status = called.call({}, method="daemon.status")
    if word(status, "state") == "locked":
        if not called.as_json:
            say("The keys are locked: nothing is sent or shown until mesh unlock.")
        return finish({"state": "locked"}, as_json=called.as_json)
    if not status.get("meshes"):
        from mesh_clients.cli import welcome

        return welcome.show(daemon=True, as_json=called.as_json)
    now = look(called, status)
    if not called.as_json:
        width = (terminal_width(sys.stdout) or WIDTH) - 1
        for line in lines(now, width, style_of(sys.stdout, os.environ)):
            say(line)
    return finish(now, as_json=called.as_json)


def has_begun() -> bool:
    """Whether a daemon ever kept something here. Raises `MeshError`."""
    try:
        data = os.fsdecode(discover.data_directory(os.environ))
    except thin.NotTrusted as error:
        raise MeshError("no_daemon", why=str(error)) from None
    return os.path.exists(f"{data}/{DATABASE}")


def look(called: Invocation, status: "Row") -> "Row":
    """Everything that is shown, from a few questions on one connection."""
    held: JsonValue = []
    called.answers_guard = False  # a glance asks for no passphrase
    try:
        held = called.call({}, method="trust.held", texts="held[].message").get("held", [])
    except MeshError as error:
        if error.code not in ("guarded", "guard_asks", "not_allowed"):
            raise
    finally:
        called.answers_guard = True
    only: Row = {"mesh": called.line.mesh} if called.line.mesh else {}
    peers = called.call(only, method="peer.list", texts="peers[].summary").get("peers")
    waiting = called.call({"limit": 100, **only}, method="outbox.list", texts="waiting[].message")
    return {
        "state": "ready",
        "meshes": [
            row for row in rows_of(status, "meshes") if word(row, "mesh") == only.get("mesh", word(row, "mesh"))
        ],
        "unread": status.get("unread"),
        "peers": peers,
        "sessions": called.call(only, method="session.list").get("sessions"),
        "held": held,
        "outbox": waiting.get("waiting"),
        "outbox_more": waiting.get("more"),
    }


def rows_of(now: "Row", name: str) -> "list[Row]":
    rows = now.get(name)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


# What is shown.


def lines(now: "Row", width: int, style: "Style") -> list[str]:
    """At most `LINES`, each at most `width` wide."""
    meshes = mesh_lines(rows_of(now, "meshes"), width, style)
    below = [*facts(now, width, style)]
    room = LINES - len(meshes) - len(below) - 2
    return [*meshes, "", *peer_lines(rows_of(now, "peers"), max(2, room), width, style), "", *below]


def mesh_lines(meshes: "list[Row]", width: int, style: "Style") -> list[str]:
    found: list[str] = []
    size = max(cells(word(row, "mesh")) for row in meshes[:MAX_MESHES])
    for row in meshes[:MAX_MESHES]:
        good, said = mesh_state(row)
        name = word(row, "mesh")
        text = style.cut(f"{'':{size - cells(name)}}  you are {word(row, 'me')}, {said}", width - cells(name))
        found.append(style.bold(style.cut(name, width)) + (text if good else style.warn(text)))
    if len(meshes) > MAX_MESHES:
        found.append(style.faint(style.cut(f"and {len(meshes) - MAX_MESHES} more: mesh list", width)))
    return found


def mesh_state(row: "Row") -> tuple[bool, str]:
    """Whether all is well with a mesh, and how it is."""
    trouble, waiting = word(row, "trouble"), word(row, "waiting_for")
    if word(row, "state") == "pending":
        return False, f"not let in yet: waits for {waiting or 'a member'}"
    if word(row, "state") == "failed":
        return False, f"not joined: {trouble}"
    if word(row, "link") != "online":
        link = {"greeting": "connecting"}.get(word(row, "link"), word(row, "link"))
        return False, f"{link} (mesh doctor): {trouble}" if trouble else f"{link}, its broker has not answered yet"
    if trouble:
        return False, f"see mesh doctor: {trouble}"
    online = row.get("online")
    return True, "online" + (f", {online} machines" if isinstance(online, int) and online > 1 else "")


def peer_lines(peers: "list[Row]", room: int, width: int, style: "Style") -> list[str]:
    """Who is there and what they do: sessions first, then people; those who are away in one line."""
    several = len({word(row, "mesh") for row in peers}) > 1
    there = [row for row in peers if row.get("online") and not (row.get("me") and word(row, "kind") == "human")]
    there.sort(key=lambda row: (word(row, "kind") != "ai", word(row, "status") not in ("waiting", "working")))
    away = [label(row, several) for row in peers if not row.get("online") and word(row, "kind") == "human"]
    if not there and not away:
        return [style.faint(style.cut("Nobody else is here yet: mesh launch starts a session here", width))]
    room -= bool(away)
    shown = there if len(there) <= room else there[: max(0, room - 1)]
    found = [peer_line(row, several, width, style) for row in shown]
    if len(shown) < len(there):
        found.append(style.faint(style.cut(f"  and {len(there) - len(shown)} more: mesh peers", width)))
    if away:
        found.append(f"{style.ring} " + style.faint(style.cut(f"away: {', '.join(away)}", width - 2)))
    return found


def peer_line(row: "Row", several: bool, width: int, style: "Style") -> str:
    """A sign, the address, the status, and the summary as far as it fits."""
    status = WORDS.get(word(row, "status"), word(row, "status"))
    sign = style.warn(style.dot) if word(row, "status") == "waiting" else style.good(style.dot)
    to = style.cut(label(row, several), max(TO, width // 3))
    text = f"{to}{' ' * max(1, TO - cells(to))}{status:<{STATUS}}"
    summary = word(row, "summary") or word(row, "role")
    return f"{sign} " + style.cut(f"{text} {summary}".rstrip(), width - 2)


def label(row: "Row", several: bool) -> str:
    return word(row, "to") + (f" ({word(row, 'mesh')})" if several else "")


def facts(now: "Row", width: int, style: "Style") -> list[str]:
    """Unread, what waits for you, what is on its way; a hint where there is nothing of all that."""
    found: list[str] = []
    unread = now.get("unread")
    if unread:
        found += fact("Unread", [f"{word(now, 'unread')}: mesh inbox"], width, style)
    waiting = waiting_for_you(now)
    if waiting:
        found += fact("Waits for you", waiting, width, style)
    outbox = on_the_way(now)
    if outbox:
        found += fact("On its way", outbox, width, style)
    return found or [style.faint(style.cut("Nothing waits. mesh send NAME TEXT writes, mesh help tells more", width))]


def fact(name: str, said: "Sequence[str]", width: int, style: "Style") -> list[str]:
    first, *others = [style.cut(text, width - LABEL) for text in said]
    return [style.bold(name.ljust(LABEL)) + first, *(f"{'':{LABEL}}{text}" for text in others)]


def waiting_for_you(now: "Row") -> list[str]:
    sessions = [row for row in rows_of(now, "sessions") if word(row, "status") == "waiting"]
    said = [f"{word(row, 'session')} asks something in its terminal" for row in sessions]
    if len(said) > MAX_WAITING:
        said = [*said[: MAX_WAITING - 1], f"mesh sessions: {len(said) - MAX_WAITING + 1} more of them"]
    said += [
        f"mesh invites: {count(asking, 'machine')} ask{'s' if asking == 1 else ''} to join {word(row, 'mesh')}"
        for row in rows_of(now, "meshes")
        if isinstance(asking := row.get("asking"), int) and asking
    ]
    held = rows_of(now, "held")
    if held:
        senders = ", ".join(dict.fromkeys(word(row, "sender") for row in held))
        said.append(f"mesh held: {count(len(held), 'message')}, of {senders}")
    return said


def on_the_way(now: "Row") -> list[str]:
    rows = rows_of(now, "outbox")
    said = [f"to {word(row, 'to')}, {clean_line(word(row, 'state'))}: {word(row, 'why')}" for row in rows[:MAX_OUTBOX]]
    if len(rows) > MAX_OUTBOX:
        more = len(rows) - MAX_OUTBOX
        said.append(f"mesh outbox: {more}{'+' if now.get('outbox_more') else ''} more")
    return said


def count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
