"""The guard: a passphrase that the guarded verbs ask for, and tokens that stand for it in scripts."""

from typing import Annotated

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op
from mesh_protocol.ops.fields import Id, Name

TOKENS = 20
"""Tokens there may be."""
Passphrase = Annotated[str, msgspec.Meta(min_length=8, max_length=1_024)]
TRY_ERRORS = ("wrong_passphrase", "bad_token", "keys_unavailable")


class GuardState(Answer, frozen=True):
    """Whether the guard is on, since when, and how many tokens there are."""

    on: bool
    since_ms: int
    tokens: int


@op("guard.status", answer=GuardState, tier=Tier.AGENT, drops_unknown=True, command=Command("guard status"))
class ShowGuard(Request, frozen=True):
    """Say whether the guarded commands ask for a passphrase."""


@op(
    "guard.on",
    answer=GuardState,
    tier=Tier.USER,
    guarded=True,
    audited=(),
    errors=("keys_unavailable",),
    command=Command("guard on", hidden=frozenset({"passphrase"})),
)
class SwitchGuardOn(Request, frozen=True):
    """Let every guarded command ask for a passphrase, which is typed on the terminal. If the guard is on, another one."""

    passphrase: Passphrase


@op("guard.off", answer=GuardState, tier=Tier.USER, guarded=True, audited=(), command=Command("guard off"))
class SwitchGuardOff(Request, frozen=True):
    """Ask for no passphrase any more, and forget all tokens. Needs the passphrase; a token does not do."""


class Opened(Answer, frozen=True):
    """This connection may use the guarded verbs now. `token` is the id of the one that was given, empty for a passphrase."""

    token: str


@op("guard.open", answer=Opened, tier=Tier.USER, guarded=True, audited=(), errors=(*TRY_ERRORS, "service_off"))
class OpenGuard(Request, frozen=True):
    """Prove to the guard who is calling, for this connection: by the passphrase or by a token."""

    passphrase: Annotated[str, msgspec.Meta(max_length=1_024)] = ""
    token: Annotated[str, msgspec.Meta(max_length=128)] = ""


class NewToken(Answer, frozen=True):
    """`token` is said this once."""

    id: str
    name: str
    token: str
    expires_ms: int


@op(
    "token.create",
    answer=NewToken,
    tier=Tier.USER,
    guarded=True,
    audited=("name", "days"),
    errors=("service_off", "too_many"),
    command=Command("token create", args=("name",)),
)
class CreateToken(Request, frozen=True):
    """Make a token with which a script may use the guarded commands; it is shown once. Needs the passphrase.

    The script names the file that holds it in MESH_TOKEN_FILE.
    """

    name: Annotated[Name, msgspec.Meta(description="what it is for, as the list shows it")]
    days: Annotated[int, msgspec.Meta(ge=1, le=3_650, description="how long it is good")] = 90


class TokenRow(Answer, frozen=True):
    """`used_ms` is when it was last given, 0 for never."""

    id: str
    name: str
    made_ms: int
    expires_ms: int
    used_ms: int


class TokensAnswer(Answer, frozen=True):
    """The oldest first."""

    tokens: list[TokenRow]


@op(
    "token.list",
    answer=TokensAnswer,
    tier=Tier.USER,
    guarded=True,
    drops_unknown=True,
    command=Command("token list", rows="tokens", columns=("id", "name", "made_ms", "expires_ms", "used_ms")),
)
class ListTokens(Request, frozen=True):
    """List the tokens of scripts."""


class RevokedToken(Answer, frozen=True):
    """`id` is good no more, also for a connection that was opened with it."""

    id: str
    name: str


@op(
    "token.revoke",
    answer=RevokedToken,
    tier=Tier.USER,
    guarded=True,
    audited=("id",),
    errors=("not_found",),
    command=Command("token revoke", args=("id",)),
)
class RevokeToken(Request, frozen=True):
    """Make a token useless."""

    id: Annotated[Id, msgspec.Meta(description="see mesh token list")]
