"""The rules of the records that let in: epoch, add_member, add_device, invite_open, invite_close; and of names, broker,
snapshots and resolves. SPEC.md section 5 has them in words.
"""

from dataclasses import replace

from mesh_protocol.chain import (
    AddDevice,
    AddMember,
    BrokerKey,
    Epoch,
    InviteClose,
    InviteOpen,
    Record,
    Resolve,
    SetName,
    Snapshot,
    invite_id_of,
)
from mesh_protocol.chain_draft import MAX_MEMBER_DEVICES, Draft
from mesh_protocol.chain_state import ChainError, Invite, Member
from mesh_protocol.ids import InviteId
from mesh_protocol.rights import rank


def begin_epoch(draft: Draft, record: Record, body: Epoch) -> None:
    if draft.awaits_epoch_of is None:
        draft.signer(record)
    if body.epoch != draft.epoch + 1:
        raise ChainError("epoch_number", record.seq)
    draft.epoch = body.epoch
    draft.kcs[body.epoch] = body.kc
    draft.awaits_epoch_of = None
    draft.run = 0


def add_member(draft: Draft, record: Record, body: AddMember) -> None:
    draft.require_grant(draft.signer(record, "invite"), body.role, record)
    if body.member_id in draft.members or body.member_id in draft.former:
        raise ChainError("duplicate_member", record.seq)
    draft.require_new_device(record, body.device)
    if body.invite_id:
        _use_invite(draft, record, InviteId(body.invite_id), body.role)
    draft.members[body.member_id] = Member(
        body.member_id, body.role, body.sealed_name, (body.device,), record.seq, invite_id=body.invite_id
    )
    draft.list_device(record, body.device, body.member_id)


def _use_invite(draft: Draft, record: Record, invite_id: InviteId, role: str) -> None:
    invite = _invite(draft, record, invite_id)
    if rank(role) > rank(invite.role):
        raise ChainError("role_too_high", record.seq)
    if not invite.open:
        raise ChainError("invite_used_up", record.seq)
    uses = invite.uses + 1
    draft.invites[invite_id] = replace(invite, uses=uses, open=uses < invite.max_uses)


def _invite(draft: Draft, record: Record, invite_id: InviteId) -> Invite:
    invite = draft.invites.get(invite_id)
    if invite is None:
        raise ChainError("unknown_invite", record.seq)
    return invite


def add_device(draft: Draft, record: Record, body: AddDevice) -> None:
    member = draft.member(body.member_id, record)
    active = sum(draft.devices[device].active for device in member.devices)
    if not draft.is_own(record, member):
        if active:
            raise ChainError("wrong_signer", record.seq)
        draft.manager_of(record, member)
    draft.require_new_device(record, body.device)
    if active >= MAX_MEMBER_DEVICES:
        raise ChainError("too_many_devices", record.seq)
    draft.members[body.member_id] = replace(member, devices=(*member.devices, body.device))
    draft.list_device(record, body.device, body.member_id)
    draft.await_epoch(record)


def open_invite(draft: Draft, record: Record, body: InviteOpen) -> None:
    draft.require_grant(draft.signer(record, "invite"), body.role, record)
    if body.invite_pub in draft.invite_keys:
        raise ChainError("duplicate_invite", record.seq)
    invite_id = invite_id_of(record)
    draft.invite_keys.add(body.invite_pub)
    draft.invites[invite_id] = Invite(
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


def close_invite(draft: Draft, record: Record, body: InviteClose) -> None:
    actor = draft.signer(record, "invite")
    invite = _invite(draft, record, body.invite_id)
    if rank(invite.role) > actor.rank:
        raise ChainError("role_too_high", record.seq)
    if not invite.open:
        raise ChainError("invite_used_up", record.seq)
    draft.invites[body.invite_id] = replace(invite, open=False)


def set_name(draft: Draft, record: Record, body: SetName) -> None:
    member = draft.member(body.member_id, record)
    if not draft.is_own(record, member):
        draft.manager_of(record, member)
    draft.members[body.member_id] = replace(member, sealed_name=body.sealed_name)


def move_broker(draft: Draft, record: Record, body: BrokerKey) -> None:
    draft.signer(record, "manage_permissions")
    if body.key in draft.devices or body.key == draft.genesis.recovery_pub:
        raise ChainError("duplicate_device", record.seq)
    draft.broker_key = body.key
    draft.broker_urls = body.urls


def take_snapshot(draft: Draft, record: Record, body: Snapshot) -> None:
    draft.signer(record)
    if draft.snapshot is not None and body.log_seq <= draft.snapshot.log_seq:
        raise ChainError("bad_snapshot", record.seq)
    draft.snapshot = body


def resolve(draft: Draft, record: Record, body: Resolve) -> None:
    """Alone a resolve changes nothing: `forks` weighs it against the other branches."""
    draft.signer(record)
    if body.head != record.prev_hash:
        raise ChainError("bad_resolve", record.seq)
