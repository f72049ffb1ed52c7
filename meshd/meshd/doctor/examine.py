"""Everything on this machine that can keep a message from arriving, each with the sentence or command that mends it."""

from typing import TYPE_CHECKING

from mesh_protocol.ops.daemon import Check
from meshd.doctor.machine import check_audit, check_clock, check_machine
from meshd.doctor.meshes import check_mesh
from meshd.doctor.proxy import check_proxy
from meshd.doctor.sessions import check_sessions, check_trust

if TYPE_CHECKING:
    from meshd.app import App


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
