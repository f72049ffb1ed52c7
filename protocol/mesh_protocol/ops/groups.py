"""Groups of sessions: a session joins and leaves them, and everybody may write to them."""

from typing import Annotated

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, Tool, op
from mesh_protocol.ops.fields import MeshArg

GroupName = Annotated[
    str, msgspec.Meta(min_length=1, max_length=129, description="a path such as web/ui; @ in front is allowed")
]
SessionArg = Annotated[
    str, msgspec.Meta(max_length=128, description="which session of this machine; an agent's own if left out")
]


class GroupsAnswer(Answer, frozen=True):
    """The groups that session `to` is in from now on, each as `name` or `name (role)`."""

    to: str
    groups: list[str]


@op(
    "group.join",
    answer=GroupsAnswer,
    tier=Tier.AGENT,
    audited=("name", "role", "session"),
    errors=("bad_group", "no_session"),
    tool=Tool(
        "join_group",
        "Join a group of sessions, so that what anybody sends to @NAME reaches you. Join the groups of the work you do, such "
        "as web/ui: what is sent to @web reaches it too. Calling it again changes your role. It outlasts restarts.",
        hidden=frozenset({"session"}),
    ),
    command=Command("group join", args=("name",)),
)
class JoinGroup(Request, frozen=True):
    """Put a session into a group; once more changes its role there."""

    name: GroupName
    role: Annotated[
        str, msgspec.Meta(max_length=64, description="free text, such as lead, member, observer; peers see it")
    ] = ""
    session: SessionArg = ""


@op(
    "group.leave",
    answer=GroupsAnswer,
    tier=Tier.AGENT,
    audited=("name", "session"),
    errors=("bad_group", "not_found", "no_session"),
    tool=Tool(
        "leave_group",
        "Leave a group that you joined with join_group: what is sent to @NAME does not reach you any more.",
        hidden=frozenset({"session"}),
    ),
    command=Command("group leave", args=("name",)),
)
class LeaveGroup(Request, frozen=True):
    """Take a session out of a group."""

    name: GroupName
    session: SessionArg = ""


class GroupRow(Answer, frozen=True):
    """A session in a group. `group` with @ in front is the address of all in it; `to` is the session's own.

    `online` says that its machine was heard of lately; `as_of_ms` (epoch ms by its own clock) until when its groups are
    known, 0 for a session of this machine, which is always known.
    """

    group: str
    role: str
    to: str
    me: bool
    online: bool
    as_of_ms: int
    mesh: str


class GroupListAnswer(Answer, frozen=True):
    """By group. `more` says that there are more rows than one answer holds."""

    members: list[GroupRow]
    more: bool


@op(
    "group.list",
    answer=GroupListAnswer,
    tier=Tier.AGENT,
    errors=("unknown_mesh", "no_mesh", "no_session"),
    drops_unknown=True,
    command=Command("group list", rows="members", columns=("group", "to", "role", "online", "as_of_ms")),
)
class ListGroups(Request, frozen=True):
    """List the groups of the mesh and the sessions in them."""

    mesh: MeshArg = ""
    session: Annotated[
        str, msgspec.Meta(max_length=128, description="only the groups of this session of this machine")
    ] = ""
