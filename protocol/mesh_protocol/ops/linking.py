"""Linking another device of the same person: a link from the one to the other, four words on both, and a yes."""

from typing import Annotated

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op
from mesh_protocol.ops.fields import MeshArg, Seconds
from mesh_protocol.ops.members import CHANGE_ERRORS

AttemptId = Annotated[str, msgspec.Meta(min_length=16, max_length=16, pattern="^[0-9a-f]+$")]
ENDS = ("link_ended", "link_unknown", "link_used", "words_differ", "broker_unreachable")
"""How an attempt may fail, told to whoever asks about it."""


class Offer(Answer, frozen=True):
    """`url` lets one machine of yours ask to be linked, within `expires_ms`. Whoever has it can ask: show it to nobody else.

    `id` names the attempt on this machine; `qr` is the link as lines of blocks, dark on light.
    """

    id: str
    mesh: str
    url: str
    qr: str
    expires_ms: int


@op(
    "link.open",
    answer=Offer,
    tier=Tier.USER,
    guarded=True,
    audited=(),
    errors=(*CHANGE_ERRORS, "mesh_local_only", "link_ended"),
    command=Command("device link"),
)
class OpenLink(Request, frozen=True):
    """Link another machine of yours: show a link, then compare four words."""

    mesh: MeshArg = ""


class Step(Answer, frozen=True):
    """How far an attempt is. `state` is waiting, words, entering or done; `words` are the four to compare, once they are
    there. `device` is the other machine's; `mesh` the local name of the mesh, once it is known.
    """

    id: str
    mesh: str
    state: str
    words: list[str]
    device: str


@op(
    "link.join",
    answer=Step,
    tier=Tier.USER,
    guarded=True,
    audited=(),
    errors=("bad_link", "already_member"),
    command=Command("device join", args=("url",)),
)
class JoinLink(Request, frozen=True):
    """Link this machine to a mesh that another machine of yours is in, by the link that it shows."""

    url: Annotated[
        str, msgspec.Meta(min_length=1, max_length=2048, description="the link; - reads it from standard input")
    ]


@op("link.wait", answer=Step, tier=Tier.USER, guarded=True, errors=("not_found", *ENDS))
class WaitLink(Request, frozen=True):
    """Wait until an attempt is in another state than `seen`; one that nobody asks about is given up."""

    id: AttemptId
    seen: Annotated[str, msgspec.Meta(max_length=16)] = ""
    wait_s: Seconds = 10.0


@op(
    "link.confirm",
    answer=Step,
    tier=Tier.USER,
    guarded=True,
    audited=("same",),
    errors=("not_found", "link_ended", "words_differ"),
)
class ConfirmLink(Request, frozen=True):
    """Say whether the other machine shows the same words; with yes it is signed in."""

    id: AttemptId
    same: bool
    wait_s: Seconds = 30.0


@op("link.end", answer=Step, tier=Tier.USER, guarded=True, audited=(), errors=("not_found",))
class EndLink(Request, frozen=True):
    """Give an attempt up; the other machine is told, and nothing is left of it."""

    id: AttemptId
