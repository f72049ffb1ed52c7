"""Who is in the mesh, and what each session does."""

from typing import Annotated

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, Tool, op
from mesh_protocol.ops.fields import MeshArg, Status


class PeerRow(Answer, frozen=True):
    """A person, or one session of a person. `to` is the address that reaches it with send_message.

    `kind` is human for a person, ai for a session. `online` means heard within the lease of 90 s; `last_seen_ms` and
    `since_ms` are Unix epoch milliseconds by this machine's clock, 0 for never heard. `groups` are those a session is in,
    each as `name` or `name (role)`.
    """

    to: str
    kind: str
    mesh: str
    me: bool
    online: bool
    status: str
    since_ms: int
    summary: str
    last_seen_ms: int
    role: str
    title: str
    cwd: str
    device: str
    groups: list[str] = []
    mode: str = ""
    """Of a session of this machine that is not pushed its messages: inbox or off."""
    verified: str = ""
    """verified or changed, where the person compared the keys of whom it is."""


class PeersAnswer(Answer, frozen=True):
    """`more` says that the mesh has more rows than one answer holds; the first ones in chain order are here."""

    peers: list[PeerRow]
    more: bool


@op(
    "peer.list",
    answer=PeersAnswer,
    tier=Tier.STATUS,
    errors=("unknown_mesh", "no_mesh", "bad_group"),
    drops_unknown=True,
    tool=Tool(
        "list_peers",
        "List the people and agent sessions you can reach, with what each is doing now. Call it before send_message when "
        "you are not sure of a name, and to see who is idle, working or away. `to` in each row is the address to send to; "
        "@GROUP reaches all sessions that have GROUP, or one below it, among their groups.",
        read_only=True,
    ),
    command=Command("peers", rows="peers", columns=("to", "status", "mode", "online", "groups", "verified", "summary")),
    texts="peers[].summary",
)
class ListPeers(Request, frozen=True):
    """List people and sessions of the mesh."""

    mesh: MeshArg = ""
    group: Annotated[
        str, msgspec.Meta(max_length=129, description="only the sessions in this group and in those below it")
    ] = ""


class PresenceAnswer(Answer, frozen=True):
    """The caller's presence as peers see it from now on."""

    to: str
    status: str
    summary: str
    visible: bool


@op(
    "presence.summary",
    answer=PresenceAnswer,
    tier=Tier.AGENT,
    errors=("no_session",),
    tool=Tool(
        "set_summary",
        "Tell your peers in one or two sentences what you are working on. Call it when you start on something new, so that "
        "others know whom to ask and do not do the same work twice.",
    ),
)
class SetSummary(Request, frozen=True):
    """Say in a sentence or two what this session works on."""

    summary: Annotated[str, msgspec.Meta(max_length=500, description="one or two sentences on the current work")]


@op(
    "presence.status",
    answer=PresenceAnswer,
    tier=Tier.AGENT,
    errors=("no_session",),
    tool=Tool(
        "set_status",
        "Set your status by hand. Usually it is known without you; use dnd when you must not be interrupted (messages then "
        "wait), and idle to end dnd.",
    ),
)
class SetStatus(Request, frozen=True):
    """Set this session's status by hand."""

    status: Annotated[Status, msgspec.Meta(description="idle, working, or dnd: do not disturb, until you set another")]


@op(
    "presence.visible",
    answer=PresenceAnswer,
    tier=Tier.AGENT,
    errors=("no_session",),
    tool=Tool(
        "set_visible",
        "Hide this session from lists and broadcasts, or show it again. Direct messages still arrive while hidden.",
    ),
)
class SetVisible(Request, frozen=True):
    """Show or hide this session in lists and broadcasts."""

    visible: Annotated[bool, msgspec.Meta(description="false hides the session")]


@op(
    "presence.profile",
    answer=PresenceAnswer,
    tier=Tier.AGENT,
    errors=("no_session", "bad_name"),
    tool=Tool(
        "set_profile",
        "Set how this session introduces itself to peers: a short name to be addressed by, its role, and what it can do. "
        "It is kept across restarts. Fields you leave out stay as they are.",
    ),
)
class SetProfile(Request, frozen=True):
    """Set how this session introduces itself; kept across restarts."""

    name: Annotated[
        str, msgspec.Meta(max_length=32, description="the session's name: peers address it as PERSON/NAME")
    ] = ""
    role: Annotated[str, msgspec.Meta(max_length=64, description="such as lead, reviewer, tester")] = ""
    avatar: Annotated[str, msgspec.Meta(max_length=16, description="an emoji")] = ""
    title: Annotated[str, msgspec.Meta(max_length=100)] = ""
    bio: Annotated[str, msgspec.Meta(max_length=300)] = ""
    capabilities: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=40)]],
        msgspec.Meta(max_length=10, description="what it can do for others"),
    ] = []
