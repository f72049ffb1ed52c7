"""What members may do beside their roles, on the chain; and what this person lets a peer do, on this machine."""

from collections.abc import Collection, Sequence
from typing import Final

from mesh_protocol import chain
from mesh_protocol.chain import Body
from mesh_protocol.chain_state import Member
from mesh_protocol.ids import InviteId
from mesh_protocol.ops.grants import (
    AllowMember,
    Block,
    DenyMember,
    GiveGrants,
    GrantRow,
    GrantsAnswer,
    ListGrants,
    ListRights,
    MemberRights,
    RightsAnswer,
    TakeGrants,
    Unblock,
)
from mesh_protocol.rights import PERMISSIONS, ROLES
from mesh_protocol.wire.errors import MeshError
from meshd.grants import BLOCK, granted
from meshd.local.dispatch import Call, handles
from meshd.membership import Person, active_mesh, find_peer, find_person, list_people, name_invites
from meshd.mesh import Mesh
from meshd.pages import Page
from meshd.removal import change_and_close
from meshd.store import trust as store
from meshd.store.trust import TrustRow

SIGNING: Final = frozenset({"invite", "manage_permissions"})
"""What a member needs a device for that signs for the mesh."""


# What the chain lets a member do.


@handles(AllowMember)
async def allow_member(call: Call, request: AllowMember) -> MemberRights:
    mesh, person = _other_than_owner(call, request.mesh, request.peer)
    return await _change(call, mesh, person, person.member.permissions | {*request.keys})


@handles(DenyMember)
async def deny_member(call: Call, request: DenyMember) -> MemberRights:
    mesh, person = _other_than_owner(call, request.mesh, request.peer)
    return await _change(call, mesh, person, person.member.permissions - {*request.keys})


def _other_than_owner(call: Call, wanted: str, peer: str) -> tuple[Mesh, Person]:
    mesh = active_mesh(call.app.node, wanted)
    person = find_person(mesh, peer, "member")
    if person.member.role == "owner":
        why = f"{person.name} is an owner of {mesh.slug} and may do everything: give another role first (mesh role)"
        raise MeshError("not_allowed", why=why)
    return mesh, person


async def _change(call: Call, mesh: Mesh, person: Person, wanted: frozenset[str]) -> MemberRights:
    member_id = person.member.member_id
    closed: list[InviteId] = []
    if wanted != person.member.permissions:
        allowed = len(ROLES) if "invite" in wanted else -1
        closed = await change_and_close(
            call.app, mesh, lambda: _records(mesh, person.member, wanted), member_id, allowed
        )
    now = mesh.state.members.get(member_id)
    if now is None:
        raise MeshError("unknown_recipient", target=person.name, candidates=[])
    return _rights(mesh, person._replace(member=now), closed)


def _records(mesh: Mesh, member: Member, wanted: frozenset[str]) -> Sequence[Body]:
    """The set itself; and what makes it worth something: devices that sign for who invites or manages, none for others."""
    state = mesh.state
    policy = chain.Policy(member.member_id, tuple(key for key in PERMISSIONS if key in wanted))
    active = state.active_devices(member.member_id)
    if wanted & SIGNING:
        return [policy, *(chain.AddSigner(device) for device in active if device not in state.signers)]
    return [policy, *(chain.RemoveSigner(device) for device in active if device in state.signers)]


@handles(ListRights)
async def list_rights(call: Call, request: ListRights) -> RightsAnswer:
    mesh = active_mesh(call.app.node, request.mesh)
    people = [person for person in list_people(mesh) if person.state == "member"]
    rows = Page().take(_rights(mesh, each) for each in people)
    return RightsAnswer(members=rows, more=len(rows) < len(people))


def _rights(mesh: Mesh, person: Person, closed: Sequence[InviteId] = ()) -> MemberRights:
    member = person.member
    return MemberRights(
        member=person.name,
        id=member.member_id.hex(),
        mesh=mesh.slug,
        role=member.role,
        permissions=[key for key in PERMISSIONS if key in member.permissions],
        own=member.policy is not None,
        signer=any(device in mesh.state.signers for device in mesh.state.active_devices(member.member_id)),
        closed_invites=name_invites(closed),
    )


# What this person lets a peer do here.


@handles(GiveGrants)
async def give_grants(call: Call, request: GiveGrants) -> GrantRow:
    return await _withhold(call, request.mesh, request.peer, less=request.keys)


@handles(TakeGrants)
async def take_grants(call: Call, request: TakeGrants) -> GrantRow:
    return await _withhold(call, request.mesh, request.peer, more=request.keys)


async def _withhold(
    call: Call, slug: str, wanted: str, *, more: Collection[str] = (), less: Collection[str] = ()
) -> GrantRow:
    mesh, person = find_peer(call.app.node, slug, wanted)

    def change(row: TrustRow) -> TrustRow:
        return row._replace(withheld=(row.withheld | {*more}) - {*less})

    return _row(mesh, person.name, await call.app.standings.decide(mesh, person.member.member_id, change))


@handles(Block)
async def block(call: Call, request: Block) -> GrantRow:
    return await _set_blocked(call, request.mesh, request.peer, BLOCK)


@handles(Unblock)
async def unblock(call: Call, request: Unblock) -> GrantRow:
    return await _set_blocked(call, request.mesh, request.peer, "allow")


async def _set_blocked(call: Call, slug: str, wanted: str, policy: str) -> GrantRow:
    mesh, person = find_peer(call.app.node, slug, wanted)

    def change(row: TrustRow) -> TrustRow:
        # To unblock is nothing to who is held or refused.
        return row._replace(policy=policy) if BLOCK in (policy, row.policy) else row

    return _row(mesh, person.name, await call.app.standings.decide(mesh, person.member.member_id, change))


@handles(ListGrants)
async def list_grants(call: Call, request: ListGrants) -> GrantsAnswer:
    node = call.app.node
    if request.peer:
        mesh, person = find_peer(node, request.mesh, request.peer)
        return GrantsAnswer(peers=[_standing(call, mesh, person)], more=False)
    meshes = [node.find_mesh(request.mesh)] if request.mesh or not node.meshes else list(node.meshes.values())
    found = [
        (mesh, person)
        for mesh in meshes
        if mesh.active
        for person in list_people(mesh)
        if person.state == "member" and person.member.member_id != mesh.row.member
    ]
    rows = Page().take(_standing(call, mesh, person) for mesh, person in found)
    return GrantsAnswer(peers=rows, more=len(rows) < len(found))


def _standing(call: Call, mesh: Mesh, person: Person) -> GrantRow:
    row = store.read_standing(call.app.node.db.reader, mesh.id, person.member.member_id)
    return _row(mesh, person.name, row)


def _row(mesh: Mesh, name: str, row: TrustRow) -> GrantRow:
    return GrantRow(peer=name, mesh=mesh.slug, policy=row.policy, grants=[*granted(row.withheld)])
