"""A mesh that is frozen between several histories of its membership, and the person's word which of them counts."""

from typing import Annotated

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op
from mesh_protocol.ops.fields import MeshArg
from mesh_protocol.ops.members import CHANGE_ERRORS


class HeadRow(Answer, frozen=True):
    """One history. `head` and `seq` name its last record; `records` are those that are in no other one, from `first_seq` on,
    the first of them of type `first` and signed by `signed_by`. `may` says that this machine's key can choose it; `lost`
    names who is a member in another history only."""

    head: str
    seq: int
    records: int
    first_seq: int
    first: str
    signed_by: str
    here: bool
    may: bool
    members: int
    lost: list[str]


class HeadsAnswer(Answer, frozen=True):
    """No heads: the mesh has one history. `common` is the last record that all of them have."""

    mesh: str
    common: int
    heads: list[HeadRow]
    more: bool


@op(
    "resolve.list",
    answer=HeadsAnswer,
    tier=Tier.AGENT,
    drops_unknown=True,
    errors=("unknown_mesh", "no_mesh"),
)
class ListHeads(Request, frozen=True):
    """Show the histories between which a mesh is frozen."""

    mesh: MeshArg = ""


class ResolveAnswer(Answer, frozen=True):
    """The fork has ended. `signed_by` is this machine or the recovery key; members of `lost` need a new invite; devices of
    `unsealed` got no new key and ask for it."""

    mesh: str
    head: str
    seq: int
    signed_by: str
    members: int
    lost: list[str]
    unsealed: list[str]


@op(
    "resolve.choose",
    answer=ResolveAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=("head",),
    errors=(*CHANGE_ERRORS, "not_found", "ambiguous_id"),
    command=Command("resolve", args=("head",), hidden=frozenset({"recovery"})),
    payload="recovery",
)
class Choose(Request, frozen=True):
    """Say which history of a mesh counts, when its broker has signed two. Without a head: show them.

    Nothing is sent before. Whoever joined in another history only is out, and is named.
    """

    head: Annotated[
        str, msgspec.Meta(max_length=64, pattern="^[0-9a-f]*$", description="the beginning of the head to keep")
    ] = ""
    recovery: Annotated[str, msgspec.Meta(max_length=1024)] = ""
    """The recovery key in its printed form, where this machine's own key may not choose."""
    mesh: MeshArg = ""
