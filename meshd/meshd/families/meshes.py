"""Making, joining, listing meshes."""

import os
import pwd
from typing import TYPE_CHECKING, Final

import trio

from mesh_protocol.ids import MeshId
from mesh_protocol.ops.meshes import (
    Join,
    JoinAnswer,
    List,
    ListAnswer,
    MeshRow,
    New,
    NewAnswer,
)
from mesh_protocol.wire.errors import MeshError
from meshd.link.joining import whom_it_waits_for
from meshd.link.table import LinkState
from meshd.local.dispatch import Call, handles
from meshd.mesh import Mesh

if TYPE_CHECKING:
    from meshd.app import App

HEAR_S: Final = 2.0
"""How long a join waits, once let in, until it was heard who is there."""


@handles(New)
async def make_mesh(call: Call, request: New) -> NewAnswer:
    mesh = await call.app.making.make(request.name, request.me or _login(), request.broker)
    await call.app.wait_link(mesh, 2.0)
    return NewAnswer(id=mesh.id.hex(), mesh=mesh.slug, me=mesh.row.me, broker=mesh.row.broker_url)


@handles(Join)
async def join_mesh(call: Call, request: Join) -> JoinAnswer:
    app = call.app
    mesh = await app.making.join(request.url, request.me or _login())
    joined = await app.making.wait_active(mesh, request.wait_s)
    if mesh.row.trouble:
        raise MeshError(mesh.row.trouble, when="meanwhile")
    if joined:
        await _hear_somebody(app, mesh, min(HEAR_S, request.wait_s))
    return JoinAnswer(
        id=mesh.id.hex(),
        mesh=mesh.slug,
        me=mesh.row.me,
        state="joined" if joined else "pending",
        waiting_for="" if joined else whom_it_waits_for(app.node, mesh),
    )


async def _hear_somebody(app: "App", mesh: Mesh, seconds: float) -> None:
    """Wait until somebody was heard: who let this machine in speaks up within a second, and is there until then unheard."""
    with app.node.events.subscribe(frozenset({"presence"})) as changes, trio.move_on_after(seconds):
        while not app.board.online_count(mesh):
            await changes.take()


@handles(List)
async def list_meshes(call: Call, request: List) -> ListAnswer:
    app = call.app
    return ListAnswer(meshes=[_row(call, mesh, app.node.default_mesh) for mesh in app.node.meshes.values()])


def _row(call: Call, mesh: Mesh, default: MeshId | None) -> MeshRow:
    return MeshRow(
        mesh=mesh.slug,
        id=mesh.id.hex(),
        name=mesh.title(),
        me=mesh.row.me,
        state=mesh.standing,
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
