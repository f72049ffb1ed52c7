"""Who asks to be let in and waits for a person's yes, as the machines know it that may give it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mesh_protocol.ids import DeviceId, InviteId
from mesh_protocol.invite import JoinRequest
from mesh_protocol.names import compare_form
from mesh_protocol.wire.errors import MeshError

if TYPE_CHECKING:
    from meshd.mesh import Mesh

MAX_KNOCKS: Final = 128
"""Requests that are kept in memory: twice what a broker keeps of a mesh."""
MIN_PREFIX: Final = 8


@dataclass(frozen=True, slots=True)
class Knock:
    """A verified join request. `number` is its place in the broker's invite mailbox; `name` what the joiner calls itself.

    `why` it waits: approve (the invite says so) or expired (it was first seen too late). `at_ms`: first seen, our clock.
    """

    number: int
    request: JoinRequest
    name: str
    why: str
    at_ms: int

    @property
    def device(self) -> DeviceId:
        return self.request.device

    @property
    def invite_id(self) -> InviteId:
        return self.request.invite_id


def waiting_joiners(mesh: "Mesh") -> list[Knock]:
    """Those who can still be let in, longest waiting first: their invite is open, and they are not in already."""
    state = mesh.state
    return [
        knock
        for _, knock in sorted(mesh.knocks.items())
        if knock.invite_id in state.invites
        and state.invites[knock.invite_id].open
        and not state.is_active(knock.device)
    ]


def find_knock(mesh: "Mesh", wanted: str) -> Knock:
    """The one whose name or whose device's id's beginning is `wanted`. Raises `not_found`, or `ambiguous_id` for several."""
    waiting = waiting_joiners(mesh)
    found = [knock for knock in waiting if compare_form(knock.name) == compare_form(wanted)]
    if not found and len(wanted) >= MIN_PREFIX:
        found = [knock for knock in waiting if knock.device.hex().startswith(wanted.lower())]
    if not found:
        raise MeshError("not_found", what="machine that waits to be let in", id=wanted)
    if len(found) > 1:
        candidates = [f"{knock.name} {knock.device.hex()[:8]}" for knock in found]
        raise MeshError("ambiguous_id", id=wanted, candidates=[*candidates[:10]])
    return found[0]
