"""Groups: joining, leaving, listing."""

from typing import Final

from mesh_protocol.names import compare_form
from mesh_protocol.ops.groups import GroupListAnswer, GroupRow, GroupsAnswer, JoinGroup, LeaveGroup, ListGroups
from mesh_protocol.pae import BadEncoding
from mesh_protocol.profile import GroupRole, check_group
from mesh_protocol.wire.errors import MeshError
from meshd.local.dispatch import Call, handles
from meshd.mesh import Mesh
from meshd.sessions import Session
from meshd.targets import GROUP

MAX_ROWS: Final = 200
"""Rows of one answer: 200 x 15 elements stay below a header's 4,096."""
MAX_LABELS: Final = 48 * 1024
"""Bytes of names in one answer, below a header's 64 KiB."""


@handles(JoinGroup)
async def join_group(call: Call, request: JoinGroup) -> GroupsAnswer:
    session = _session(call, request.session)
    await call.app.groups.join(session, GroupRole(group_name(request.name), request.role.strip()))
    return _answer(call, session)


@handles(LeaveGroup)
async def leave_group(call: Call, request: LeaveGroup) -> GroupsAnswer:
    session = _session(call, request.session)
    name = group_name(request.name)
    if not await call.app.groups.leave(session, name):
        raise MeshError("not_found", what=f"membership of {session.name} in the group", id=name)
    return _answer(call, session)


@handles(ListGroups)
async def list_groups(call: Call, request: ListGroups) -> GroupListAnswer:
    node = call.app.node
    only = _session(call, request.session) if request.session else None
    meshes = [node.find_mesh(request.mesh)] if request.mesh or not node.meshes else list(node.meshes.values())
    rows = [row for mesh in meshes if mesh.active for row in _rows(call, mesh, only)]
    rows.sort(key=lambda row: (row.mesh, compare_form(row.group), not row.me, row.to))
    kept: list[GroupRow] = []
    room = MAX_LABELS
    for row in rows[:MAX_ROWS]:
        room -= sum(len(part.encode()) for part in (row.group, row.role, row.to, row.mesh)) + 64
        if room < 0:
            break
        kept.append(row)
    return GroupListAnswer(members=kept, more=len(kept) < len(rows))


def show_group(group: GroupRole) -> str:
    """A group with the role in it; a group's name has no blank, so the two can be told apart."""
    return f"{group.name} ({group.role})" if group.role else group.name


def _rows(call: Call, mesh: Mesh, only: Session | None) -> list[GroupRow]:
    app = call.app
    rows: list[GroupRow] = []
    for device, listed in mesh.state.devices.items():
        here = device == app.node.device
        if not mesh.state.is_active(device) or (only is not None and not here):
            continue
        heard = None if here else app.groups.heard(mesh, device)
        online = here or app.board.is_online(mesh.id, device)
        live = {each.name for each in app.sessions.in_mesh(mesh.id)} if here else set()
        person = mesh.name_of(listed.member_id)
        rows.extend(
            GroupRow(
                group=group.name,
                role=group.role,
                to=f"{person}/{session.session}",
                me=listed.member_id == mesh.row.member,
                online=session.session in live if here else online,
                as_of_ms=heard.at_ms if heard is not None else 0,
                mesh=mesh.slug,
            )
            for session in app.groups.listed(mesh, device)
            if only is None or session.session == only.name
            for group in session.groups
        )
    return rows


def group_name(typed: str) -> str:
    """The normal form of a group's name, an @ in front dropped. Raises `MeshError`."""
    try:
        return check_group(typed.strip().removeprefix(GROUP))
    except BadEncoding:
        raise MeshError("bad_group", name=typed) from None


def _answer(call: Call, session: Session) -> GroupsAnswer:
    mesh = call.app.sessions.mesh_of(session)
    person = mesh.row.me if mesh is not None else "me"
    return GroupsAnswer(
        to=f"{person}/{session.name}", groups=[show_group(group) for group in call.app.groups.of(session)]
    )


def _session(call: Call, name: str) -> Session:
    """The session that is meant: an agent's own, or the one of this machine that a person names."""
    own = call.caller.session
    if own is not None:
        if name and compare_form(name) != compare_form(own.name):
            raise MeshError("not_allowed", why=f"this is the session {own.name}; it may not answer for {name}")
        return own
    known = sorted(call.app.sessions.all(), key=lambda each: (not each.alive, -each.started_ms))
    found = next((each for each in known if name and compare_form(each.name) == compare_form(name)), None)
    if found is None:
        live = ", ".join(each.name for each in call.app.sessions.live()) or "none lives"
        raise MeshError("no_session", hint=f"name one with --session: {live}")
    return found
