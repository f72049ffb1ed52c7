"""Leaving a mesh: what it means here, and doing it."""

from typing import Annotated

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op
from mesh_protocol.ops.fields import Seconds

Which = Annotated[str, msgspec.Meta(max_length=64, description="which mesh, by its local name, if there are several")]
LEAVE_ERRORS = ("unknown_mesh", "ambiguous_mesh", "no_mesh")


class TermsAnswer(Answer, frozen=True):
    """What leaving means on this machine.

    `how`: asked (one of `askable`, by name, signs it), alone (nobody else is in the mesh: it ends here), waiting (this
    machine was not let in yet), out (it was removed), leaving (that was said already). `unread` of `messages` received
    ones are not read, `queued` are not sent; all are deleted. `stays`: other machines of the same member stay in.
    `returns`: another invite may let this machine in again. `recovery_key`: as in the status of the mesh.
    """

    mesh: str
    how: str
    askable: list[str]
    messages: int
    unread: int
    queued: int
    stays: int
    returns: bool
    recovery_key: str


@op("leave.terms", answer=TermsAnswer, tier=Tier.USER, errors=LEAVE_ERRORS)
class Terms(Request, frozen=True):
    """Say what leaving a mesh would mean here; changes nothing."""

    mesh: Which = ""


class Left(Answer, frozen=True):
    """`state`: left (it is gone from here), or leaving (its keys and messages are gone; `told` machines were written to,
    and the rest goes when one of them has signed it). `forgotten`: it was dropped and nobody was told."""

    mesh: str
    id: str
    state: str
    told: int
    forgotten: bool


@op(
    "mesh.leave",
    answer=Left,
    tier=Tier.USER,
    guarded=True,
    audited=("mesh", "forget"),
    errors=LEAVE_ERRORS,
    command=Command("leave", args=("mesh",), flags={"wait_s": "--wait"}),
)
class Leave(Request, frozen=True):
    """Leave a mesh: its keys and messages are deleted here, and somebody who may signs that this machine is out."""

    mesh: Which = ""
    forget: Annotated[
        bool,
        msgspec.Meta(description="drop it here at once and tell nobody: the others go on listing this machine"),
    ] = False
    wait_s: Annotated[Seconds, msgspec.Meta(description="seconds to wait until it is signed")] = 10.0
