"""Threads: a message, what it answers, and what answers it."""

from typing import Annotated

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op
from mesh_protocol.ops.fields import Id, Limit, State


class ThreadRow(Answer, frozen=True):
    """A message of the conversation. `direction` is out for what was sent from here, in for what came.

    `at_ms` is epoch ms by this machine's clock: when it was written here, or when it came. `to` names the recipients of
    what went out, the first 10 of them. `mentions_you`: its text names the reader. `verified` as in the inbox.
    """

    id: str
    direction: str
    sender: str
    to: list[str]
    origin: str
    at_ms: int
    reply_to: str
    priority: str
    state: State
    mentions_you: bool
    message: str
    verified: str = ""


class ThreadAnswer(Answer, frozen=True):
    """Oldest first. `more` says that there are earlier messages than those here."""

    thread: str
    mesh: str
    messages: list[ThreadRow]
    more: bool


@op(
    "message.thread",
    answer=ThreadAnswer,
    tier=Tier.AGENT,
    errors=("not_found", "ambiguous_id"),
    drops_unknown=True,
    command=Command("thread", args=("id",)),
    texts="messages[].message",
)
class ReadThread(Request, frozen=True):
    """Show a whole conversation: a message, what it answers, and all that answers it."""

    id: Annotated[Id, msgspec.Meta(description="the id of any message in it, or its first 8 characters or more")]
    limit: Annotated[Limit, msgspec.Meta(description="how many of the newest at most")] = 50
