"""What a member may do in a mesh, beside his role; and what this person lets a peer do here."""

from typing import Annotated, Literal, TypeAlias

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op
from mesh_protocol.ops.fields import MeshArg, Name
from mesh_protocol.ops.members import CHANGE_ERRORS, Member

Permission: TypeAlias = Literal[
    "delete_mesh",
    "deploy_mcp",
    "invite",
    "manage_files",
    "manage_permissions",
    "manage_vault",
    "manage_watches",
    "manage_webhooks",
    "send",
    "use_tools",
    "write_state",
]
Grant: TypeAlias = Literal["read", "dm", "broadcast"]
Permissions = Annotated[
    list[Permission],
    msgspec.Meta(min_length=1, max_length=11, description="what he may do; those of mesh member rights"),
]
Grants = Annotated[
    list[Grant],
    msgspec.Meta(
        min_length=1,
        max_length=3,
        description="read: see your sessions; dm: write to you by name; broadcast: to a group or to all",
    ),
]
PEER_ERRORS = ("unknown_mesh", "no_mesh", "unknown_recipient")


class MemberRights(Answer, frozen=True):
    """What a member may do. `own` says that this is other than his role's; `signer` that a device of his may sign for the
    mesh, which inviting, admitting and removing need. `closed_invites` ended with a change, because he may invite no more."""

    member: str
    id: str
    mesh: str
    role: str
    permissions: list[str]
    own: bool
    signer: bool
    closed_invites: list[str] = []


@op(
    "member.allow",
    answer=MemberRights,
    tier=Tier.USER,
    guarded=True,
    audited=("peer", "keys"),
    errors=(*CHANGE_ERRORS, "unknown_recipient"),
    command=Command("member allow", args=("peer", "keys")),
)
class AllowMember(Request, frozen=True):
    """Let a member do more than his role says. A new role ends it. Nobody gives what he may not do himself."""

    peer: Member
    keys: Permissions
    mesh: MeshArg = ""


@op(
    "member.deny",
    answer=MemberRights,
    tier=Tier.USER,
    guarded=True,
    audited=("peer", "keys"),
    errors=(*CHANGE_ERRORS, "unknown_recipient"),
    command=Command("member deny", args=("peer", "keys")),
)
class DenyMember(Request, frozen=True):
    """Take from a member some of what his role lets him do. An owner may do everything.

    Without `send` nobody takes his messages; without `invite` his open invites are closed.
    """

    peer: Member
    keys: Permissions
    mesh: MeshArg = ""


class RightsAnswer(Answer, frozen=True):
    """`more` says that there are others."""

    members: list[MemberRights]
    more: bool


@op(
    "member.rights",
    answer=RightsAnswer,
    tier=Tier.AGENT,
    drops_unknown=True,
    errors=("unknown_mesh", "no_mesh"),
    command=Command("member rights", rows="members", columns=("member", "role", "own", "signer", "permissions")),
)
class ListRights(Request, frozen=True):
    """List what each member of a mesh may do."""

    mesh: MeshArg = ""


class GrantRow(Answer, frozen=True):
    """What this person lets a peer do here. `policy` is allow, hold, refuse (mesh trust) or block; `grants` is what the
    peer has of read, dm and broadcast."""

    peer: str
    mesh: str
    policy: str
    grants: list[str]


@op(
    "grant.give",
    answer=GrantRow,
    tier=Tier.USER,
    guarded=True,
    audited=("peer", "keys"),
    errors=PEER_ERRORS,
    command=Command("grant", args=("peer", "keys")),
)
class GiveGrants(Request, frozen=True):
    """Give a peer back what was taken with mesh revoke. Everybody has all of it at first."""

    peer: Name
    keys: Grants
    mesh: MeshArg = ""


@op(
    "grant.take",
    answer=GrantRow,
    tier=Tier.USER,
    guarded=True,
    audited=("peer", "keys"),
    errors=PEER_ERRORS,
    command=Command("revoke", args=("peer", "keys")),
)
class TakeGrants(Request, frozen=True):
    """Let a peer not see your sessions, or take no more direct messages of his, or none to a group or to everybody.

    Of a message he is told so, one by one; a peer who is to notice nothing is blocked. It holds on your machines, from now on.
    """

    peer: Name
    keys: Grants
    mesh: MeshArg = ""


@op(
    "grant.block",
    answer=GrantRow,
    tier=Tier.USER,
    guarded=True,
    audited=("peer",),
    errors=PEER_ERRORS,
    command=Command("block", args=("peer",)),
)
class Block(Request, frozen=True):
    """Show nobody here what a peer writes, and let him see nothing of it: his messages are stored and never shown.

    What he wrote and nobody has read is put away too, for good. It holds on all your machines.
    """

    peer: Name
    mesh: MeshArg = ""


@op(
    "grant.unblock",
    answer=GrantRow,
    tier=Tier.USER,
    guarded=True,
    audited=("peer",),
    errors=PEER_ERRORS,
    command=Command("unblock", args=("peer",)),
)
class Unblock(Request, frozen=True):
    """Show again what a peer writes from now on. What he wrote while he was blocked stays away."""

    peer: Name
    mesh: MeshArg = ""


class GrantsAnswer(Answer, frozen=True):
    """`more` says that there are others."""

    peers: list[GrantRow]
    more: bool


@op(
    "grant.list",
    answer=GrantsAnswer,
    tier=Tier.USER,
    guarded=True,
    drops_unknown=True,
    errors=PEER_ERRORS,
    command=Command("grants", args=("peer",), rows="peers", columns=("peer", "mesh", "policy", "grants")),
)
class ListGrants(Request, frozen=True):
    """List what this person lets each peer do here, or one peer."""

    peer: Annotated[str, msgspec.Meta(max_length=64, description="only this one")] = ""
    mesh: MeshArg = ""
