"""A chain's state while records are added to it: what may be changed, and whether a record's signer may change it.

The rules by type are in `chain_rules` and `chain_removals`. A rule checks everything before it changes anything.
"""

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from mesh_protocol.chain import Record
from mesh_protocol.chain_state import ChainError, ChainState, Device, Member
from mesh_protocol.ids import DeviceId, MemberId
from mesh_protocol.rights import ALL, ROLE_PERMISSIONS, rank

MAX_DEVICES: Final = 10_000
"""Device keys a mesh has ever listed."""
MAX_MEMBER_DEVICES: Final = 10
"""Active devices of a member."""
MAX_SIGNERS: Final = 64
MAX_RUN: Final = 32
"""Records of one append before its epoch record: a page of any reader holds a whole append."""

# A record of these types says nothing by itself: the epoch that ends its append belongs to it.
AWAIT_EPOCH: Final = frozenset({"genesis", "add_device", "revoke_device", "remove_member"})


@dataclass(frozen=True, slots=True)
class Actor:
    """Who signs a record as a signer of the mesh: the rank of his role, and what he may do."""

    rank: int
    permissions: frozenset[str]


RECOVERY: Final = Actor(rank("owner"), ALL)
"""The recovery key, which may sign anything."""


class Draft:
    """A state being extended: private copies of its maps, frozen again by `state`."""

    def __init__(self, start: ChainState) -> None:
        self.genesis = start.genesis
        self.mesh_id = start.mesh_id
        self.seq = start.seq
        self.head = start.head
        self.members = dict(start.members)
        self.former = dict(start.former)
        self.devices = dict(start.devices)
        self.signers = set(start.signers)
        self.invites = dict(start.invites)
        self.kcs = dict(start.kcs)
        self.epoch = start.epoch
        self.broker_key = start.broker_key
        self.broker_urls = start.broker_urls
        self.snapshot = start.snapshot
        self.invite_keys = {invite.pub for invite in start.invites.values()}
        self.awaits_epoch_of: DeviceId | None = None
        """Who signed the records of an append that its epoch record has not ended yet."""
        self.run = 0
        """How many records that append has so far."""
        self._start = start

    def state(self) -> ChainState:
        """The frozen result. Raises ChainError when an append lacks its epoch record."""
        if self.awaits_epoch_of is not None:
            raise ChainError("epoch_missing", self.seq)
        return replace(
            self._start,
            seq=self.seq,
            head=self.head,
            members=MappingProxyType(self.members),
            former=MappingProxyType(self.former),
            devices=MappingProxyType(self.devices),
            signers=frozenset(self.signers),
            epoch=self.epoch,
            kcs=MappingProxyType(self.kcs),
            invites=MappingProxyType(self.invites),
            broker_key=self.broker_key,
            broker_urls=self.broker_urls,
            snapshot=self.snapshot,
        )

    # Who may.

    def signer(self, record: Record, permission: str | None = None) -> Actor:
        """The listed, active signer of `record`, or the recovery key. Raises ChainError if it is neither, or may not."""
        if record.signer == self.genesis.recovery_pub:
            return RECOVERY
        member = self.owner_of(record.signer)
        if member is None or record.signer not in self.signers:
            raise ChainError("wrong_signer", record.seq)
        if permission is not None and permission not in member.permissions:
            raise ChainError("not_permitted", record.seq)
        return Actor(member.rank, member.permissions)

    def owner_of(self, device: DeviceId) -> Member | None:
        """The member whose active device this is."""
        found = self.devices.get(device)
        return self.members[found.member_id] if found is not None and found.active else None

    def is_own(self, record: Record, member: Member) -> bool:
        """Whether an active device of this very member signed."""
        return self.owner_of(record.signer) is member

    def require_grant(self, actor: Actor, role: str, record: Record) -> None:
        """Raises ChainError unless `actor` may give `role`: not above his own, nor with what he may not do himself."""
        if rank(role) > actor.rank:
            raise ChainError("role_too_high", record.seq)
        if not ROLE_PERMISSIONS[role] <= actor.permissions:
            raise ChainError("not_permitted", record.seq)

    def manager_of(self, record: Record, *members: Member) -> Actor:
        """A signer who may change members' rights, and acts on none of a higher role."""
        actor = self.signer(record, "manage_permissions")
        if any(member.rank > actor.rank for member in members):
            raise ChainError("role_too_high", record.seq)
        return actor

    # What is there.

    def member(self, member_id: MemberId, record: Record) -> Member:
        """A member of now. Raises ChainError."""
        found = self.members.get(member_id)
        if found is None:
            raise ChainError("unknown_member", record.seq)
        return found

    def active_device(self, device: DeviceId, record: Record) -> Device:
        """A device that is active. Raises ChainError."""
        found = self.devices.get(device)
        if found is None or not found.active:
            raise ChainError("unknown_device", record.seq)
        return found

    def require_new_device(self, record: Record, device: DeviceId) -> None:
        """Raises ChainError unless this key may be listed: it is new, or went with a member who is not banned."""
        known = self.devices.get(device)
        if device in (self.genesis.recovery_pub, self.broker_key) or (known and (known.active or known.revoked)):
            raise ChainError("duplicate_device", record.seq)
        if known is not None and self.former[known.member_id].banned:
            raise ChainError("banned", record.seq)
        if known is None and len(self.devices) >= MAX_DEVICES:
            raise ChainError("too_many_devices", record.seq)

    # What changes.

    def list_device(self, record: Record, device: DeviceId, member_id: MemberId) -> None:
        """Add an active device; its member's list is the caller's."""
        self.devices[device] = Device(device, member_id, True, record.seq, record.signer)

    def end_devices(self, record: Record, devices: frozenset[DeviceId], *, revoked: bool) -> None:
        """Take active devices out, and close every open invite: who held one may be who goes."""
        for device in devices:
            self.devices[device] = replace(self.devices[device], active=False, revoked=revoked, ended_seq=record.seq)
        self.signers -= devices
        for invite_id, invite in self.invites.items():
            self.invites[invite_id] = replace(invite, open=False)

    def require_owner_left(self, record: Record, without: frozenset[DeviceId], lowered: Member | None = None) -> None:
        """Raises ChainError when no active signer of an owner is left once `without` are no signers, `lowered` no owner.

        The recovery key may do that: it can admit and list anew. A mesh that has none already cannot lose one.
        """
        if record.signer == self.genesis.recovery_pub:
            return
        owners = {device for device in self.signers if self._is_owners(device)}
        left = owners - without
        if lowered is not None:
            left = left.difference(lowered.devices)
        if owners and not left:
            raise ChainError("last_signer", record.seq)

    def _is_owners(self, device: DeviceId) -> bool:
        member = self.owner_of(device)
        return member is not None and member.role == "owner"

    def await_epoch(self, record: Record) -> None:
        """What follows in this append is signed by the same key, and ends with an epoch."""
        self.awaits_epoch_of = record.signer
        self.run += 1
