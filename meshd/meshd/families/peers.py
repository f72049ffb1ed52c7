"""Who is there, and how this session shows itself."""

from typing import Final

import msgspec

from mesh_protocol.ids import DeviceId
from mesh_protocol.names import check_name
from mesh_protocol.ops.peers import (
    ListPeers,
    PeerRow,
    PeersAnswer,
    PresenceAnswer,
    SetProfile,
    SetStatus,
    SetSummary,
    SetVisible,
)
from mesh_protocol.pae import BadEncoding
from mesh_protocol.profile import SessionGroups, is_within
from mesh_protocol.wire.errors import MeshError
from meshd.families.groups import group_name, show_group
from meshd.local.dispatch import Call, handles
from meshd.mesh import Mesh
from meshd.pages import Page
from meshd.presence import SessionView
from meshd.sessions import Session
from meshd.status import Source

MAX_BYTES: Final = 60 * 1024
MAX_ELEMENTS: Final = 4_000
"""Of the rows in one answer, which holds little else; summaries travel in the body."""


@handles(ListPeers)
async def list_peers(call: Call, request: ListPeers) -> PeersAnswer:
    node = call.app.node
    meshes = [node.find_mesh(request.mesh)] if request.mesh or not node.meshes else list(node.meshes.values())
    if not meshes:
        raise MeshError("no_mesh")
    group = group_name(request.group) if request.group else ""
    rows = [
        row for mesh in meshes if mesh.active for row in (_in_group(call, mesh, group) if group else _rows(call, mesh))
    ]
    kept = Page(MAX_BYTES, MAX_ELEMENTS, beside="summary").take(rows)
    return PeersAnswer(peers=kept, more=len(kept) < len(rows))


def _in_group(call: Call, mesh: Mesh, group: str) -> list[PeerRow]:
    """The sessions in a group: those that are heard of, and those of machines that are away, from what they said last."""
    present = {row.to: row for row in _rows(call, mesh) if row.kind == "ai"}
    found: list[PeerRow] = []
    for device, listed in mesh.state.devices.items():
        if not mesh.state.is_active(device):
            continue
        name, me = mesh.name_of(listed.member_id), listed.member_id == mesh.row.member
        for session in call.app.groups.listed(mesh, device):
            if any(is_within(each.name, group) for each in session.groups):
                row = present.get(f"{name}/{session.session}")
                row = row or _absent_row(call, mesh, name, me, device, session)
                found.append(msgspec.structs.replace(row, verified=call.app.node.pins.standing(mesh, listed.member_id)))
    return found


def _absent_row(call: Call, mesh: Mesh, name: str, me: bool, device: DeviceId, session: SessionGroups) -> PeerRow:
    """A session of which only its groups are known now."""
    heard = call.app.board.of(mesh.id, device)
    view = SessionView(name=session.session, status="away", since_ms=0, summary="")
    seen = heard.at_ms if heard is not None else 0
    return _session_row(call, mesh, name, me, device, view, seen, False, "")


def _rows(call: Call, mesh: Mesh) -> list[PeerRow]:
    rows: list[PeerRow] = []
    for member in sorted(mesh.state.members.values(), key=lambda m: m.added_seq):
        name = mesh.name_of(member.member_id)
        me = member.member_id == mesh.row.member
        devices = mesh.state.active_devices(member.member_id)
        found = [_person(call, mesh, name, me, devices, member.role)]
        for device in devices:
            found.extend(_sessions(call, mesh, name, me, device))
        standing = call.app.node.pins.standing(mesh, member.member_id)
        rows.extend([msgspec.structs.replace(row, verified=standing) for row in found] if standing else found)
    return rows


def _person(call: Call, mesh: Mesh, name: str, me: bool, devices: tuple[DeviceId, ...], role: str) -> PeerRow:
    board, node = call.app.board, call.app.node
    heard = [h.at_ms for d in devices if (h := board.of(mesh.id, d)) is not None]
    online = me or any(board.is_online(mesh.id, device) for device in devices)
    return PeerRow(
        to=name,
        kind="human",
        mesh=mesh.slug,
        me=me,
        online=online,
        status="online" if online else "away",
        since_ms=0,
        summary="",
        last_seen_ms=node.now() if me else max(heard, default=0),
        role=role,
        title="",
        cwd="",
        device=" ".join(device.hex()[:8] for device in devices),
        groups=[],
    )


def _sessions(call: Call, mesh: Mesh, name: str, me: bool, device: DeviceId) -> list[PeerRow]:
    board, node = call.app.board, call.app.node
    if device == node.device:
        live = call.app.sessions.in_mesh(mesh.id)
        views = call.app.sessions.views(mesh)
        own = {session.name: session.claude.cwd for session in live}
        modes = {session.name: session.mode for session in live if session.mode != "push"}
        rows = [_session_row(call, mesh, name, me, device, v, node.now(), True, own.get(v.name, "")) for v in views]
        return [msgspec.structs.replace(row, mode=modes.get(v.name, "")) for row, v in zip(rows, views, strict=True)]
    heard = board.of(mesh.id, device)
    if heard is None or not heard.presence.online:
        return []
    online = board.is_online(mesh.id, device)
    return [
        _session_row(call, mesh, name, me, device, view, heard.at_ms, online, "")
        for view in heard.presence.sessions
        if view.visible
    ]


def _session_row(
    call: Call, mesh: Mesh, name: str, me: bool, device: DeviceId, view: SessionView, seen: int, online: bool, cwd: str
) -> PeerRow:
    rows = call.app.groups.listed(mesh, device)
    return PeerRow(
        to=f"{name}/{view.name}",
        kind="ai",
        mesh=mesh.slug,
        me=me,
        online=online,
        status=view.status if online else "away",
        since_ms=view.since_ms,
        summary=view.summary,
        last_seen_ms=seen,
        role=view.role,
        title=view.title,
        cwd=cwd,
        device=device.hex()[:8],
        groups=[show_group(group) for row in rows if row.session == view.name for group in row.groups],
    )


def _own(call: Call) -> Session:
    if call.caller.session is None:
        raise MeshError("no_session", hint="run it from an agent that has the mesh server")
    return call.caller.session


def _shown(call: Call, session: Session) -> PresenceAnswer:
    mesh = call.app.sessions.mesh_of(session)
    person = mesh.row.me if mesh is not None else "me"
    return PresenceAnswer(
        to=f"{person}/{session.name}",
        status=session.status.word,
        summary=session.summary,
        visible=session.visible,
    )


@handles(SetSummary)
async def set_summary(call: Call, request: SetSummary) -> PresenceAnswer:
    session = _own(call)
    call.app.sessions.describe(session, summary=request.summary)
    return _shown(call, session)


@handles(SetStatus)
async def set_status(call: Call, request: SetStatus) -> PresenceAnswer:
    session = _own(call)
    call.app.sessions.say_status(session, request.status, Source.MANUAL)
    return _shown(call, session)


@handles(SetVisible)
async def set_visible(call: Call, request: SetVisible) -> PresenceAnswer:
    session = _own(call)
    call.app.sessions.describe(session, visible=request.visible)
    return _shown(call, session)


@handles(SetProfile)
async def set_profile(call: Call, request: SetProfile) -> PresenceAnswer:
    session = _own(call)
    profile: dict[str, str | list[str]] = {}
    if request.name:
        try:
            profile["name"] = check_name(request.name)
        except BadEncoding:
            raise MeshError("bad_name", name=request.name) from None
    given = {"role": request.role, "avatar": request.avatar, "title": request.title, "bio": request.bio}
    profile.update({key: value for key, value in given.items() if value})
    if request.capabilities:
        profile["capabilities"] = list(request.capabilities)
    call.app.sessions.describe(session, profile=profile)
    return _shown(call, session)
