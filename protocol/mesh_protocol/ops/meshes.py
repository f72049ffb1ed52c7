"""Meshes: making one, joining, listing."""

from typing import Annotated

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op
from mesh_protocol.ops.fields import Seconds


class NewAnswer(Answer, frozen=True):
    """`id` is the mesh's id in hex; `mesh` its name on this machine; `broker` its URL, `local:` for the embedded one."""

    id: str
    mesh: str
    me: str
    broker: str


@op(
    "mesh.new",
    answer=NewAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=("name", "me"),
    errors=("bad_name", "broker_unreachable", "broker_refused", "admission_needed"),
    command=Command("new", args=("name",), flags={"me": "--name"}),
)
class New(Request, frozen=True):
    """Make a new mesh with this machine as its first member."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64, description="the mesh's name")]
    me: Annotated[str, msgspec.Meta(max_length=64, description="your name in it; default: your login name")] = ""
    broker: Annotated[
        str,
        msgspec.Meta(
            max_length=2048, description="the broker, ws://HOST:PORT or wss://HOST[#TOKEN]; default: only this machine"
        ),
    ] = ""


class JoinAnswer(Answer, frozen=True):
    """`state` is joined, or pending while nobody who may admit is online or has said yes; the daemon goes on by itself.

    `waiting_for` says who that is, empty once joined.
    """

    id: str
    mesh: str
    me: str
    state: str
    waiting_for: str


@op(
    "mesh.join",
    answer=JoinAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=("me",),
    errors=(
        "bad_invite",
        "bad_name",
        "invite_unknown",
        "invite_used",
        "invite_expired",
        "invite_closed",
        "invite_denied",
        "already_member",
        "broker_unreachable",
        "broker_refused",
        "unknown_on_broker",
        "chain_invalid",
    ),
    command=Command("join", args=("url",), flags={"me": "--name", "wait_s": "--wait"}),
)
class Join(Request, frozen=True):
    """Join a mesh by an invite link."""

    url: Annotated[
        str, msgspec.Meta(min_length=1, max_length=2048, description="the link; - reads it from standard input")
    ]
    me: Annotated[str, msgspec.Meta(max_length=64, description="your name in it; default: your login name")] = ""
    wait_s: Annotated[Seconds, msgspec.Meta(description="seconds to wait for being let in")] = 10.0


class MeshRow(Answer, frozen=True):
    """`default` marks the mesh that commands use when none is named."""

    mesh: str
    id: str
    name: str
    me: str
    state: str
    link: str
    members: int
    online: int
    broker: str
    default: bool


class ListAnswer(Answer, frozen=True):
    meshes: list[MeshRow]


@op(
    "mesh.list",
    answer=ListAnswer,
    tier=Tier.STATUS,
    drops_unknown=True,
    command=Command("list", rows="meshes", columns=("mesh", "me", "state", "link", "members", "online", "broker")),
)
class List(Request, frozen=True):
    """List the meshes of this machine."""
