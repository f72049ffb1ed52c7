"""Members and their devices: who there is, taking somebody out, roles."""

from typing import Annotated, Literal

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op
from mesh_protocol.ops.fields import Id, Limit, MeshArg, Name, Seconds

CHANGE_ERRORS = ("unknown_mesh", "no_mesh", "broker_unreachable", "broker_refused", "timeout")
"""How any change of the membership may end, beside what a caller may not do."""

Member = Annotated[Name, msgspec.Meta(description="a member's name, or the beginning of his id")]
Wait = Annotated[Seconds, msgspec.Meta(description="seconds to wait until the other machines have confirmed it")]


class MemberRow(Answer, frozen=True):
    """`state` is member, removed or banned; `signer` says that a device of his may admit and remove."""

    member: str
    id: str
    mesh: str
    me: bool
    role: str
    state: str
    signer: bool
    devices: int


class MembersAnswer(Answer, frozen=True):
    """Members of now first; `more` says that there are others."""

    members: list[MemberRow]
    more: bool


@op(
    "member.list",
    answer=MembersAnswer,
    tier=Tier.AGENT,
    drops_unknown=True,
    errors=("unknown_mesh", "no_mesh"),
    command=Command(
        "member list", rows="members", columns=("member", "role", "state", "signer", "devices", "me", "id")
    ),
)
class ListMembers(Request, frozen=True):
    """List the members of a mesh, and those who were removed."""

    mesh: MeshArg = ""


class Removed(Answer, frozen=True):
    """The removal is in the chain: nothing that a machine writes once it holds it can be read by who was removed.

    `devices` went, `invites_closed` open invites ended with them (`invites` names them); `confirmed` machines hold the
    removal, `waiting` have not said so yet (mesh member removals says it later), `unsealed` could not be given the new key
    and ask for it.
    """

    id: str
    member: str
    mesh: str
    state: str
    epoch: int
    devices: int
    invites_closed: int
    invites: list[str]
    confirmed: int
    waiting: list[str]
    unsealed: list[str]


@op(
    "member.remove",
    answer=Removed,
    tier=Tier.USER,
    guarded=True,
    audited=("peer",),
    errors=(*CHANGE_ERRORS, "unknown_recipient"),
    command=Command("member remove", args=("peer",), flags={"wait_s": "--wait"}),
)
class RemoveMember(Request, frozen=True):
    """Remove a member with all his devices, begin a new key for those who stay, and close every open invite.

    Another invite may let him in again; mesh ban keeps his devices out.
    """

    peer: Member
    mesh: MeshArg = ""
    wait_s: Wait = 10.0


@op(
    "member.kick",
    answer=Removed,
    tier=Tier.USER,
    guarded=True,
    audited=("peer",),
    errors=(*CHANGE_ERRORS, "unknown_recipient"),
    command=Command("kick", args=("peer",), flags={"wait_s": "--wait"}),
)
class Kick(Request, frozen=True):
    """Remove a member, as mesh member remove does."""

    peer: Member
    mesh: MeshArg = ""
    wait_s: Wait = 10.0


@op(
    "member.ban",
    answer=Removed,
    tier=Tier.USER,
    guarded=True,
    audited=("peer",),
    errors=(*CHANGE_ERRORS, "unknown_recipient"),
    command=Command("ban", args=("peer",), flags={"wait_s": "--wait"}),
)
class Ban(Request, frozen=True):
    """Remove a member, and let none of his devices in again, whatever invite they bring; also who was removed before."""

    peer: Member
    mesh: MeshArg = ""
    wait_s: Wait = 10.0


class RemovalRow(Answer, frozen=True):
    """Somebody who was taken out: `id` a member's, or that of a revoked device; `record` where the chain says so.

    `state` is removed, banned or revoked; `confirmed` other machines hold it, `waiting` have not shown that they do.
    """

    member: str
    mesh: str
    id: str
    state: str
    record: int
    devices: int
    confirmed: int
    waiting: list[str]


class RemovalsAnswer(Answer, frozen=True):
    """The newest first; `more` says that there are others."""

    removals: list[RemovalRow]
    more: bool


@op(
    "member.removals",
    answer=RemovalsAnswer,
    tier=Tier.AGENT,
    drops_unknown=True,
    errors=("unknown_mesh", "no_mesh"),
    command=Command(
        "member removals", rows="removals", columns=("member", "state", "devices", "confirmed", "waiting", "id")
    ),
)
class ListRemovals(Request, frozen=True):
    """List who was taken out of a mesh, and which machines have not shown yet that they hold it."""

    mesh: MeshArg = ""
    limit: Limit = 20


class MemberState(Answer, frozen=True):
    """A member after a change; `state` as in the list. `closed_invites` ended with it, because his role allows them no more."""

    id: str
    member: str
    mesh: str
    role: str
    state: str
    closed_invites: list[str] = []


@op(
    "member.unban",
    answer=MemberState,
    tier=Tier.USER,
    guarded=True,
    audited=("peer",),
    errors=(*CHANGE_ERRORS, "unknown_recipient"),
    command=Command("unban", args=("peer",)),
)
class Unban(Request, frozen=True):
    """Let the devices of a banned member in again, if somebody invites them."""

    peer: Member
    mesh: MeshArg = ""


@op(
    "member.role",
    answer=MemberState,
    tier=Tier.USER,
    guarded=True,
    audited=("peer", "role"),
    errors=(*CHANGE_ERRORS, "unknown_recipient"),
    command=Command("role", args=("peer", "role")),
)
class SetRole(Request, frozen=True):
    """Give a member another role. The devices of owners and admins may invite, admit and remove; a member's may not."""

    peer: Member
    role: Annotated[
        Literal["owner", "admin", "member"],
        msgspec.Meta(description="owner: everything; admin: all but deleting the mesh; member: to send and use tools"),
    ]
    mesh: MeshArg = ""


class DeviceRow(Answer, frozen=True):
    """`mine` belongs to this person, `here` is this machine. `state` is active, removed or revoked.

    `seen_ms` is when it was last heard of, 0: not since this daemon's start; `added_ms` when this machine learnt of it, 0
    if it was there from the beginning. `added_by` is whose device signed it in: his name and the beginning of its id.
    """

    device: str
    member: str
    mesh: str
    mine: bool
    here: bool
    state: str
    signer: bool
    online: bool
    seen_ms: int
    added_ms: int
    added_by: str


class DevicesAnswer(Answer, frozen=True):
    """`more` says that there are others."""

    devices: list[DeviceRow]
    more: bool


@op(
    "device.list",
    answer=DevicesAnswer,
    tier=Tier.AGENT,
    drops_unknown=True,
    errors=("unknown_mesh", "no_mesh"),
    command=Command(
        "device list",
        rows="devices",
        columns=("device", "member", "mine", "here", "state", "signer", "online", "seen_ms", "added_ms", "added_by"),
    ),
)
class ListDevices(Request, frozen=True):
    """List the devices of a mesh's members."""

    mesh: MeshArg = ""


@op(
    "device.revoke",
    answer=Removed,
    tier=Tier.USER,
    guarded=True,
    audited=("device", "keep"),
    errors=(*CHANGE_ERRORS, "not_found"),
    command=Command("device revoke", args=("device",), flags={"wait_s": "--wait"}),
)
class RevokeDevice(Request, frozen=True):
    """Take one device out for good, and with it every device that it added; its member stays.

    Another device of the same member may do it, or whoever may remove him. This machine never goes along.
    """

    device: Annotated[Id, msgspec.Meta(description="the beginning of its id, see mesh device list")]
    keep: Annotated[
        list[Id], msgspec.Meta(max_length=64, description="devices that it added and that stay all the same")
    ] = []
    mesh: MeshArg = ""
    wait_s: Wait = 10.0
