"""The agent sessions of this machine: which there are, and how each wants its messages."""

from typing import Annotated, Literal

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op
from mesh_protocol.ops.fields import MeshArg

SessionArg = Annotated[
    str,
    msgspec.Meta(
        max_length=128, description="a session of this machine, by its name; default: your own, or the only one"
    ),
]


class SessionState(Answer, frozen=True):
    """A live session. `waiting` counts its messages that it was not shown; `mode` is how it wants them: push, inbox (only
    when it asks) or off (they wait). `rung` is the way they take: inbox (its own socket), channel (its MCP connection), hook
    (context of its hooks) or pull (it asks), and `why` says why they take no better one. `trouble` is what became of the
    last push where it was not shown, empty when it was.
    """

    session: str
    mesh: str
    status: str
    mode: str
    waiting: int
    trouble: str
    rung: str = ""
    why: str = ""


class SessionsAnswer(Answer, frozen=True):
    """In the order in which they started; `more` says that there are others."""

    sessions: list[SessionState]
    more: bool


@op(
    "session.list",
    answer=SessionsAnswer,
    tier=Tier.AGENT,
    drops_unknown=True,
    command=Command(
        "sessions", rows="sessions", columns=("session", "mesh", "status", "mode", "rung", "waiting", "trouble", "why")
    ),
)
class ListSessions(Request, frozen=True):
    """List the agent sessions of this machine, how they want their messages, and how many wait."""

    mesh: MeshArg = ""


class WhyAnswer(Answer, frozen=True):
    """`code` is stable (`fine` when nothing is), `why` is for people."""

    session: str
    code: str
    why: str


@op(
    "session.why",
    answer=WhyAnswer,
    tier=Tier.AGENT,
    errors=("not_found",),
    drops_unknown=True,
    command=Command("why", args=("session",)),
)
class WhySession(Request, frozen=True):
    """Say in one line why a session does not go on, or why messages do not reach it."""

    session: Annotated[
        str, msgspec.Meta(min_length=1, max_length=128, description="a session of this machine, by its name")
    ]


@op(
    "session.mode",
    answer=SessionState,
    tier=Tier.AGENT,
    audited=("mode", "session"),
    errors=("no_session", "not_found", "not_allowed"),
    command=Command("mode", args=("mode",)),
)
class SetMode(Request, frozen=True):
    """Set how a session gets its messages: pushed, only when it asks, or not at all until this is changed again.

    Kept across restarts and `--resume`. What waits when a session is set to `push` is shown at once.
    """

    mode: Annotated[
        Literal["push", "inbox", "off"],
        msgspec.Meta(description="push: they are shown to it; inbox: only when it asks; off: they wait"),
    ]
    session: SessionArg = ""
