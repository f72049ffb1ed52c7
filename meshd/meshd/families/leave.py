"""Leaving a mesh."""

from mesh_protocol.ops.leave import Leave, Left, Terms, TermsAnswer
from mesh_protocol.wire.errors import MeshError
from meshd.leaving import read_terms
from meshd.local.dispatch import Call, handles
from meshd.mesh import LEAVING, Mesh
from meshd.recovery import standing
from meshd.store.leavers import count_messages
from meshd.store.outbox import count_waiting


@handles(Terms)
async def tell_terms(call: Call, request: Terms) -> TermsAnswer:
    mesh, node = _one_mesh(call, request.mesh), call.app.node
    terms = read_terms(mesh, node.device)
    received = count_messages(node.db.reader, mesh.id)
    own = mesh.chain.active_devices(mesh.row.member) if mesh.chain is not None else ()
    askable = [mesh.name_of(mesh.state.devices[device].member_id) for device in terms.askable]
    return TermsAnswer(
        mesh=mesh.slug,
        how=terms.how,
        askable=[*dict.fromkeys(askable)],
        messages=received.all,
        unread=received.unread,
        queued=count_waiting(node.db.reader, mesh.id),
        stays=sum(device != node.device for device in own),
        returns=terms.returns,
        recovery_key=standing(node, mesh),
    )


@handles(Leave)
async def leave(call: Call, request: Leave) -> Left:
    mesh, leaving = _one_mesh(call, request.mesh), call.app.leaving
    told = 0
    if request.forget:
        await leaving.drop(mesh)
    else:
        told = await leaving.begin(mesh)
        await leaving.wait_left(mesh, request.wait_s)
    gone = call.app.node.meshes.get(mesh.id) is not mesh
    return Left(
        mesh=mesh.slug, id=mesh.id.hex(), state="left" if gone else LEAVING, told=told, forgotten=request.forget
    )


def _one_mesh(call: Call, wanted: str) -> Mesh:
    """Raises `MeshError`: of several meshes the one that is left is named, not guessed."""
    node = call.app.node
    if not wanted and len(node.meshes) > 1:
        meshes = sorted(mesh.slug for mesh in node.meshes.values())
        raise MeshError("ambiguous_mesh", what="this machine", meshes=[*meshes])
    return node.find_mesh(wanted)
