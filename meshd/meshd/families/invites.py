"""Making invites, listing and closing them; saying yes or no to who waits."""

from collections.abc import Iterator
from typing import Final

import trio

from mesh_protocol.chain import InviteClose
from mesh_protocol.ids import InviteId
from mesh_protocol.keys import CryptoError
from mesh_protocol.members import Invite as ChainInvite
from mesh_protocol.names import check_name
from mesh_protocol.ops.invites import (
    Approve,
    CloseInvite,
    Deny,
    Invite,
    InviteAnswer,
    InviteClosed,
    InviteRow,
    InvitesAnswer,
    JoinerAnswer,
    JoinerRow,
    ListInvites,
)
from mesh_protocol.wire.errors import MeshError
from meshd.knocks import Knock, find_knock, waiting_joiners
from meshd.link.driver import LOCAL
from meshd.link.meshlink import MeshLink
from meshd.local.dispatch import Call, handles
from meshd.membership import active_mesh, describe_device, list_people
from meshd.mesh import Mesh
from meshd.pages import Page
from meshd.removal import change_rights, while_online

MAX_NAMED: Final = 100


@handles(Invite)
async def make_invite(call: Call, request: Invite) -> InviteAnswer:
    app = call.app
    mesh = active_mesh(app.node, request.mesh)
    if mesh.row.broker_url == LOCAL:
        raise MeshError("mesh_local_only", mesh=mesh.slug)
    _require_signer(call, mesh, "invite to")
    expires = app.node.now() + request.expires_s * 1000
    made: list[InviteAnswer] = []

    async def open_it(link: MeshLink) -> None:
        opened, invite_id = await link.membership.open_invite(
            mesh.row.broker_url, request.role, expires, request.uses, approve=request.approve, inviter=_inviter(mesh)
        )
        made.append(
            InviteAnswer(
                id=invite_id.hex(),
                mesh=mesh.slug,
                url=opened.url(),
                role=request.role,
                uses=request.uses,
                approve=request.approve,
                expires_ms=expires,
                qr=_draw(opened.url()) if request.qr else "",
            )
        )

    taken = mesh.invited.take(mesh.slug, trio.current_time())
    try:
        await while_online(app, mesh, open_it)
    except MeshError:
        mesh.invited.give_back(taken)
        raise
    return made[0]


def _inviter(mesh: Mesh) -> str:
    """This person's name as a link may carry it; one that is shown with a part of his id is left out."""
    try:
        return check_name(mesh.row.me)
    except CryptoError:
        return ""


def _draw(url: str) -> str:
    from meshd.qr import draw_code

    return draw_code(url)


@handles(ListInvites)
async def list_invites(call: Call, request: ListInvites) -> InvitesAnswer:
    mesh = active_mesh(call.app.node, request.mesh)
    waiting, joined, now = waiting_joiners(mesh), _joined(mesh), call.app.node.now()
    rows = [
        _row(mesh, invite, joined.get(invite.invite_id, []), waiting, now)
        for invite in reversed([*mesh.state.invites.values()])
        if request.all or _state(invite, now) == "open" or any(each.invite_id == invite.invite_id for each in waiting)
    ]
    asking = [_joiner(mesh, each) for each in waiting]
    page = Page()
    waits, shown = page.take(asking, spare=2), page.take(rows)
    return InvitesAnswer(invites=shown, waiting=waits, more=len(shown) < len(rows) or len(waits) < len(asking))


def _joined(mesh: Mesh) -> dict[InviteId, list[str]]:
    """Who came in by each invite, former members too, in the order in which they came."""
    found: dict[InviteId, list[str]] = {}
    for person in list_people(mesh):
        if person.member.invite_id:
            found.setdefault(InviteId(person.member.invite_id), []).append(person.name)
    return found


def _state(invite: ChainInvite, now_ms: int) -> str:
    if invite.uses >= invite.max_uses:
        return "used"
    if not invite.open:
        return "closed"
    return "expired" if now_ms > invite.expires_ms else "open"


def _row(mesh: Mesh, invite: ChainInvite, joined: list[str], waiting: list[Knock], now_ms: int) -> InviteRow:
    return InviteRow(
        id=invite.invite_id.hex(),
        mesh=mesh.slug,
        role=invite.role,
        state=_state(invite, now_ms),
        uses=invite.max_uses,
        uses_left=invite.max_uses - invite.uses if invite.open else 0,
        expires_ms=invite.expires_ms,
        approve=invite.approve,
        opener=describe_device(mesh, invite.opener),
        joined=joined[:MAX_NAMED],
        waiting=[each.name for each in waiting if each.invite_id == invite.invite_id][:MAX_NAMED],
    )


def _joiner(mesh: Mesh, knock: Knock) -> JoinerRow:
    return JoinerRow(
        name=knock.name,
        device=knock.device.hex(),
        mesh=mesh.slug,
        invite=knock.invite_id.hex(),
        role=mesh.state.invites[knock.invite_id].role,
        why=knock.why,
        since_ms=knock.at_ms,
    )


@handles(CloseInvite)
async def close_invite(call: Call, request: CloseInvite) -> InviteClosed:
    mesh = active_mesh(call.app.node, request.mesh)
    found = [*_open_invites(mesh, request.invite)]
    if len(found) != 1:
        raise MeshError("not_found", what="one open invite", id=request.invite)
    (invite,) = found
    away = sum(each.invite_id == invite.invite_id for each in waiting_joiners(mesh))
    await change_rights(call.app, mesh, [InviteClose(invite.invite_id)])
    call.app.node.events.publish("join_waits", mesh=mesh.slug)
    return InviteClosed(id=invite.invite_id.hex(), mesh=mesh.slug, state="closed", turned_away=away)


def _open_invites(mesh: Mesh, prefix: str) -> Iterator[ChainInvite]:
    """Also an expired one: who asked in time may still wait under it."""
    for invite in mesh.state.invites.values():
        if invite.open and invite.invite_id.hex().startswith(prefix):
            yield invite


@handles(Approve)
async def approve(call: Call, request: Approve) -> JoinerAnswer:
    mesh = active_mesh(call.app.node, request.mesh)
    _require_signer(call, mesh, "let anybody into")
    knock = find_knock(mesh, request.who)
    try:
        await while_online(call.app, mesh, lambda link: link.membership.approve(knock))
    except MeshError as error:
        if error.code != "invite_used":
            raise
        raise MeshError("not_found", what="machine that waits to be let in", id=request.who) from None
    member = mesh.state.devices[knock.device].member_id
    return JoinerAnswer(name=mesh.name_of(member), device=knock.device.hex(), mesh=mesh.slug, state="joined")


@handles(Deny)
async def deny(call: Call, request: Deny) -> JoinerAnswer:
    mesh = active_mesh(call.app.node, request.mesh)
    _require_signer(call, mesh, "turn anybody away from")
    knock = find_knock(mesh, request.who)
    await while_online(call.app, mesh, lambda link: link.membership.deny(knock))
    return JoinerAnswer(name=knock.name, device=knock.device.hex(), mesh=mesh.slug, state="denied")


def _require_signer(call: Call, mesh: Mesh, what: str) -> None:
    """Raises `not_allowed`, with whom to ask."""
    if call.app.node.device in mesh.state.signers:
        return
    signers = (mesh.state.member_of(device) for device in mesh.state.signers)
    names = dict.fromkeys(mesh.name_of(member.member_id) for member in signers if member is not None)
    raise MeshError(
        "not_allowed", why=f"only {' or '.join([*names][:5])} can {what} {mesh.slug}, from a machine that signs"
    )
