"""The API proxy: switching it, and what a client must be told to use it."""

from typing import Annotated, Literal, TypeAlias

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op

UpstreamUrl = Annotated[
    str,
    msgspec.Meta(
        max_length=2_048, description="where requests go; default: as before, at first https://api.anthropic.com"
    ),
]
Port = Annotated[
    int, msgspec.Meta(ge=0, le=65_535, description="the port on this machine; default: as before, at first a free one")
]


Store: TypeAlias = Literal["", "bodies", "nothing"]
Days = Annotated[int, msgspec.Meta(ge=0, le=36_500)]


class ProxyOnAnswer(Answer, frozen=True):
    """`url` is what a client is given as its base URL: whoever has it may use the proxy. `notes` say what changes for it."""

    state: str
    url: str
    upstream: str
    port: int
    notes: list[str]


@op(
    "proxy.on",
    answer=ProxyOnAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=("port", "new_token", "store"),
    errors=("port_taken",),
    command=Command("proxy on"),
)
class TurnOn(Request, frozen=True):
    """Pass requests to the Anthropic API through this daemon, and record what they use.

    It stays on, with the same port and token, when the daemon starts again.
    """

    upstream: UpstreamUrl = ""
    port: Port = 0
    new_token: Annotated[bool, msgspec.Meta(description="make a new token; the old URL is refused from now on")] = False
    via: Annotated[
        str,
        msgspec.Meta(
            max_length=512,
            description="the network's own proxy on the way, such as http://proxy.example:3128; none: straight; default: as"
            " before, at first straight",
        ),
    ] = ""
    store: Annotated[
        Store,
        msgspec.Meta(
            description="bodies: store what requests and answers say, encrypted; nothing: do not; default: as before,"
            " at first nothing"
        ),
    ] = ""
    keep_days: Annotated[Days, msgspec.Meta(description="how long bodies stay; default: as before, at first 14")] = 0
    keep_mib: Annotated[
        int,
        msgspec.Meta(ge=0, le=1_048_576, description="how many MiB of them at most; default: as before, at first 512"),
    ] = 0
    history_days: Annotated[
        Days,
        msgspec.Meta(description="how long single requests stay in the record; default: as before, at first 365"),
    ] = 0


class ProxyOffAnswer(Answer, frozen=True):
    """`connections` are still being answered. `notes` say what is still stored."""

    state: str
    connections: int
    notes: list[str]


@op("proxy.off", answer=ProxyOffAnswer, tier=Tier.USER, guarded=True, audited=(), command=Command("proxy off"))
class TurnOff(Request, frozen=True):
    """Take no more requests for the API; what is under way is answered to its end."""


class ProxyStatusAnswer(Answer, frozen=True):
    """`state` is on, off or failed (see `trouble`). `requests`, `recorded` and `lost` count since the daemon's start; `lost`
    ones passed, but could not be recorded. `codings` are those of compressed answers whose usage can be read here.

    `store` is bodies or nothing; of `stored_requests` bodies lie here, `stored_bytes` of them, and those of `unstored`
    requests since the daemon's start could not be stored.
    """

    state: str
    trouble: str
    upstream: str
    via: str
    port: int
    connections: int
    requests: int
    recorded: int
    lost: int
    codings: list[str]
    store: str
    stored_requests: int
    stored_bytes: int
    unstored: int
    keep_days: int
    keep_mib: int
    history_days: int


@op("proxy.status", answer=ProxyStatusAnswer, tier=Tier.AGENT, command=Command("proxy status"))
class GetProxyStatus(Request, frozen=True):
    """Show whether the proxy runs, and whether it records all that passes."""


class Variable(Answer, frozen=True):
    """One variable of a client's environment."""

    name: str
    value: str


class ProxyEnvAnswer(Answer, frozen=True):
    """What to set for a client. Only the base URL: its login and its billing stay as they are."""

    url: str
    variables: list[Variable]


@op(
    "proxy.env",
    answer=ProxyEnvAnswer,
    tier=Tier.USER,
    guarded=True,
    errors=("service_off",),
    command=Command("proxy env"),
)
class GetProxyEnv(Request, frozen=True):
    """Print what to set so that Claude Code uses the proxy: eval "$(mesh proxy env)"."""


class ForgetAnswer(Answer, frozen=True):
    """Of how many requests the bodies were deleted, and how many single requests of the record."""

    bodies: int
    requests: int


@op(
    "proxy.forget",
    answer=ForgetAnswer,
    tier=Tier.USER,
    guarded=True,
    audited=("older", "requests"),
    command=Command("proxy forget"),
)
class Forget(Request, frozen=True):
    """Delete the stored bodies of requests and answers, for good.

    Sums by day stay in any case.
    """

    older: Annotated[Days, msgspec.Meta(description="only what is older than so many days; default: all")] = 0
    requests: Annotated[
        bool, msgspec.Meta(description="and the single requests of the record: conversations, times, sessions")
    ] = False
