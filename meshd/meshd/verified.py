"""Peers whose keys a person has compared, and what became of those keys since (crypto design 2.13).

Verified is pinned to the set of a member's active devices. Any change of that set makes it `changed`, so does another
member under the name of a verified one who is gone, and so does, for a peer whom nobody has compared, a device that another
member or the recovery key has signed in for him (crypto design 2.4): until somebody compares again, nothing is sent to him by name.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from mesh_protocol.chain_state import ChainState
from mesh_protocol.ids import DeviceId, MemberId, MeshId
from mesh_protocol.names import compare_form
from mesh_protocol.wire.errors import MeshError
from meshd.mesh import Mesh
from meshd.targets import Recipient

VERIFIED: Final = "verified"
CHANGED: Final = "changed"
UNVERIFIED: Final = ""


class Pin(NamedTuple):
    """What was compared: the member's name and active devices, in rising order, and when (Unix epoch milliseconds)."""

    mesh: MeshId
    member: MemberId
    name: str
    devices: tuple[DeviceId, ...]
    at_ms: int


class KeyChange(NamedTuple):
    """One device that came, or that went, and the record of the chain whose signer answers for it."""

    device: DeviceId
    came: bool
    seq: int


class Pins:
    """All pins of this machine; on the disk they are rows of `verified`."""

    def __init__(self) -> None:
        self._pins: dict[tuple[MeshId, MemberId], Pin] = {}

    def load(self, pins: Iterable[Pin]) -> None:
        for pin in pins:
            self._pins[pin.mesh, pin.member] = pin

    def forget(self, mesh: MeshId) -> None:
        """The mesh is left."""
        self._pins = {key: pin for key, pin in self._pins.items() if key[0] != mesh}

    def add(self, pin: Pin, replaced: Iterable[Pin]) -> None:
        """Take over what was stored; `replaced` are pins that it stands for now."""
        for each in replaced:
            self._pins.pop((each.mesh, each.member), None)
        self._pins[pin.mesh, pin.member] = pin

    def pin_of(self, mesh: Mesh, member: MemberId) -> Pin | None:
        """The pin that a member is held against: his own, or that of one who is gone and had his name."""
        own = self._pins.get((mesh.id, member))
        if own is not None:
            return own
        return next(iter(self.gone_under(mesh, mesh.name_of(member))), None)

    def gone_under(self, mesh: Mesh, name: str) -> list[Pin]:
        """Pins of members who are gone and were called `name`."""
        if not self._pins:
            return []
        wanted = compare_form(name)
        return [
            pin
            for pin in self._pins.values()
            if pin.mesh == mesh.id and pin.member not in mesh.state.members and compare_form(pin.name) == wanted
        ]

    def standing(self, mesh: Mesh | None, member: MemberId) -> str:
        """verified, changed, or empty for one whose keys nobody has compared here."""
        if mesh is None or mesh.chain is None:
            return UNVERIFIED
        pin = self.pin_of(mesh, member)
        if pin is None:
            return CHANGED if vouched_by_others(mesh, member) else UNVERIFIED
        same = pin.member == member and pin.devices == tuple(sorted(mesh.state.active_devices(member)))
        return VERIFIED if same else CHANGED

    def changes(self, mesh: Mesh, member: MemberId) -> list[KeyChange]:
        """What is other than it was compared, in the order of the chain."""
        pin = self.pin_of(mesh, member)
        devices = mesh.state.devices
        if pin is None:
            return [KeyChange(each, True, devices[each].added_seq) for each in vouched_by_others(mesh, member)]
        active = mesh.state.active_devices(member)
        # Of another member under that name nothing was compared, also where he brings the same key.
        kept = pin.devices if pin.member == member else ()
        came = [KeyChange(each, True, devices[each].added_seq) for each in active if each not in kept]
        gone = [
            KeyChange(each, False, seq)
            for each in pin.devices
            if (each not in active or each not in kept) and (seq := _ended(mesh.state, each, pin.member))
        ]
        return sorted([*came, *gone], key=lambda change: change.seq)

    def require_unchanged(self, mesh: Mesh, recipients: Sequence[Recipient], wanted: Sequence[str], many: bool) -> None:
        """Raises `peer_changed` for a direct message to a member whose keys changed.

        With `many` the message goes to a group, and only those that are in `wanted` (in normal form) are named by it.
        """
        for recipient in recipients:
            named = not many or compare_form(recipient.to) in wanted
            if named and self.standing(mesh, recipient.member) == CHANGED:
                raise MeshError("peer_changed", peer=mesh.name_of(recipient.member), mesh=mesh.slug)


def _ended(state: ChainState, device: DeviceId, member: MemberId) -> int:
    """The record by which a member's device went; 0 where the chain knows of none, as after a resolve that cut him off."""
    listed, former = state.devices.get(device), state.former.get(member)
    if listed is not None and listed.member_id == member:
        return listed.ended_seq
    return former.removed_seq if former is not None else 0


def vouched_by_others(mesh: Mesh, member_id: MemberId) -> list[DeviceId]:
    """A member's active devices that do not go back to the one he came with, as after a restore that a signer or the
    recovery key signed: who writes to him is told first. Nothing for this machine's own person, who did it himself."""
    member = mesh.state.members.get(member_id)
    if member is None or member_id == mesh.row.member:
        return []
    devices = mesh.state.devices
    found: list[DeviceId] = []
    for each in mesh.state.active_devices(member_id):
        entry = devices[each]
        while entry.added_seq != member.added_seq:
            by = devices.get(entry.added_by)
            if by is None or by.member_id != member_id:
                found.append(each)
                break
            entry = by
    return found
