"""Why a message is not on its recipient's machine yet: in a word, and in a sentence. Pure but for reading the state."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from mesh_protocol.ids import DeviceId
from meshd.link.table import LinkState
from meshd.mesh import Mesh
from meshd.presence import PresenceBoard
from meshd.store.outbox_views import OutboxView

MAX_NAMED: Final = 5
"""Members that are named where many might be."""
REFUSED: Final[Mapping[str, str]] = {
    "rate_limited": "the broker takes no more so fast; it goes on by itself",
    "mailbox_full": "their mailbox at the broker is full: it waits until they fetch their mail",
    "storage_full": "the broker's disk is full",
    "busy": "the broker is busy",
}
"""What a broker says when it does not take a message now."""
PEOPLES: Final = frozenset({"away", "unconfirmed", "mailbox_full", "no_prekey"})
"""Reasons that lie with the recipient: nothing is wrong here."""


class Why(NamedTuple):
    """`code` is stable, `text` is for people."""

    code: str
    text: str


def why_waiting(mesh: Mesh | None, board: PresenceBoard, view: OutboxView, refusals: Mapping[DeviceId, str]) -> Why:
    """The reason for one message and one device. `refusals`: what the broker said last of each device, if it refused."""
    if view.ended:
        return Why(view.ended, view.reason or view.ended)
    if mesh is None:
        return Why("no_mesh", "this machine is not in that mesh any more")
    if view.accepted_ms:
        return _why_away(mesh, board, view)
    return why_here(mesh) or _why_there(mesh, view, refusals)


def _why_away(mesh: Mesh, board: PresenceBoard, view: OutboxView) -> Why:
    if board.is_online(mesh.id, view.device):
        return Why("unconfirmed", "the broker has it; their machine is online and has not confirmed it yet")
    heard = board.of(mesh.id, view.device)
    last = ago(board.node.now() - heard.at_ms) if heard is not None else "not since this daemon started"
    return Why("away", f"the broker has it; their machine has not fetched it (last heard: {last})")


def why_here(mesh: Mesh) -> Why | None:
    """What holds up all of a mesh."""
    if mesh.fork is not None:
        return Why("alarm", "the mesh is frozen between two histories of its membership: see mesh resolve")
    if mesh.alarm:
        return Why("alarm", "sending is stopped, because the broker showed another history: see mesh doctor")
    if not mesh.active:
        return Why("not_admitted", "this machine is not let in yet")
    if mesh.link is LinkState.REFUSED:
        return Why("refused", f"the broker does not serve this mesh: {mesh.link_why or 'see mesh doctor'}")
    if mesh.link is not LinkState.ONLINE:
        if not mesh.link_why:
            return Why("offline", "the broker has not answered yet: this machine is connecting to it")
        return Why("offline", f"the broker cannot be reached: {mesh.link_why}")
    return None


def _why_there(mesh: Mesh, view: OutboxView, refusals: Mapping[DeviceId, str]) -> Why:
    """What holds up one device."""
    code = refusals.get(view.device, "")
    if code:
        return Why(code, REFUSED.get(code, f"the broker does not take it now ({code})"))
    if not view.sealed and view.device not in mesh.peer_prekeys:
        return Why("no_prekey", "their machine has not published a key to seal it to yet")
    return Why("sending", "it is on its way to the broker")


def held_up(meshes: Iterable[Mesh]) -> list[str]:
    """The members whose messages lie here unread by anybody, because they name a membership that the broker does not show."""
    names = {
        mesh.name_of(mesh.state.devices[device].member_id)
        for mesh in meshes
        if mesh.chain is not None
        for device in mesh.doubts.authors
        if device in mesh.state.devices
    }
    return sorted(names)[:MAX_NAMED]


def ago(ms: int) -> str:
    """A time gone by, in words."""
    if ms < 120_000:
        return "just now"
    for size, unit in ((86_400_000, "days"), (3_600_000, "hours"), (60_000, "minutes")):
        if ms >= 2 * size:
            return f"{ms // size} {unit} ago"
    return "just now"
