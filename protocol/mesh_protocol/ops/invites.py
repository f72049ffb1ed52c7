"""Invites: making them, seeing who came and who waits, closing them, and saying yes or no to who waits."""

from typing import Annotated, Literal

import msgspec

from mesh_protocol.chain_bodies import MAX_INVITE_USES
from mesh_protocol.op import Answer, Command, Request, Tier, op
from mesh_protocol.ops.fields import Id, MeshArg
from mesh_protocol.ops.members import CHANGE_ERRORS

InviteId = Annotated[Id, msgspec.Meta(description="the beginning of the invite's id, see mesh invites")]
Who = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=64, description="the name of who waits, or the beginning of his device's id"),
]


class InviteAnswer(Answer, frozen=True):
    """`url` admits `uses` times until `expires_ms` (Unix epoch, milliseconds). Whoever has it can join: send it privately.

    With `approve` a person says yes to each. `qr` is the link as lines of blocks, dark on light, where it was asked for.
    """

    id: str
    mesh: str
    url: str
    role: str
    uses: int
    approve: bool
    expires_ms: int
    qr: str


@op(
    "mesh.invite",
    answer=InviteAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=("role", "uses", "expires_s", "approve"),
    errors=(*CHANGE_ERRORS, "invites_spent", "mesh_local_only", "not_allowed"),
    command=Command("invite", flags={"expires_s": "--expires"}),
)
class Invite(Request, frozen=True):
    """Make a link that lets others join: one machine, or as many as you say."""

    mesh: MeshArg = ""
    role: Annotated[
        Literal["member", "admin", "owner"], msgspec.Meta(description="the newcomer's role, at most your own")
    ] = "member"
    uses: Annotated[int, msgspec.Meta(ge=1, le=MAX_INVITE_USES, description="how many machines it lets in")] = 1
    expires_s: Annotated[
        int, msgspec.Meta(ge=60, le=86_400, description="seconds until the link stops working, at most a day")
    ] = 86_400
    approve: Annotated[
        bool, msgspec.Meta(description="let nobody in before a person said yes (mesh invite approve)")
    ] = False
    qr: Annotated[bool, msgspec.Meta(description="also as a QR code")] = False


class InviteRow(Answer, frozen=True):
    """`state` is open, expired, used or closed; `opener` made it. `joined` came in by it, `waiting` ask to."""

    id: str
    mesh: str
    role: str
    state: str
    uses: int
    uses_left: int
    expires_ms: int
    approve: bool
    opener: str
    joined: list[str]
    waiting: list[str]


class JoinerRow(Answer, frozen=True):
    """A machine that waits for a person's yes. `name` is what it calls itself; `why` is approve or expired.

    `since_ms` is when this machine first heard of it.
    """

    name: str
    device: str
    mesh: str
    invite: str
    role: str
    why: str
    since_ms: int


class InvitesAnswer(Answer, frozen=True):
    """Newest first; `more` says that there are others. `waiting` is known to machines that may let in, and only to them."""

    invites: list[InviteRow]
    waiting: list[JoinerRow]
    more: bool


@op(
    "invite.list",
    answer=InvitesAnswer,
    tier=Tier.AGENT,
    drops_unknown=True,
    errors=("unknown_mesh", "no_mesh"),
    command=Command("invites"),
)
class ListInvites(Request, frozen=True):
    """List the invites of a mesh, who came in by them, and who waits to be let in."""

    mesh: MeshArg = ""
    all: Annotated[bool, msgspec.Meta(description="also those that are used up, closed or expired")] = False


class InviteClosed(Answer, frozen=True):
    """It lets nobody in any more; `turned_away` waited under it."""

    id: str
    mesh: str
    state: str
    turned_away: int


@op(
    "invite.close",
    answer=InviteClosed,
    tier=Tier.USER,
    guarded=True,
    audited=("invite",),
    errors=(*CHANGE_ERRORS, "not_found"),
    command=Command("invite close", args=("invite",)),
)
class CloseInvite(Request, frozen=True):
    """Close an invite: its link lets nobody in any more."""

    invite: InviteId
    mesh: MeshArg = ""


class JoinerAnswer(Answer, frozen=True):
    """`state` is joined or denied."""

    name: str
    device: str
    mesh: str
    state: str


@op(
    "invite.approve",
    answer=JoinerAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=("who",),
    errors=(*CHANGE_ERRORS, "not_found", "ambiguous_id"),
    command=Command("invite approve", args=("who",)),
)
class Approve(Request, frozen=True):
    """Let in a machine that waits for it."""

    who: Who
    mesh: MeshArg = ""


@op(
    "invite.deny",
    answer=JoinerAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=("who",),
    errors=(*CHANGE_ERRORS, "not_found", "ambiguous_id"),
    command=Command("invite deny", args=("who",)),
)
class Deny(Request, frozen=True):
    """Turn away a machine that waits; its invite stays open for others until mesh invite close."""

    who: Who
    mesh: MeshArg = ""
