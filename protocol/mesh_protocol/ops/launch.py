"""Starting an agent session as a member of the mesh: how it is to be known, said before it is there."""

from typing import Annotated, Literal

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op
from mesh_protocol.ops.fields import MeshArg


class TemplateRow(Answer, frozen=True):
    """A kind of team. Its sessions join `groups`; of `roles` the first is taken where none is named; `facts` are what they
    tell each other when it changes.
    """

    template: str
    about: str
    groups: list[str]
    roles: list[str]
    facts: list[str]


class TemplatesAnswer(Answer, frozen=True):
    """All there are."""

    templates: list[TemplateRow]


@op(
    "launch.templates",
    answer=TemplatesAnswer,
    tier=Tier.AGENT,
    drops_unknown=True,
    command=Command("templates", rows="templates", columns=("template", "groups", "roles", "about")),
)
class ListTemplates(Request, frozen=True):
    """List the templates of mesh launch: groups to be in, and what an agent is told of the team's ways."""


class LaunchAnswer(Answer, frozen=True):
    """How the session will be known. `name` is empty where its folder's or its former name stays; `groups` are those it
    joins, each as `name` or `name (role)`; `mesh` is the one it will be in, empty where there is none yet. `announced` is
    false on a system whose processes the daemon cannot look at: then none of this takes effect.
    """

    name: str
    role: str
    groups: list[str]
    mesh: str
    mode: str
    template: str
    announced: bool


@op(
    "launch.prepare",
    answer=LaunchAnswer,
    tier=Tier.AGENT,
    errors=("bad_name", "bad_group", "unknown_mesh", "no_mesh", "not_found"),
)
class PrepareLaunch(Request, frozen=True):
    """Say how the agent is to be known that the calling process turns into, or that it starts.

    It holds for the next session that registers as this process (pid and start time) or as one that descends from it with
    no other agent in between, once; and no longer than the process lives.
    """

    name: Annotated[str, msgspec.Meta(max_length=32, description="its name; default: its folder's")] = ""
    role: Annotated[str, msgspec.Meta(max_length=64, description="such as lead, reviewer, tester; peers see it")] = ""
    groups: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=129)]],
        msgspec.Meta(max_length=16, description="groups to join; default: the template's"),
    ] = []
    mesh: MeshArg = ""
    mode: Annotated[
        Literal["keep", "push", "inbox", "off"],
        msgspec.Meta(description="how it gets its messages; keep: as before, which is push for a new session"),
    ] = "keep"
    template: Annotated[str, msgspec.Meta(max_length=32, description="one of launch.templates; empty: none")] = ""
