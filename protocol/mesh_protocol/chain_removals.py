"""The rules of the records that take away or change rights: remove_member, unban, revoke_device, add_signer,
remove_signer, set_role, policy. SPEC.md section 5 has them in words.

Whoever signs a removal makes the next epoch's key, so nobody signs his own; and every removal closes the open invites.
"""

from dataclasses import replace

from mesh_protocol.chain import AddSigner, Policy, Record, RemoveMember, RemoveSigner, RevokeDevice, SetRole, Unban
from mesh_protocol.chain_draft import MAX_SIGNERS, Draft
from mesh_protocol.chain_state import ChainError, goes_along


def remove_member(draft: Draft, record: Record, body: RemoveMember) -> None:
    member = draft.members.get(body.member_id)
    if member is None:
        _ban_former(draft, record, body)
        return
    draft.manager_of(record, member)
    if draft.is_own(record, member):
        raise ChainError("own_removal", record.seq)
    going = frozenset(device for device in member.devices if draft.devices[device].active)
    # Who may remove an owner is a signer of another owner and stays, so the mesh keeps one.
    draft.end_devices(record, going, revoked=False)
    del draft.members[body.member_id]
    draft.former[body.member_id] = replace(member, removed_seq=record.seq, banned=body.ban)
    draft.await_epoch(record)


def _ban_former(draft: Draft, record: Record, body: RemoveMember) -> None:
    former = draft.former.get(body.member_id)
    if former is None or former.banned or not body.ban:
        raise ChainError("unknown_member", record.seq)
    draft.manager_of(record, former)
    draft.former[body.member_id] = replace(former, banned=True)
    draft.await_epoch(record)


def unban(draft: Draft, record: Record, body: Unban) -> None:
    former = draft.former.get(body.member_id)
    if former is None or not former.banned:
        raise ChainError("not_banned", record.seq)
    draft.manager_of(record, former)
    draft.former[body.member_id] = replace(former, banned=False)


def revoke_device(draft: Draft, record: Record, body: RevokeDevice) -> None:
    target = draft.active_device(body.device, record)
    member = draft.members[target.member_id]
    rank = member.rank if draft.is_own(record, member) else draft.manager_of(record, member).rank
    kept = frozenset(body.kept)
    added, going = goes_along(draft.members, draft.devices, body.device, kept)
    if not kept <= added:
        raise ChainError("unknown_device", record.seq)
    if record.signer in going:
        raise ChainError("own_removal", record.seq)
    if any(draft.members[draft.devices[device].member_id].rank > rank for device in going):
        raise ChainError("role_too_high", record.seq)
    draft.require_owner_left(record, going)
    draft.end_devices(record, going, revoked=True)
    draft.await_epoch(record)


def add_signer(draft: Draft, record: Record, body: AddSigner) -> None:
    target = draft.active_device(body.device, record)
    draft.manager_of(record, draft.members[target.member_id])
    if body.device in draft.signers:
        raise ChainError("duplicate_signer", record.seq)
    if len(draft.signers) >= MAX_SIGNERS:
        raise ChainError("too_many_signers", record.seq)
    draft.signers.add(body.device)


def remove_signer(draft: Draft, record: Record, body: RemoveSigner) -> None:
    if body.device not in draft.signers:
        raise ChainError("unknown_signer", record.seq)
    draft.manager_of(record, draft.members[draft.devices[body.device].member_id])
    draft.require_owner_left(record, frozenset({body.device}))
    draft.signers.remove(body.device)


def set_role(draft: Draft, record: Record, body: SetRole) -> None:
    member = draft.member(body.member_id, record)
    actor = draft.manager_of(record, member)
    draft.require_grant(actor, body.role, record)
    if body.role != "owner":
        draft.require_owner_left(record, frozenset(), lowered=member)
    draft.members[body.member_id] = replace(member, role=body.role, policy=None)


def set_policy(draft: Draft, record: Record, body: Policy) -> None:
    member = draft.member(body.member_id, record)
    actor = draft.manager_of(record, member)
    if member.role == "owner":
        raise ChainError("bad_policy", record.seq)
    policy = frozenset(body.permissions)
    if not policy <= actor.permissions:
        raise ChainError("not_permitted", record.seq)
    draft.members[body.member_id] = replace(member, policy=policy)
