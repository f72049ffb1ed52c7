"""Who belongs to a mesh: the fold over a verified chain (crypto design 2.4, 2.12).

A pure function of the records: no clock, no randomness, no I/O, so every daemon and the broker reach the same state or
the same refusal. A prefix that was accepted is never judged again; a bad record leaves the old state untouched.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from mesh_protocol.chain import (
    AddDevice,
    AddMember,
    Body,
    Epoch,
    Genesis,
    InviteOpen,
    Record,
    decode_body,
    invite_id_of,
    mesh_id_of,
    rank,
)
from mesh_protocol.ids import DeviceId, InviteId, MemberId, MeshId
from mesh_protocol.pae import BadEncoding, CryptoError

MAX_DEVICES = 10_000
MAX_MEMBER_DEVICES = 10
_OWNER = rank("owner")
# A record of these types says nothing by itself: the epoch that follows it is part of the same append.
_AWAIT_EPOCH = frozenset({"genesis", "add_device"})

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
        "role_too_high": "a record that grants a role above its signer's, or above its invite's",
        "duplicate_member": "a member that the chain already lists",
        "duplicate_device": "a device key that the chain already uses",
        "duplicate_invite": "an invite key that the chain already uses",
        "unknown_member": "a member that the chain does not list",
        "unknown_invite": "an invite that the chain does not list",
        "invite_used_up": "an invite used more often than it allows",
        "too_many_devices": "more devices than a member or a mesh may have",
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
    """A person or bot: `devices` in the order they were added, `added_seq` the record that admitted him."""

    member_id: MemberId
    role: str
    sealed_name: bytes
    devices: tuple[DeviceId, ...]
    added_seq: int


@dataclass(frozen=True, slots=True)
class Device:
    """One install of a member."""

    device: DeviceId
    member_id: MemberId
    active: bool
    added_seq: int


@dataclass(frozen=True, slots=True)
class Invite:
    """An invite: `pub` its Ed25519 public key, `open` while uses are left; expiry is the admitting signer's to judge."""

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
    """What a verified chain says at record `seq`, whose hash is `head`. `kcs` holds the commitment of each epoch."""

    mesh_id: MeshId
    seq: int
    head: bytes
    genesis: Genesis
    members: Mapping[MemberId, Member]
    devices: Mapping[DeviceId, Device]
    signers: frozenset[DeviceId]
    epoch: int
    kcs: Mapping[int, bytes]
    invites: Mapping[InviteId, Invite]
    broker_key: bytes
    broker_urls: tuple[str, ...]

    def is_active(self, device: DeviceId) -> bool:
        """Whether `device` is listed and not revoked."""
        found = self.devices.get(device)
        return found is not None and found.active

    def member_of(self, device: DeviceId) -> Member | None:
        """The member whose device this is or was, or None."""
        found = self.devices.get(device)
        return None if found is None else self.members[found.member_id]

    def active_devices(self, member_id: MemberId) -> tuple[DeviceId, ...]:
        """The member's devices that are not revoked, oldest first; none for a member not listed."""
        member = self.members.get(member_id)
        return () if member is None else tuple(each for each in member.devices if self.devices[each].active)


def extend(state: ChainState | None, records: Sequence[Record]) -> ChainState:
    """The state after `records`, which follow `state` (None: they begin the chain).

    Raises ChainError at the first record that breaks a rule, and when the last append lacks its epoch record: see
    `settled` for cutting a page of records there.
    """
    if state is None:
        if not records:
            raise ChainError("no_genesis", 1)
        fold = _begin(records[0])
        records = records[1:]
    else:
        fold = _Fold(state)
    for record in records:
        fold.add(record)
    return fold.state()


def settled(records: Sequence[Record]) -> int:
    """How many of `records` make whole appends: a last one that still awaits its epoch record does not count."""
    return len(records) - 1 if records and records[-1].type in _AWAIT_EPOCH else len(records)


def _begin(record: Record) -> "_Fold":
    if record.seq != 1 or record.type != "genesis":
        raise ChainError("no_genesis", record.seq)
    mesh_id = mesh_id_of(record)
    genesis = _checked(record, mesh_id)
    if not isinstance(genesis, Genesis) or record.signer != genesis.device:
        raise ChainError("wrong_signer", record.seq)
    if len({genesis.device, genesis.recovery_pub, genesis.broker_key}) != 3:
        raise ChainError("duplicate_device", record.seq)
    device, member_id = genesis.device, genesis.member_id
    first = ChainState(
        mesh_id=mesh_id,
        seq=record.seq,
        head=record.hash,
        genesis=genesis,
        members={member_id: Member(member_id, "owner", genesis.sealed_member_name, (device,), record.seq)},
        devices={device: Device(device, member_id, True, record.seq)},
        signers=frozenset({device}),
        epoch=0,
        kcs={},
        invites={},
        broker_key=genesis.broker_key,
        broker_urls=genesis.broker_urls,
    )
    return _Fold(first, awaits_epoch_of=device)


def _checked(record: Record, mesh_id: MeshId) -> Body:
    """The body of a record whose signature holds; the right to sign it is judged by type."""
    try:
        body = decode_body(record)
        record.verify(mesh_id)
    except BadEncoding:
        raise ChainError("bad_body", record.seq) from None
    except CryptoError:
        raise ChainError("bad_signature", record.seq) from None
    return body


class _Fold:
    """A state being extended: private copies of its maps, frozen again by `state`."""

    def __init__(self, state: ChainState, awaits_epoch_of: DeviceId | None = None) -> None:
        self._start = state
        self._seq = state.seq
        self._head = state.head
        self._members = dict(state.members)
        self._devices = dict(state.devices)
        self._invites = dict(state.invites)
        self._invite_keys = {invite.pub for invite in state.invites.values()}
        self._kcs = dict(state.kcs)
        self._epoch = state.epoch
        self._awaits_epoch_of = awaits_epoch_of
        self._rules: dict[str, Callable[[Record, Body], None]] = {
            "genesis": self._second_genesis,
            "epoch": self._begin_epoch,
            "add_member": self._add_member,
            "add_device": self._add_device,
            "invite_open": self._open_invite,
        }

    def add(self, record: Record) -> None:
        """Raises ChainError when `record` may not be the next one."""
        if record.seq != self._seq + 1:
            raise ChainError("bad_seq", record.seq)
        if record.prev_hash != self._head:
            raise ChainError("bad_link", record.seq)
        rule = self._rules.get(record.type)
        if rule is None:
            raise ChainError("unknown_type", record.seq)
        if self._awaits_epoch_of is not None and (record.type != "epoch" or record.signer != self._awaits_epoch_of):
            raise ChainError("epoch_missing", record.seq)
        rule(record, _checked(record, self._start.mesh_id))
        self._seq = record.seq
        self._head = record.hash

    def state(self) -> ChainState:
        """The frozen result. Raises ChainError when an append lacks its epoch record."""
        if self._awaits_epoch_of is not None:
            raise ChainError("epoch_missing", self._seq)
        return replace(
            self._start,
            seq=self._seq,
            head=self._head,
            members=MappingProxyType(self._members),
            devices=MappingProxyType(self._devices),
            epoch=self._epoch,
            kcs=MappingProxyType(self._kcs),
            invites=MappingProxyType(self._invites),
        )

    def _signer_rank(self, record: Record) -> int:
        """The rank of a listed, active signer, or of the recovery key, which may sign anything."""
        if record.signer == self._start.genesis.recovery_pub:
            return _OWNER
        device = self._devices.get(record.signer)
        if device is None or not device.active or record.signer not in self._start.signers:
            raise ChainError("wrong_signer", record.seq)
        return rank(self._members[device.member_id].role)

    def _second_genesis(self, record: Record, _body: Body) -> None:
        raise ChainError("second_genesis", record.seq)

    def _begin_epoch(self, record: Record, body: Body) -> None:
        assert isinstance(body, Epoch)
        if self._awaits_epoch_of is None:
            self._signer_rank(record)
        if body.epoch != self._epoch + 1:
            raise ChainError("epoch_number", record.seq)
        self._epoch = body.epoch
        self._kcs[body.epoch] = body.kc
        self._awaits_epoch_of = None

    def _add_member(self, record: Record, body: Body) -> None:
        assert isinstance(body, AddMember)
        if rank(body.role) > self._signer_rank(record):
            raise ChainError("role_too_high", record.seq)
        if body.member_id in self._members:
            raise ChainError("duplicate_member", record.seq)
        self._require_new_device(record, body.device)
        if body.invite_id:
            self._use_invite(record, InviteId(body.invite_id), body.role)
        self._members[body.member_id] = Member(body.member_id, body.role, body.sealed_name, (body.device,), record.seq)
        self._devices[body.device] = Device(body.device, body.member_id, True, record.seq)

    def _use_invite(self, record: Record, invite_id: InviteId, role: str) -> None:
        invite = self._invites.get(invite_id)
        if invite is None:
            raise ChainError("unknown_invite", record.seq)
        if rank(role) > rank(invite.role):
            raise ChainError("role_too_high", record.seq)
        if not invite.open:
            raise ChainError("invite_used_up", record.seq)
        uses = invite.uses + 1
        self._invites[invite_id] = replace(invite, uses=uses, open=uses < invite.max_uses)

    def _add_device(self, record: Record, body: Body) -> None:
        assert isinstance(body, AddDevice)
        member = self._members.get(body.member_id)
        if member is None:
            raise ChainError("unknown_member", record.seq)
        # Another member's signer may do this only when none of the member's devices is active; without revocation in
        # this build one always is, so only the member's own devices may.
        own = self._devices.get(record.signer)
        if own is None or not own.active or own.member_id != body.member_id:
            raise ChainError("wrong_signer", record.seq)
        self._require_new_device(record, body.device)
        if len(member.devices) >= MAX_MEMBER_DEVICES:
            raise ChainError("too_many_devices", record.seq)
        self._members[body.member_id] = replace(member, devices=(*member.devices, body.device))
        self._devices[body.device] = Device(body.device, body.member_id, True, record.seq)
        self._awaits_epoch_of = record.signer

    def _require_new_device(self, record: Record, device: DeviceId) -> None:
        genesis = self._start.genesis
        if device in self._devices or device in (genesis.recovery_pub, self._start.broker_key):
            raise ChainError("duplicate_device", record.seq)
        if len(self._devices) >= MAX_DEVICES:
            raise ChainError("too_many_devices", record.seq)

    def _open_invite(self, record: Record, body: Body) -> None:
        assert isinstance(body, InviteOpen)
        if rank(body.role) > self._signer_rank(record):
            raise ChainError("role_too_high", record.seq)
        if body.invite_pub in self._invite_keys:
            raise ChainError("duplicate_invite", record.seq)
        invite_id = invite_id_of(record)
        self._invite_keys.add(body.invite_pub)
        self._invites[invite_id] = Invite(
            invite_id=invite_id,
            opener=record.signer,
            pub=body.invite_pub,
            role=body.role,
            max_uses=body.max_uses,
            uses=0,
            expires_ms=body.expires_ms,
            approve=body.approve,
            open=True,
        )
