"""The members of a mesh by the names that people call them, those who were removed included."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mesh_protocol.chain_state import Device, Member
from mesh_protocol.ids import DeviceId, InviteId
from mesh_protocol.names import compare_form
from mesh_protocol.wire.errors import MeshError
from meshd.mesh import Mesh
from meshd.node import Node

MAX_CANDIDATES = 10
MIN_PREFIX = 8
"""Hex digits that begin an id."""
INVITE_DIGITS = 12
MAX_NAMED = 100
"""Devices or invites that an answer names of one kind."""


def active_mesh(node: Node, wanted: str) -> Mesh:
    """The mesh of that local name (empty: the default one), which this machine is a member of. Raises `MeshError`."""
    mesh = node.find_mesh(wanted)
    if mesh.leaving:
        raise MeshError("not_allowed", why=f"this machine is leaving {mesh.slug}: its keys are gone already")
    if not mesh.active:
        raise MeshError("not_allowed", why=f"this machine is not in {mesh.slug} yet: it waits to be let in")
    return mesh


class Person(NamedTuple):
    """A member, or a former one, under a name that nobody else is shown under."""

    name: str
    member: Member

    @property
    def state(self) -> str:
        """member, removed or banned."""
        if not self.member.removed_seq:
            return "member"
        return "banned" if self.member.banned else "removed"


def list_people(mesh: Mesh) -> list[Person]:
    """Members of now, then former ones, each in the order in which they came."""
    members = [*_in_order(mesh.state.members.values()), *_in_order(mesh.state.former.values())]
    return [Person(mesh.name_of(member.member_id), member) for member in members]


def _in_order(members: Iterable[Member]) -> list[Member]:
    return sorted(members, key=lambda member: member.added_seq)


def find_person(mesh: Mesh, wanted: str, *states: str) -> Person:
    """The one whom `wanted` names, or whose id it begins, if he is in one of `states`. Raises `unknown_recipient`."""
    people = [person for person in list_people(mesh) if person.state in states]
    named = [person for person in people if compare_form(person.name) == compare_form(wanted)]
    if not named and len(wanted) >= MIN_PREFIX:
        named = [person for person in people if person.member.member_id.hex().startswith(wanted.lower())]
    if len(named) != 1:
        candidates = [person.name for person in people][:MAX_CANDIDATES]
        raise MeshError("unknown_recipient", target=wanted, candidates=[*candidates])
    return named[0]


def find_peer(node: Node, slug: str, wanted: str) -> tuple[Mesh, Person]:
    """A member of now who is somebody else, and his mesh. Raises `MeshError`."""
    mesh = active_mesh(node, slug)
    person = find_person(mesh, wanted, "member")
    if person.member.member_id == mesh.row.member:
        names = [name for member, name in mesh.names.items() if member != mesh.row.member]
        raise MeshError("unknown_recipient", target=wanted, candidates=[*names[:MAX_CANDIDATES]])
    return mesh, person


def find_device(mesh: Mesh, prefix: str) -> DeviceId:
    """The active device whose id begins so. Raises `not_found` unless it is exactly one."""
    found = [
        device for device in mesh.state.devices if mesh.state.is_active(device) and device.hex().startswith(prefix)
    ]
    if len(found) != 1:
        raise MeshError("not_found", what="one active device", id=prefix)
    return found[0]


def device_state(device: Device) -> str:
    """active, removed or revoked."""
    if device.active:
        return "active"
    return "revoked" if device.revoked else "removed"


def name_devices(mesh: Mesh, devices: Sequence[DeviceId]) -> list[str]:
    """What they are called; of very many the first ones."""
    return [describe_device(mesh, device) for device in devices[:MAX_NAMED]]


def name_invites(invites: Sequence[InviteId]) -> list[str]:
    """The beginnings of their ids, as `mesh invites` shows them; of very many the first ones."""
    return [invite.hex()[:INVITE_DIGITS] for invite in invites[:MAX_NAMED]]


def describe_device(mesh: Mesh, device: DeviceId) -> str:
    """Its member's name and the beginning of its id; the mesh's recovery key, which signs in a device's place, as such."""
    if device == mesh.state.genesis.recovery_pub:
        return "the recovery key"
    return f"{mesh.name_of(mesh.state.devices[device].member_id)} {device.hex()[:8]}"


def count_others(mesh: Mesh) -> int:
    """Active devices beside this machine's own."""
    return sum(device.active for device in mesh.state.devices.values()) - 1
