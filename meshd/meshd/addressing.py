"""From the names a caller gives to the recipients of one mesh."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from mesh_protocol.ids import DeviceId
from mesh_protocol.wire.errors import MeshError
from meshd.mesh import Mesh
from meshd.sessions import Session
from meshd.targets import GROUP, MAX_CANDIDATES, Directory, Recipient, Resolved, resolve_all

if TYPE_CHECKING:
    from meshd.app import App


class AsOf(NamedTuple):
    """Until when this machine knows the groups of a member who is away; `at_ms` 0: he never said any."""

    member: str
    at_ms: int


class Found(NamedTuple):
    """What a list of targets means. `audience` is what of it means many, as it was written; `wanted` names every target
    in full. `as_of` is there when a group was meant, the least known first."""

    mesh: Mesh
    recipients: list[Recipient]
    audience: str
    wanted: tuple[str, ...]
    as_of: list[AsOf]


def directory_of(app: "App", mesh: Mesh, session: Session | None = None) -> Directory:
    """What names mean in `mesh` now, to this session or to the person."""
    sessions: dict[DeviceId, Sequence[str]] = {app.node.device: app.sessions.names_in(mesh)}
    for device in mesh.state.devices:
        heard = app.board.of(mesh.id, device)
        if heard is not None:
            sessions[device] = [view.name for view in heard.presence.sessions]
    return Directory(
        names=mesh.names,
        devices={member: mesh.state.active_devices(member) for member in mesh.state.members},
        sessions=sessions,
        own_member=mesh.row.member,
        own_device=app.node.device,
        groups=app.groups.known(mesh),
        visible=[each.name for each in app.sessions.in_mesh(mesh.id) if each.visible],
        writer=session.name if session is not None else "",
    )


def find_recipients(app: "App", targets: Sequence[str], wanted_mesh: str, session: Session | None) -> Found:
    """The mesh and the recipients that `targets` name.

    A mesh may stand in front of a name (`slug:name`). Without one, a person's names are looked up in all his meshes, an
    agent's only in the mesh of its session, and must be found in exactly one. Raises `MeshError`.
    """
    slugs = {mesh.slug for mesh in app.node.meshes.values()}
    named = [t.partition(":") for t in targets if ":" in t and t.partition(":")[0] in slugs]
    if named:
        wanted = {slug for slug, _, _ in named} | ({wanted_mesh} if wanted_mesh else set())
        if len(wanted) != 1:
            raise MeshError("bad_request", what="all recipients of one message must be in one mesh")
        wanted_mesh = wanted.pop()
        targets = [t.removeprefix(f"{wanted_mesh}:") for t in targets]
    meshes = _candidates(app, wanted_mesh, session)
    found: list[tuple[Mesh, Resolved]] = []
    failures: list[MeshError] = []
    for mesh in meshes:
        try:
            found.append((mesh, resolve_all(directory_of(app, mesh, session), targets)))
        except MeshError as error:
            failures.append(error)
    if len(found) > 1:
        raise MeshError("ambiguous_mesh", what=", ".join(targets), meshes=[mesh.slug for mesh, _ in found])
    if not found:
        raise _refusal(targets, failures)
    mesh, resolved = found[0]
    as_of = _groups_as_of(app, mesh) if GROUP in resolved.audience else []
    return Found(mesh, resolved.recipients, resolved.audience, resolved.wanted, as_of)


def _groups_as_of(app: "App", mesh: Mesh) -> list[AsOf]:
    """Whose groups may be others by now: the members with a machine that is away, the least known first."""
    known: dict[str, int] = {}
    for device, listed in mesh.state.devices.items():
        if device == app.node.device or not mesh.state.is_active(device) or app.board.is_online(mesh.id, device):
            continue
        heard = app.groups.heard(mesh, device)
        at_ms = heard.at_ms if heard is not None else 0
        name = mesh.name_of(listed.member_id)
        known[name] = min(at_ms, known.get(name, at_ms))
    return sorted((AsOf(name, at_ms) for name, at_ms in known.items()), key=lambda each: (each.at_ms, each.member))


def _refusal(targets: Sequence[str], failures: Sequence[MeshError]) -> MeshError:
    """One refusal for all meshes: an ambiguous name first; else the name that no mesh got past, with the candidates of
    all meshes."""
    for error in failures:
        if error.code != "unknown_recipient":
            return error
    worst = max(failures, key=lambda error: targets.index(str(error.data["target"])))
    lists = [error.data["candidates"] for error in failures]
    turns = zip_longest(*(names for names in lists if isinstance(names, list)))
    candidates = [*dict.fromkeys(name for turn in turns for name in turn if name is not None)]
    return MeshError("unknown_recipient", target=worst.data["target"], candidates=candidates[:MAX_CANDIDATES])


def _candidates(app: "App", wanted: str, session: Session | None) -> list[Mesh]:
    if session is not None:
        home = app.sessions.mesh_of(session)
        if home is None:
            raise MeshError("no_mesh")
        if wanted and wanted != home.slug:
            raise MeshError("not_allowed", why=f"this session is in {home.slug}; it may not send into {wanted}")
        meshes = [home]
    elif wanted or not app.node.meshes:
        meshes = [app.node.find_mesh(wanted)]
    else:
        meshes = list(app.node.meshes.values())
    active = [mesh for mesh in meshes if mesh.active]
    if not active:
        raise MeshError("no_mesh") if not meshes else MeshError("not_allowed", why=f"{meshes[0].slug}: not let in yet")
    return active
