"""Making, inviting, joining, listing meshes."""

import os
import pwd

import trio

from mesh_protocol.ids import MeshId
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.keys import CryptoError
from mesh_protocol.ops.meshes import (
    Invite,
    InviteAnswer,
    Join,
    JoinAnswer,
    List,
    ListAnswer,
    MeshRow,
    New,
    NewAnswer,
)
from mesh_protocol.wire.codec import CodecError
from mesh_protocol.wire.errors import MeshError, RemoteError
from meshd.link.driver import LOCAL
from meshd.link.refusals import not_genuine, own_words
from meshd.link.table import LinkState
from meshd.local.dispatch import Call, handles
from meshd.mesh import Mesh

INVITE_S = 15.0


@handles(New)
async def make_mesh(call: Call, request: New) -> NewAnswer:
    mesh = await call.app.making.make(request.name, request.me or _login(), request.broker)
    await call.app.wait_link(mesh, 2.0)
    return NewAnswer(id=mesh.id.hex(), mesh=mesh.slug, me=mesh.row.me, broker=mesh.row.broker_url)


@handles(Invite)
async def make_invite(call: Call, request: Invite) -> InviteAnswer:
    app = call.app
    mesh = app.node.find_mesh(request.mesh)
    if not mesh.active:
        raise MeshError("not_allowed", why=f"this machine is not in {mesh.slug} yet: it waits to be let in")
    if mesh.row.broker_url == LOCAL:
        raise MeshError("mesh_local_only", mesh=mesh.slug)
    if app.node.device not in mesh.state.signers:
        owner = next(iter(mesh.state.members.values()))
        raise MeshError("not_allowed", why=f"only {mesh.name_of(owner.member_id)} can invite to {mesh.slug}")
    link = await app.wait_link(mesh, INVITE_S)
    if link is None:
        raise MeshError("broker_unreachable", url=mesh.row.broker_url, why=mesh.link_why or mesh.link.value)
    expires = app.node.now() + request.expires_s * 1000
    try:
        with trio.fail_after(INVITE_S):
            made, invite_id = await link.membership.open_invite(mesh.row.broker_url, request.role, expires)
    except trio.TooSlowError:
        raise MeshError("timeout", what="the invite", seconds=INVITE_S) from None
    except LinkClosed:
        url = mesh.row.broker_url
        raise MeshError("broker_unreachable", url=url, why="the connection was lost") from None
    except RemoteError as error:
        raise own_words(error, mesh.row.broker_url) from None
    except (CryptoError, CodecError) as error:
        raise not_genuine(error, mesh.row.broker_url) from None
    return InviteAnswer(id=invite_id.hex(), mesh=mesh.slug, url=made.url(), expires_ms=expires)


@handles(Join)
async def join_mesh(call: Call, request: Join) -> JoinAnswer:
    app = call.app
    mesh = await app.making.join(request.url, request.me or _login())
    joined = await app.making.wait_active(mesh, request.wait_s)
    if mesh.row.trouble:
        raise MeshError(mesh.row.trouble, when="meanwhile")
    return JoinAnswer(id=mesh.id.hex(), mesh=mesh.slug, me=mesh.row.me, state="joined" if joined else "pending")


@handles(List)
async def list_meshes(call: Call, request: List) -> ListAnswer:
    app = call.app
    return ListAnswer(meshes=[_row(call, mesh, app.node.default_mesh) for mesh in app.node.meshes.values()])


def _row(call: Call, mesh: Mesh, default: MeshId | None) -> MeshRow:
    state = "joined" if mesh.active else ("failed" if mesh.row.trouble else "pending")
    return MeshRow(
        mesh=mesh.slug,
        id=mesh.id.hex(),
        name=mesh.title(),
        me=mesh.row.me,
        state=state,
        link=mesh.link.value,
        members=len(mesh.state.members) if mesh.chain is not None else 0,
        online=call.app.board.online_count(mesh) + (mesh.link is LinkState.ONLINE),
        broker=mesh.row.broker_url,
        default=mesh.id == default,
    )


def _login() -> str:
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = ""
    return "".join(c for c in name if c.isalnum() or c in "-_.")[:32] or "me"
