"""The daemon's own operations."""

from mesh_protocol.ops.daemon import (
    Doctor,
    DoctorAnswer,
    GetStatus,
    Hello,
    HelloAnswer,
    MeshStatus,
    StatusAnswer,
    Stop,
    StopAnswer,
    Subscribe,
    SubscribeAnswer,
)
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.rpc import PROTOCOL
from meshd.doctor.examine import examine, settle
from meshd.knocks import waiting_joiners
from meshd.link.joining import whom_it_waits_for
from meshd.link.table import LinkState
from meshd.local.dispatch import Call, handles
from meshd.mesh import Mesh
from meshd.recovery import standing
from meshd.store.inbox import count_unread
from meshd.store.outbox import count_waiting
from meshd.waiting import held_up


@handles(Hello)
async def hello(call: Call, request: Hello) -> HelloAnswer:
    if request.proto[0] != PROTOCOL[0]:
        theirs, ours = (".".join(map(str, pair)) for pair in (request.proto, PROTOCOL))
        raise MeshError("version_mismatch", client=theirs, daemon=ours)
    caller = call.caller
    return HelloAnswer(
        proto=list(PROTOCOL),
        build=call.app.version,
        tier=caller.tier.name.lower(),
        session=caller.session.name if caller.session is not None else "",
    )


@handles(GetStatus)
async def get_status(call: Call, request: GetStatus) -> StatusAnswer:
    app = call.app
    locked = app.locked
    return StatusAnswer(
        version=app.version,
        pid=app.pid,
        home=str(app.paths.data),
        up_s=app.up_s(),
        state="locked" if locked else "ready",
        keys=app.key_sentence(),
        device="" if locked else app.node.device.hex(),
        unread=0 if locked else count_unread(app.node.db.reader),
        sessions=0 if locked else len(app.sessions.live()),
        meshes=[] if locked else [_mesh_status(call, mesh) for mesh in app.node.meshes.values()],
    )


def _mesh_status(call: Call, mesh: Mesh) -> MeshStatus:
    app = call.app
    trouble = mesh.alarm or mesh.failed_why
    if not trouble and mesh.link is not LinkState.ONLINE:
        trouble = mesh.link_why
    if not trouble and (names := held_up([mesh])):
        trouble = f"messages of {', '.join(names)} name a membership that the broker does not show: mesh doctor"
    if not trouble and mesh.lacking.since_ms:
        trouble = "this machine lacks the newest key and asks for it (mesh doctor)"
    waiting_for = ""
    if not mesh.active and not mesh.row.trouble:
        waiting_for = whom_it_waits_for(app.node, mesh)
    elif mesh.active and app.node.device not in mesh.state.devices:
        waiting_for = "another machine to let this restored one in (mesh restore FILE shows how)"
    return MeshStatus(
        mesh=mesh.slug,
        id=mesh.id.hex(),
        name=mesh.title(),
        me=mesh.row.me,
        state=mesh.standing,
        broker=mesh.row.broker_url,
        link=mesh.link.value,
        link_since_ms=mesh.link_since_ms,
        trouble=trouble,
        members=len(mesh.state.members) if mesh.chain is not None else 0,
        online=app.board.online_count(mesh) + (mesh.link is LinkState.ONLINE),
        waiting_out=count_waiting(app.node.db.reader, mesh.id),
        waiting_for=waiting_for,
        recovery_key=standing(app.node, mesh) if mesh.active else "",
        asking=len(waiting_joiners(mesh)) if mesh.active else 0,
    )


@handles(Doctor)
async def doctor(call: Call, request: Doctor) -> DoctorAnswer:
    if not call.app.locked:
        await call.app.audit.opened()
        await settle(call.app)
    return DoctorAnswer(checks=examine(call.app))


@handles(Stop)
async def stop(call: Call, request: Stop) -> StopAnswer:
    call.app.stop_soon()
    return StopAnswer(pid=call.app.pid)


@handles(Subscribe)
async def subscribe(call: Call, request: Subscribe) -> SubscribeAnswer:
    """The server starts the stream of events behind this answer (local/server.py)."""

    return SubscribeAnswer(next=1)
