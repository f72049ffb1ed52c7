"""Everything on this machine that can keep a message from arriving, each with the sentence or command that mends it."""

from typing import TYPE_CHECKING, Final

import trio

from mesh_protocol.ops.daemon import Check
from meshd.doctor.machine import check_audit, check_clock, check_machine
from meshd.doctor.meshes import check_mesh
from meshd.doctor.proxy import check_proxy
from meshd.doctor.sessions import check_sessions, check_trust
from meshd.link.table import LinkState
from meshd.mesh import Mesh

if TYPE_CHECKING:
    from meshd.app import App

SETTLE_S: Final = 3.0
"""A broker that has not answered by then is called one that does not."""


async def settle(app: "App") -> None:
    """Wait, for a bounded time, until every mesh is served or it is known why not: a daemon that was started a moment ago,
    as by the command that asks, has not heard from its brokers yet."""
    with app.node.events.subscribe(frozenset({"link"})) as changes, trio.move_on_after(SETTLE_S):
        while any(map(_is_unsettled, app.node.meshes.values())):
            await changes.take()


def _is_unsettled(mesh: Mesh) -> bool:
    stopped = mesh.fork is not None or mesh.alarm or mesh.row.trouble
    return not (stopped or mesh.link_why or mesh.link in (LinkState.ONLINE, LinkState.REFUSED))


def examine(app: "App") -> list[Check]:
    """All checks, the daemon's own first. Read-only."""
    checks = [*check_machine(app)]
    if app.locked:
        return checks
    checks.extend(check_audit(app))
    checks.extend(check_clock(app))
    if not app.node.meshes:
        checks.append(Check(name="mesh", ok="warn", text="no mesh yet", fix="mesh new NAME, or mesh join URL"))
    for mesh in app.node.meshes.values():
        checks.extend(check_mesh(app, mesh))
    checks.extend(check_trust(app))
    checks.extend(check_sessions(app))
    checks.extend(check_proxy(app))
    return checks
