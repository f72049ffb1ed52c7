"""Launching: templates, and what is announced of a session that is about to start."""

from mesh_protocol.names import check_name
from mesh_protocol.ops.launch import LaunchAnswer, ListTemplates, PrepareLaunch, TemplateRow, TemplatesAnswer
from mesh_protocol.pae import BadEncoding
from mesh_protocol.wire.errors import MeshError
from meshd.families.groups import group_name, show_group
from meshd.local.dispatch import Call, handles
from meshd.store.launches import Wish
from meshd.templates import TEMPLATES, Template


@handles(ListTemplates)
async def list_templates(call: Call, request: ListTemplates) -> TemplatesAnswer:
    return TemplatesAnswer(
        templates=[
            TemplateRow(
                template=each.name,
                about=each.about,
                groups=[*each.groups],
                roles=[*each.roles],
                facts=[*each.facts],
            )
            for each in TEMPLATES.values()
        ]
    )


@handles(PrepareLaunch)
async def prepare_launch(call: Call, request: PrepareLaunch) -> LaunchAnswer:
    app = call.app
    template = _template(request.template)
    role = request.role.strip()
    groups = request.groups
    if template is not None:
        role = template.role_for(role)
        groups = groups or [*template.groups_for(role)]
    mesh = app.node.find_mesh(request.mesh) if request.mesh or app.node.meshes else None
    wish = Wish(
        name=_name(request.name),
        role=role,
        groups=tuple((group_name(each), role) for each in groups),
        mesh=request.mesh,
        mode=request.mode,
        template=request.template,
    )
    launcher = app.processes.look(call.caller.pid)
    if launcher is not None:
        await app.launches.announce(launcher, wish)
    elif app.processes.supported:
        raise MeshError("not_allowed", why="the daemon cannot see this process: start claude by itself, without mesh")
    return LaunchAnswer(
        name=wish.name,
        role=wish.role,
        groups=[show_group(group) for group in wish.group_roles()],
        mesh=mesh.slug if mesh is not None else "",
        mode=wish.mode,
        template=wish.template,
        announced=launcher is not None,
    )


def _name(typed: str) -> str:
    if not typed:
        return ""
    try:
        return check_name(typed)
    except BadEncoding:
        raise MeshError("bad_name", name=typed) from None


def _template(name: str) -> Template | None:
    if not name:
        return None
    if name not in TEMPLATES:
        raise MeshError("not_found", what="template", id=f"{name}: mesh templates lists them")
    return TEMPLATES[name]
