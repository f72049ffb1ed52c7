"""Comparing keys: that a peer is who he seems to be, and that nobody sits between."""

from typing import Annotated

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op
from mesh_protocol.ops.fields import MeshArg, Name

ERRORS = ("unknown_mesh", "no_mesh", "unknown_recipient")


class KeyChangeRow(Answer, frozen=True):
    """A device that `came` or went since the keys were compared, and whose device signed that."""

    device: str
    came: bool
    signed_by: str


class Verification(Answer, frozen=True):
    """`digits` are twelve groups of five, the same at both ends; `code` holds more than they show, for a QR code.

    `state` is verified, changed, or empty where nobody compared. `qr` is that code as lines of blocks, dark on light.
    `verified_ms`: when it was last compared (Unix epoch milliseconds), 0 for never.
    """

    peer: str
    mesh: str
    state: str
    digits: str
    code: str
    qr: str
    verified_ms: int
    changes: list[KeyChangeRow]


@op(
    "verify.show",
    answer=Verification,
    tier=Tier.USER,
    guarded=True,
    errors=ERRORS,
    command=Command("verify", args=("peer",)),
)
class ShowNumber(Request, frozen=True):
    """Show the 60 digits that you and a peer must both see, and whether his keys changed since you compared them."""

    peer: Name
    mesh: MeshArg = ""


class VerifiedAnswer(Answer, frozen=True):
    """The peer's keys are pinned as they are."""

    peer: str
    mesh: str
    state: str


@op(
    "verify.confirm",
    answer=VerifiedAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=("peer",),
    errors=(*ERRORS, "number_differs"),
)
class ConfirmNumber(Request, frozen=True):
    """Pin a peer's keys as verified; `number` is what was compared, as digits or as the code that was scanned."""

    peer: Name
    number: Annotated[str, msgspec.Meta(min_length=60, max_length=128)]
    mesh: MeshArg = ""
