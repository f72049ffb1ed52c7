"""Whose messages may go to the sessions of this machine, and what is held back from them."""

from typing import Annotated, Literal

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op
from mesh_protocol.ops.budgets import HeldRow as BudgetHeld
from mesh_protocol.ops.fields import Id, Limit, MeshArg, Name


class TrustState(Answer, frozen=True):
    """What is decided of a person. `released` counts the messages that were held until now."""

    peer: str
    mesh: str
    policy: str
    released: int = 0


@op(
    "trust.set",
    answer=TrustState,
    tier=Tier.USER,
    guarded=True,
    audited=("policy", "peer"),
    errors=("unknown_mesh", "no_mesh", "unknown_recipient"),
    command=Command("trust", args=("policy", "peer")),
)
class SetTrust(Request, frozen=True):
    """Decide what becomes of a person's messages here: shown to your sessions, held until you let them in, or refused.

    It holds on your machines and from now on; `allow` also lets in what was held of him.
    """

    policy: Annotated[
        Literal["allow", "hold", "refuse"],
        msgspec.Meta(description="allow: they are shown; hold: they wait for mesh held release; refuse: not taken"),
    ]
    peer: Name
    mesh: MeshArg = ""


class TrustAnswer(Answer, frozen=True):
    """Everybody whose messages are held or refused; `more` says that there are others."""

    peers: list[TrustState]
    more: bool


@op(
    "trust.list",
    answer=TrustAnswer,
    tier=Tier.AGENT,
    drops_unknown=True,
    command=Command("trust list", rows="peers", columns=("peer", "mesh", "policy")),
)
class ListTrust(Request, frozen=True):
    """List whose messages are held or refused here; all others are allowed."""


class HeldRow(Answer, frozen=True):
    """A message that no session was given. `message` is its beginning; `to` the session it is for, empty for the person.

    `verified` as in the inbox.
    """

    id: str
    sender: str
    to: str
    mesh: str
    since_ms: int
    message: str
    verified: str = ""


class HeldAnswer(Answer, frozen=True):
    """The oldest first; `more` says that there are others. `budgets` are the requests that wait because one is used up."""

    held: list[HeldRow]
    more: bool
    budgets: list[BudgetHeld]


@op(
    "trust.held",
    answer=HeldAnswer,
    tier=Tier.USER,
    guarded=True,
    drops_unknown=True,
    command=Command("held", rows="held", columns=("id", "sender", "verified", "to", "message")),
    texts="held[].message",
)
class ListHeld(Request, frozen=True):
    """List what waits for your word: messages held back from your sessions, and requests that a budget holds."""

    limit: Annotated[Limit, msgspec.Meta(description="how many at most")] = 50


class ReleaseAnswer(Answer, frozen=True):
    """`id` in full."""

    id: str
    sender: str


@op(
    "trust.release",
    answer=ReleaseAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=("id",),
    errors=("not_found", "ambiguous_id"),
    command=Command("held release", args=("id",)),
)
class Release(Request, frozen=True):
    """Let a held message go to the session it is for."""

    id: Annotated[Id, msgspec.Meta(description="the message's id, or its first 8 characters or more")]
