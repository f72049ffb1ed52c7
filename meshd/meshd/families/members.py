"""Members and devices: listing them, taking them out, giving them roles."""

from collections.abc import Sequence

from mesh_protocol import chain
from mesh_protocol.chain import Body
from mesh_protocol.ids import MemberId
from mesh_protocol.ops.members import (
    Ban,
    DeviceRow,
    DevicesAnswer,
    Kick,
    ListDevices,
    ListMembers,
    ListRemovals,
    MemberRow,
    MembersAnswer,
    MemberState,
    RemovalRow,
    RemovalsAnswer,
    Removed,
    RemoveMember,
    RevokeDevice,
    SetRole,
    Unban,
)
from mesh_protocol.rights import ROLE_PERMISSIONS, rank
from meshd.confirming import Removal, list_removals
from meshd.local.dispatch import Call, handles
from meshd.membership import (
    Person,
    active_mesh,
    count_others,
    describe_device,
    device_state,
    find_device,
    find_person,
    list_people,
    name_devices,
    name_invites,
)
from meshd.mesh import Mesh
from meshd.pages import Page
from meshd.removal import Outcome, change_and_close, change_rights, remove, wait_confirmed
from meshd.store.devices import read_devices


@handles(ListMembers)
async def list_members(call: Call, request: ListMembers) -> MembersAnswer:
    mesh = active_mesh(call.app.node, request.mesh)
    people = list_people(mesh)
    rows = Page().take(_row(mesh, each) for each in people)
    return MembersAnswer(members=rows, more=len(rows) < len(people))


def _row(mesh: Mesh, person: Person) -> MemberRow:
    state, member = mesh.state, person.member
    active = state.active_devices(member.member_id)
    return MemberRow(
        member=person.name,
        id=member.member_id.hex(),
        mesh=mesh.slug,
        me=member.member_id == mesh.row.member,
        role=member.role,
        state=person.state,
        signer=any(device in state.signers for device in active),
        devices=len(active),
    )


@handles(ListDevices)
async def list_devices(call: Call, request: ListDevices) -> DevicesAnswer:
    mesh = active_mesh(call.app.node, request.mesh)
    state = mesh.state
    names = {person.member.member_id: person.name for person in list_people(mesh)}
    added = {call.app.node.device: mesh.row.created_ms, **read_devices(call.app.node.db.reader, mesh.id)}
    rows = Page().take(
        DeviceRow(
            device=device.hex(),
            member=names[listed.member_id],
            mesh=mesh.slug,
            mine=listed.member_id == mesh.row.member,
            here=device == call.app.node.device,
            state=device_state(listed),
            signer=device in state.signers,
            online=listed.active and (device == call.app.node.device or call.app.board.is_online(mesh.id, device)),
            seen_ms=heard.at_ms if (heard := call.app.board.of(mesh.id, device)) is not None else 0,
            added_ms=added.get(device, 0),
            added_by=describe_device(mesh, listed.added_by),
        )
        for device, listed in state.devices.items()
    )
    return DevicesAnswer(devices=rows, more=len(rows) < len(state.devices))


@handles(RemoveMember)
async def remove_member(call: Call, request: RemoveMember) -> Removed:
    return await _remove(call, request, ban=False)


@handles(Kick)
async def kick(call: Call, request: Kick) -> Removed:
    return await _remove(call, request, ban=False)


@handles(Ban)
async def ban(call: Call, request: Ban) -> Removed:
    return await _remove(call, request, ban=True)


async def _remove(call: Call, request: RemoveMember | Kick | Ban, *, ban: bool) -> Removed:
    mesh = active_mesh(call.app.node, request.mesh)
    person = find_person(mesh, request.peer, *(("member", "removed") if ban else ("member",)))
    member_id = person.member.member_id
    outcome = await remove(call.app, mesh, [chain.RemoveMember(member_id, ban)])
    state = "banned" if ban else "removed"
    return await _removed(call, mesh, outcome, member_id.hex(), person.name, state, request.wait_s)


@handles(ListRemovals)
async def list_removed(call: Call, request: ListRemovals) -> RemovalsAnswer:
    mesh = active_mesh(call.app.node, request.mesh)
    removals = list_removals(mesh.state)
    rows = Page().take(_removal(call, mesh, each) for each in removals[: request.limit])
    return RemovalsAnswer(removals=rows, more=len(rows) < len(removals))


def _removal(call: Call, mesh: Mesh, removal: Removal) -> RemovalRow:
    waiting = mesh.confirmations.waiting(mesh.state, removal.seq, call.app.node.device)
    member = removal.member or mesh.state.devices[removal.devices[0]].member_id
    banned = removal.member is not None and mesh.state.former[removal.member].banned
    return RemovalRow(
        member=mesh.name_of(member),
        mesh=mesh.slug,
        id=removal.member.hex() if removal.member is not None else removal.devices[0].hex(),
        state=("banned" if banned else "removed") if removal.member is not None else "revoked",
        record=removal.seq,
        devices=len(removal.devices),
        confirmed=count_others(mesh) - len(waiting),
        waiting=name_devices(mesh, waiting),
    )


@handles(Unban)
async def unban(call: Call, request: Unban) -> MemberState:
    mesh = active_mesh(call.app.node, request.mesh)
    person = find_person(mesh, request.peer, "banned")
    await change_rights(call.app, mesh, [chain.Unban(person.member.member_id)])
    return MemberState(
        id=person.member.member_id.hex(), member=person.name, mesh=mesh.slug, role=person.member.role, state="removed"
    )


@handles(SetRole)
async def set_role(call: Call, request: SetRole) -> MemberState:
    mesh = active_mesh(call.app.node, request.mesh)
    person = find_person(mesh, request.peer, "member")
    member_id = person.member.member_id
    allowed = rank(request.role) if "invite" in ROLE_PERMISSIONS[request.role] else -1
    closed = await change_and_close(
        call.app, mesh, lambda: _role_records(mesh, member_id, request.role), member_id, allowed
    )
    return MemberState(
        id=member_id.hex(),
        member=person.name,
        mesh=mesh.slug,
        role=request.role,
        state=person.state,
        closed_invites=name_invites(closed),
    )


def _role_records(mesh: Mesh, member_id: MemberId, role: str) -> Sequence[Body]:
    """The role, and what makes it worth something: the devices of those who may manage sign for the mesh."""
    state = mesh.state
    active = state.active_devices(member_id)
    signs = [device for device in active if device in state.signers]
    change = chain.SetRole(member_id, role)
    if role == "member":
        return [*(chain.RemoveSigner(device) for device in signs), change]
    return [change, *(chain.AddSigner(device) for device in active if device not in signs)]


@handles(RevokeDevice)
async def revoke_device(call: Call, request: RevokeDevice) -> Removed:
    mesh = active_mesh(call.app.node, request.mesh)
    device = find_device(mesh, request.device)
    kept = {find_device(mesh, prefix) for prefix in request.keep}
    if call.app.node.device in mesh.state.added_by(device):
        kept.add(call.app.node.device)
    member = mesh.state.devices[device].member_id
    outcome = await remove(call.app, mesh, [chain.RevokeDevice(device, tuple(sorted(kept)))])
    name = mesh.name_of(member)
    return await _removed(call, mesh, outcome, device.hex(), name, "revoked", request.wait_s)


async def _removed(
    call: Call, mesh: Mesh, outcome: Outcome, subject: str, name: str, state: str, seconds: float
) -> Removed:
    waiting = await wait_confirmed(call.app, mesh, outcome.seq, seconds)
    return Removed(
        id=subject,
        member=name,
        mesh=mesh.slug,
        state=state,
        epoch=outcome.epoch,
        devices=len(outcome.gone),
        invites_closed=len(outcome.invites),
        invites=name_invites(outcome.invites),
        confirmed=count_others(mesh) - len(waiting),
        waiting=name_devices(mesh, waiting),
        unsealed=name_devices(mesh, outcome.unsealed),
    )
