"""Who belongs to a mesh: the fold over a verified chain (crypto design 2.4, 2.12).

A pure function of the records: no clock, no randomness, no I/O, so every daemon and the broker reach the same state or
the same refusal. A prefix that was accepted is never judged again; a bad record leaves the old state untouched. What
several branches of one chain come to, `forks` says.
"""

from collections.abc import Sequence

from mesh_protocol.chain import (
    BODIES,
    AddDevice,
    AddMember,
    AddSigner,
    Body,
    BrokerKey,
    Epoch,
    Genesis,
    InviteClose,
    InviteOpen,
    Policy,
    Record,
    RemoveMember,
    RemoveSigner,
    RevokeDevice,
    SetName,
    SetRole,
    Snapshot,
    Unban,
    decode_body,
    mesh_id_of,
)
from mesh_protocol.chain_draft import AWAIT_EPOCH, MAX_DEVICES, MAX_MEMBER_DEVICES, MAX_RUN, MAX_SIGNERS, Draft
from mesh_protocol.chain_removals import (
    add_signer,
    remove_member,
    remove_signer,
    revoke_device,
    set_policy,
    set_role,
    unban,
)
from mesh_protocol.chain_rules import (
    add_device,
    add_member,
    begin_epoch,
    close_invite,
    move_broker,
    open_invite,
    resolve,
    set_name,
    take_snapshot,
)
from mesh_protocol.chain_state import REASONS, ChainError, ChainState, Device, Invite, Member
from mesh_protocol.ids import MeshId
from mesh_protocol.pae import BadEncoding, CryptoError

__all__ = [
    "MAX_DEVICES",
    "MAX_MEMBER_DEVICES",
    "MAX_RUN",
    "MAX_SIGNERS",
    "REASONS",
    "ChainError",
    "ChainState",
    "Device",
    "Invite",
    "Member",
    "extend",
    "settled",
]


def extend(state: ChainState | None, records: Sequence[Record]) -> ChainState:
    """The state after `records`, which follow `state` (None: they begin the chain).

    Raises ChainError at the first record that breaks a rule, and when the last append lacks its epoch record: see
    `settled` for cutting a page of records there.
    """
    if state is None:
        if not records:
            raise ChainError("no_genesis", 1)
        draft = _begin(records[0])
        records = records[1:]
    else:
        draft = Draft(state)
    for record in records:
        _add(draft, record)
    return draft.state()


def settled(records: Sequence[Record]) -> int:
    """How many of `records` make whole appends: a last one that still awaits its epoch record does not count."""
    count = len(records)
    while count and records[count - 1].type in AWAIT_EPOCH:
        count -= 1
    return count


def _begin(record: Record) -> Draft:
    if record.seq != 1 or record.type != "genesis":
        raise ChainError("no_genesis", record.seq)
    mesh_id = mesh_id_of(record)
    genesis = _checked(record, mesh_id)
    if not isinstance(genesis, Genesis) or record.signer != genesis.device:
        raise ChainError("wrong_signer", record.seq)
    if len({genesis.device, genesis.recovery_pub, genesis.broker_key}) != 3:
        raise ChainError("duplicate_device", record.seq)
    device, member_id = genesis.device, genesis.member_id
    draft = Draft(
        ChainState(
            mesh_id=mesh_id,
            seq=record.seq,
            head=record.hash,
            genesis=genesis,
            members={member_id: Member(member_id, "owner", genesis.sealed_member_name, (device,), record.seq)},
            former={},
            devices={device: Device(device, member_id, True, record.seq, device)},
            signers=frozenset({device}),
            epoch=0,
            kcs={},
            invites={},
            broker_key=genesis.broker_key,
            broker_urls=genesis.broker_urls,
            snapshot=None,
        )
    )
    draft.awaits_epoch_of = device
    draft.run = MAX_RUN  # nothing but the first epoch may follow
    return draft


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


def _add(draft: Draft, record: Record) -> None:
    """Raises ChainError when `record` may not be the next one."""
    if record.seq != draft.seq + 1:
        raise ChainError("bad_seq", record.seq)
    if record.prev_hash != draft.head:
        raise ChainError("bad_link", record.seq)
    if record.type not in BODIES:
        raise ChainError("unknown_type", record.seq)
    _require_in_append(draft, record)
    _apply(draft, record, _checked(record, draft.mesh_id))
    draft.seq = record.seq
    draft.head = record.hash


def _require_in_append(draft: Draft, record: Record) -> None:
    """An append that awaits its epoch goes on with records of its kind, and ends with the epoch, all by one signer."""
    if draft.awaits_epoch_of is None:
        return
    goes_on = record.type == "epoch" or (record.type in AWAIT_EPOCH and draft.run < MAX_RUN)
    if not goes_on or record.signer != draft.awaits_epoch_of:
        raise ChainError("epoch_missing", record.seq)


def _apply(draft: Draft, record: Record, body: Body) -> None:
    match body:
        case Genesis():
            raise ChainError("second_genesis", record.seq)
        case Epoch():
            begin_epoch(draft, record, body)
        case AddMember():
            add_member(draft, record, body)
        case AddDevice():
            add_device(draft, record, body)
        case InviteOpen():
            open_invite(draft, record, body)
        case InviteClose():
            close_invite(draft, record, body)
        case RemoveMember():
            remove_member(draft, record, body)
        case Unban():
            unban(draft, record, body)
        case RevokeDevice():
            revoke_device(draft, record, body)
        case AddSigner():
            add_signer(draft, record, body)
        case RemoveSigner():
            remove_signer(draft, record, body)
        case SetRole():
            set_role(draft, record, body)
        case Policy():
            set_policy(draft, record, body)
        case SetName():
            set_name(draft, record, body)
        case BrokerKey():
            move_broker(draft, record, body)
        case Snapshot():
            take_snapshot(draft, record, body)
        case _:
            resolve(draft, record, body)
