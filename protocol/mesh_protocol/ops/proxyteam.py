"""Colleagues and programs on this host that share the API proxy: their tokens, and the accounts that they may use."""

from typing import Annotated, Literal, TypeAlias

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op

Kind: TypeAlias = Literal["key", "login"]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$", max_length=32)]


class ClientRow(Answer, frozen=True):
    """One client; `account` is whose credential its requests get, empty: they keep their own."""

    name: str
    account: str
    made_ms: int


class AllowAnswer(Answer, frozen=True):
    """`url` is the client's base URL. It is shown this once: only a hash of its token is kept."""

    name: str
    account: str
    url: str


@op(
    "proxy.allow",
    answer=AllowAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=("name", "account"),
    errors=("service_off", "not_found", "too_many"),
    command=Command("proxy allow", args=("name",)),
)
class AllowClient(Request, frozen=True):
    """Give a client of this host a base URL of its own, in the place of the one that it had.

    Its requests are counted under its name.
    """

    name: Annotated[Name, msgspec.Meta(description="what the client is called here")]
    account: Annotated[
        str,
        msgspec.Meta(
            max_length=32, description="the account whose credential its requests get; default: they keep their own"
        ),
    ] = ""


class ClientsAnswer(Answer, frozen=True):
    clients: list[ClientRow]


@op(
    "proxy.clients",
    answer=ClientsAnswer,
    tier=Tier.USER,
    command=Command("proxy clients", rows="clients", columns=("name", "account", "made_ms")),
)
class ListClients(Request, frozen=True):
    """List the clients that have a base URL of their own."""


class NameAnswer(Answer, frozen=True):
    name: str


@op(
    "proxy.revoke",
    answer=NameAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=("name",),
    errors=("not_found",),
    command=Command("proxy revoke", args=("name",)),
)
class RevokeClient(Request, frozen=True):
    """Take a client's base URL away: from its next request on it is refused."""

    name: Annotated[Name, msgspec.Meta(description="the client, see mesh proxy clients")]


class AccountRow(Answer, frozen=True):
    """One account; its secret is never shown. `host` chooses it for clients without one (`http://HOST:PORT/…`)."""

    name: str
    kind: str
    host: str
    token_url: str
    client_id: str
    made_ms: int


@op(
    "proxy.account",
    answer=AccountRow,
    tier=Tier.USER,
    guarded=True,
    audited=("name", "kind", "host"),
    errors=("service_off", "account_failed", "too_many"),
    command=Command("proxy account", args=("name",), hidden=frozenset({"secret"})),
    payload="secret",
)
class AddAccount(Request, frozen=True):
    """Keep an account of the API for clients of this host: an API key, or a login with its refresh token.

    The secret is asked for, or read from standard input. A login's token is renewed a minute before it ends.
    """

    name: Annotated[Name, msgspec.Meta(description="what the account is called here")]
    kind: Annotated[Kind, msgspec.Meta(description="key: an API key; login: a refresh token")] = "key"
    host: Annotated[
        str,
        msgspec.Meta(
            max_length=48, description="a name of this machine that chooses the account, such as work.localhost"
        ),
    ] = ""
    token_url: Annotated[str, msgspec.Meta(max_length=2_048, description="a login's token endpoint")] = ""
    client_id: Annotated[str, msgspec.Meta(max_length=256, description="a login's client id")] = ""
    secret: Annotated[str, msgspec.Meta(max_length=8_192)] = ""


class AccountsAnswer(Answer, frozen=True):
    accounts: list[AccountRow]


@op(
    "proxy.accounts",
    answer=AccountsAnswer,
    tier=Tier.USER,
    command=Command("proxy accounts", rows="accounts", columns=("name", "kind", "host", "made_ms")),
)
class ListAccounts(Request, frozen=True):
    """List the accounts that clients of this host may use."""


@op(
    "proxy.drop",
    answer=NameAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=("name",),
    errors=("not_found",),
    command=Command("proxy drop", args=("name",)),
)
class DropAccount(Request, frozen=True):
    """Forget an account and its secret; who has no other is refused from its next request on."""

    name: Annotated[Name, msgspec.Meta(description="the account, see mesh proxy accounts")]
