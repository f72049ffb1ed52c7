"""The one line under a session's prompt: which mesh, who is there, what waits for its person. Never blank, never too wide."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from meshd.config import Layout
from meshd.fitting import Part, clean, dim, fit
from meshd.glance import NOTHING, Glance
from meshd.knocks import waiting_joiners
from meshd.link.joining import whom_it_waits_for
from meshd.link.table import LinkState
from meshd.mesh import Mesh
from meshd.presence import DIM_MS
from meshd.sessions import Session
from meshd.store.inbox import count_unread
from meshd.store.outbox import count_waiting
from meshd.store.sessions import count_unshown
from meshd.store.trust import count_held

if TYPE_CHECKING:
    from meshd.app import App

LAYOUTS: Final[tuple[Layout, ...]] = ("full", "short", "minimal")
MAX_NAME: Final = 24
GRACE_MS: Final = 3_000
"""What a heartbeat may take: without it, whoever is there would flicker at each of them."""
CENT: Final = 0.005
"""Dollars from which on a cost is more than none."""
SCARCE: Final = 0.2
"""What is left of a window when it is called little."""
MAX_NAMED: Final = 6
"""People that are named; of more the number is told."""
_DOWN: Final = {LinkState.GREETING: "connecting"}
"""Words of ours for states whose own name says nothing to a person."""


class Asked(NamedTuple):
    """`columns` 0: as long as it is. `layout` empty: the configuration's. `plain`: no style. `session`: whose line it is."""

    columns: int = 0
    layout: str = ""
    plain: bool = False
    session: Session | None = None
    glance: Glance = NOTHING


class _Peer(NamedTuple):
    """Somebody else who is online; `faint`: not heard for a while."""

    name: str
    faint: bool


def compose(app: "App", asked: Asked) -> str:
    """The line for `asked`, at most `asked.columns` wide."""
    layout = asked.layout or app.config.statusline
    if layout not in LAYOUTS:
        return fit([Part(1, (f"mesh: no layout is called that: {', '.join(LAYOUTS)}",))], asked.columns)
    parts = [*_mesh_parts(app, asked, layout), *_glance_parts(app, asked, layout)]
    return fit(parts, asked.columns)


def _mesh_parts(app: "App", asked: Asked, layout: str) -> Iterator[Part]:
    if app.locked:
        yield Part(100, ("mesh: keys locked (mesh unlock)", "keys locked"))
        return
    if not app.node.meshes:
        yield Part(100, ("mesh: none yet (mesh new NAME)", "no mesh yet"))
        yield from _budget_parts(app)
        return
    mesh = app.sessions.mesh_of(asked.session) if asked.session is not None else app.node.find_mesh("")
    if mesh is None:
        yield Part(100, ("mesh: this session's MESH names none of yours (mesh list)", "mesh: unknown"))
    else:
        name = clean(mesh.slug, MAX_NAME * 2)
        yield Part(100, (f"mesh {name}", name) if layout == "full" else (name,))
        yield from _state_parts(app, mesh, asked, layout)
    yield from _waiting_parts(app, asked, layout)
    if mesh is not None and layout != "minimal":
        sending = count_waiting(app.node.db.reader, mesh.id)
        if sending:
            yield Part(50, (f"{sending} to send",))


def _state_parts(app: "App", mesh: Mesh, asked: Asked, layout: str) -> Iterator[Part]:
    """What stops the mesh; where nothing does, who is there."""
    if mesh.fork is not None:
        yield Part(95, ("frozen (mesh resolve)", "frozen"))
    elif mesh.alarm:
        yield Part(95, ("sending stopped (mesh doctor)", "stopped"))
    elif not mesh.active:
        trouble = mesh.row.trouble.removeprefix("invite_")
        waiting = (f"waiting for {whom_it_waits_for(app.node, mesh)}", "waiting to be let in", "not let in yet")
        said = "linking ended" if trouble == "link_ended" else f"invite {trouble}"
        yield Part(95, (said,) if trouble else waiting)
    elif mesh.link is not LinkState.ONLINE:
        yield Part(95, (_DOWN.get(mesh.link, mesh.link.value),))
    elif layout != "minimal":
        if layout == "full":
            yield from _names(list(_peers(app, mesh)), plain=asked.plain)
        count = f"{app.board.online_count(mesh) + 1}/{sum(each.active for each in mesh.state.devices.values())}"
        yield Part(60, (f"{count} online", count) if layout == "full" else (count,))


def _peers(app: "App", mesh: Mesh) -> Iterator[_Peer]:
    """The other members of whom a machine is online, in the order of the chain."""
    now = app.node.now()
    for member in mesh.state.members:
        if member == mesh.row.member:
            continue
        devices = [each for each in mesh.state.active_devices(member) if app.board.is_online(mesh.id, each)]
        heard = [found.at_ms for each in devices if (found := app.board.of(mesh.id, each)) is not None]
        if heard:
            yield _Peer(clean(mesh.name_of(member), MAX_NAME), now - max(heard) > DIM_MS + GRACE_MS)


def _names(peers: Sequence[_Peer], *, plain: bool) -> Iterator[Part]:
    if not peers:
        return
    shown = [(f"({peer.name})" if plain else dim(peer.name)) if peer.faint else peer.name for peer in peers]
    forms = [_listed(shown, most) for most in (MAX_NAMED, 3, 1)]
    yield Part(40, tuple(dict.fromkeys(forms)))


def _listed(names: Sequence[str], most: int) -> str:
    more = f" +{len(names) - most}" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _waiting_parts(app: "App", asked: Asked, layout: str) -> Iterator[Part]:
    """What waits for the person, and for the session itself."""
    reader = app.node.db.reader
    waiting = [*_waiting_sessions(app, asked.session)]
    if waiting:
        ends = ("s", "") if len(waiting) == 1 else ("", "s")
        named = f"{_listed(waiting, 2)} wait{ends[0]}"
        many = f"{len(waiting)} session{ends[1]} wait{ends[0]}"
        yield Part(90, (f"{named} for you", named, many) if layout == "full" else (named, many))
    asking = sum(len(waiting_joiners(mesh)) for mesh in app.node.meshes.values() if mesh.active)
    if asking:
        verb = "asks" if asking == 1 else "ask"
        yield Part(88, (f"{asking} {verb} to join (mesh invites)", f"{asking} {verb} to join", f"{asking} to let in"))
    yield from _budget_parts(app)
    held = count_held(reader)
    if held:
        yield Part(80, (f"{held} held (mesh held)", f"{held} held") if layout == "full" else (f"{held} held",))
    unread = count_unread(reader)
    if unread:
        yield Part(85, (f"{unread} unread",))
    here = count_unshown(reader, asked.session.key) if asked.session is not None else 0
    if here:
        yield Part(84, (f"{here} for this session", f"{here} here") if layout == "full" else (f"{here} here",))


def _budget_parts(app: "App") -> Iterator[Part]:
    """Who waits because one of the person's budgets is used up: the proxy needs no mesh."""
    asking = len(app.proxy.asks())
    if asking:
        yield Part(88, (f"{asking} over budget (mesh budget)", f"{asking} over budget"))


def _waiting_sessions(app: "App", own: Session | None) -> Iterator[str]:
    """The person's other sessions that wait for an answer of his, on this machine and on his others."""
    for session in app.sessions.live():
        if session is not own and session.status.word == "waiting":
            yield clean(session.name, MAX_NAME)
    for mesh in app.node.meshes.values():
        if not mesh.active:
            continue
        for device in mesh.state.active_devices(mesh.row.member):
            heard = app.board.of(mesh.id, device) if app.board.is_online(mesh.id, device) else None
            for view in heard.presence.sessions if heard is not None else ():
                if view.status == "waiting":
                    yield clean(view.name, MAX_NAME)


def _glance_parts(app: "App", asked: Asked, layout: str) -> Iterator[Part]:
    """Model, context and cost, where Claude Code told them; what is spent, where the proxy records it."""
    glance, cost = asked.glance, asked.glance.cost
    spent = None
    if not app.locked:
        spent = app.proxy.glimpse(asked.session.claude.session_id if asked.session is not None else "", app.node.now())
    if spent is not None:
        yield from _window_parts(spent.left, layout)
        cost = spent.session or cost
    if layout == "minimal":
        return
    if glance.model and layout == "full":
        yield Part(25, (glance.model,))
    if glance.context is not None:
        percent = f"{glance.context}%"
        yield Part(30, (f"context {percent}", percent) if layout == "full" else (percent,))
    if cost is not None and cost >= CENT:
        yield Part(20, (f"${cost:.2f}",))
    if spent is not None and spent.today >= CENT and layout == "full":
        yield Part(15, (f"${spent.today:.2f} today",))


def _window_parts(left: Sequence[tuple[str, float]], layout: str) -> Iterator[Part]:
    """What is left of a subscription's windows; in every layout once it is little."""
    for window, share in left:
        scarce = share < SCARCE
        if scarce or layout == "full":
            yield Part(75 if scarce else 22, (f"{window} {share:.0%} left",))
