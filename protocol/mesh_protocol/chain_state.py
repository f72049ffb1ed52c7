"""What a verified chain says: members, devices, signers, invites, epochs, broker; and why a chain is refused.

`members.extend` makes these states; everything here is read only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from mesh_protocol.chain_bodies import Genesis
from mesh_protocol.chain_changes import Snapshot
from mesh_protocol.ids import DeviceId, InviteId, MemberId, MeshId
from mesh_protocol.pae import CryptoError
from mesh_protocol.rights import effective, rank

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "unknown_type": "a record of a type this build does not know: update meshd",
        "bad_body": "a record whose body does not follow its type",
        "bad_seq": "a record out of its place",
        "bad_link": "a record that does not follow the one before it",
        "bad_signature": "a record that its signer did not sign for this mesh",
        "epoch_missing": "an append that lacks the epoch record it must end with",
        "epoch_number": "an epoch whose number does not follow the last",
        "second_genesis": "a genesis record inside a chain",
        "no_genesis": "a chain that does not begin with a genesis record",
        "wrong_signer": "a record signed by a key that may not sign it",
        "not_permitted": "a record that uses or grants a permission its signer does not have",
        "role_too_high": "a record that acts on or grants a role above its signer's, or above its invite's",
        "own_removal": "a removal signed by a device that it removes: another device or a signer must sign it",
        "last_signer": "a change that leaves the mesh without an owner's signer: add another signer first",
        "duplicate_member": "a member that the chain already lists",
        "duplicate_device": "a device key that the chain already uses",
        "duplicate_invite": "an invite key that the chain already uses",
        "duplicate_signer": "a device that is a signer already",
        "banned": "a device of a banned member: unban him first",
        "not_banned": "a member who is not removed and banned",
        "unknown_member": "a member that the chain does not list",
        "unknown_device": "a device that the chain does not list as active, or that the record does not take along",
        "unknown_signer": "a device that is not a signer",
        "unknown_invite": "an invite that the chain does not list",
        "invite_used_up": "an invite that is closed, or used as often as it allows",
        "too_many_devices": "more devices than a member or a mesh may have",
        "too_many_signers": "more signers than a mesh may have",
        "bad_policy": "a policy for an owner, who may do everything",
        "bad_snapshot": "a snapshot that is not newer than the last",
        "bad_resolve": "a resolve that names another head than the one it stands on",
    }
)
"""Every reason for which a chain is refused, and what it means."""


class ChainError(CryptoError):
    """A chain that breaks a rule. `reason` is a key of REASONS, `seq` the number the offending record claims."""

    def __init__(self, reason: str, seq: int) -> None:
        super().__init__(f"chain record {seq}: {REASONS[reason]}")
        self.reason = reason
        self.seq = seq


@dataclass(frozen=True, slots=True)
class Member:
    """A person or bot: `devices` in the order they were added, `added_seq` the record that admitted him.

    `removed_seq` is the record that removed him, 0 while he is a member. `policy` is what a policy record lets him do.
    """

    member_id: MemberId
    role: str
    sealed_name: bytes
    devices: tuple[DeviceId, ...]
    added_seq: int
    removed_seq: int = 0
    banned: bool = False
    policy: frozenset[str] | None = None
    invite_id: bytes = b""
    """The invite he came in by; empty: none."""

    @property
    def permissions(self) -> frozenset[str]:
        """What he may do; nothing once he is removed."""
        return frozenset() if self.removed_seq else effective(self.role, self.policy)

    @property
    def rank(self) -> int:
        """The place of his role: 0 member, 1 admin, 2 owner."""
        return rank(self.role)


@dataclass(frozen=True, slots=True)
class Device:
    """One install of a member; `added_by` signed the record `added_seq`.

    Not active, it went with its member or, `revoked`, by itself and for good; `ended_seq` is the record of that, else 0.
    """

    device: DeviceId
    member_id: MemberId
    active: bool
    added_seq: int
    added_by: DeviceId
    revoked: bool = False
    ended_seq: int = 0


@dataclass(frozen=True, slots=True)
class Invite:
    """An invite: `pub` its Ed25519 public key, `open` while uses are left and nobody closed it.

    Expiry is the admitting signer's to judge.
    """

    invite_id: InviteId
    opener: DeviceId
    pub: bytes
    role: str
    max_uses: int
    uses: int
    expires_ms: int
    approve: bool
    open: bool


@dataclass(frozen=True, slots=True)
class ChainState:
    """What a verified chain says at record `seq`, whose hash is `head`. `kcs` holds the commitment of each epoch.

    `members` are those of now, `former` those that were removed.
    """

    mesh_id: MeshId
    seq: int
    head: bytes
    genesis: Genesis
    members: Mapping[MemberId, Member]
    former: Mapping[MemberId, Member]
    devices: Mapping[DeviceId, Device]
    signers: frozenset[DeviceId]
    epoch: int
    kcs: Mapping[int, bytes]
    invites: Mapping[InviteId, Invite]
    broker_key: bytes
    broker_urls: tuple[str, ...]
    snapshot: Snapshot | None

    def is_active(self, device: DeviceId) -> bool:
        """Whether `device` is listed and neither revoked nor removed."""
        found = self.devices.get(device)
        return found is not None and found.active

    def member_of(self, device: DeviceId) -> Member | None:
        """The member whose device this is or was, or None."""
        found = self.devices.get(device)
        if found is None:
            return None
        return self.members.get(found.member_id) or self.former[found.member_id]

    def active_devices(self, member_id: MemberId) -> tuple[DeviceId, ...]:
        """The member's active devices, oldest first; none for a member not listed."""
        member = self.members.get(member_id)
        return () if member is None else tuple(each for each in member.devices if self.devices[each].active)

    def may(self, device: DeviceId, permission: str) -> bool:
        """Whether `device` is active and its member has this permission (a word of `rights.PERMISSIONS`)."""
        found = self.devices.get(device)
        return found is not None and found.active and permission in self.members[found.member_id].permissions

    def added_by(self, device: DeviceId) -> frozenset[DeviceId]:
        """The active devices that a revocation of `device` takes along if none is kept."""
        return goes_along(self.members, self.devices, device, frozenset()).added


class Along(NamedTuple):
    """What a revocation takes along: the active devices that may be kept by name, and all that go, the first one too."""

    added: frozenset[DeviceId]
    going: frozenset[DeviceId]


def goes_along(
    members: Mapping[MemberId, Member],
    devices: Mapping[DeviceId, Device],
    device: DeviceId,
    kept: frozenset[DeviceId],
) -> Along:
    """The active devices that came by `add_device` from `device` or from one that goes with it; `kept` ones do not go."""
    added: set[DeviceId] = set()
    going = {device}
    # Whoever is added stands later in the chain than who added him, so one pass in that order meets them all.
    for each in sorted(devices.values(), key=lambda entry: entry.added_seq):
        # Who came with its member is not taken along: to admit a member is to vouch for a person, removed by name.
        if each.active and each.added_by in going and members[each.member_id].added_seq != each.added_seq:
            added.add(each.device)
            if each.device not in kept:
                going.add(each.device)
    return Along(frozenset(added), frozenset(going))
