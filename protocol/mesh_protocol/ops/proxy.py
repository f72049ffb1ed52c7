"""The API proxy: switching it, and what a client must be told to use it."""

from typing import Annotated

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
    audited=("port", "new_token"),
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


class ProxyOffAnswer(Answer, frozen=True):
    """`connections` are still being answered."""

    state: str
    connections: int


@op("proxy.off", answer=ProxyOffAnswer, tier=Tier.USER, guarded=True, audited=(), command=Command("proxy off"))
class TurnOff(Request, frozen=True):
    """Take no more requests for the API; what is under way is answered to its end."""


class ProxyStatusAnswer(Answer, frozen=True):
    """`state` is on, off or failed (see `trouble`). `requests`, `recorded` and `lost` count since the daemon's start; `lost`
    ones passed, but could not be recorded. `codings` are those of compressed answers whose usage can be read here."""

    state: str
    trouble: str
    upstream: str
    port: int
    connections: int
    requests: int
    recorded: int
    lost: int
    codings: list[str]


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
