"""The outbox: what has not reached its recipients yet, why, and what can be done about it."""

from typing import Annotated

import msgspec

from mesh_protocol.op import Answer, Command, Request, Tier, op
from mesh_protocol.ops.fields import Id, Limit, MeshArg, State

OwnId = Annotated[Id, msgspec.Meta(description="the message's id, or its first 8 characters or more")]


class OutboxRow(Answer, frozen=True):
    """A message on its way to one device. `since_ms` is when it was written, `expires_ms` when it is given up; `code` is
    the reason in a word, `why` in a sentence. `message` is its beginning.
    """

    id: str
    to: str
    device: str
    mesh: str
    state: State
    since_ms: int
    expires_ms: int
    priority: str
    code: str
    why: str
    message: str


class OutboxAnswer(Answer, frozen=True):
    """The oldest first; with `failed` the newest. `more` says that there are others."""

    waiting: list[OutboxRow]
    more: bool


@op(
    "outbox.list",
    answer=OutboxAnswer,
    tier=Tier.AGENT,
    errors=("unknown_mesh", "no_mesh"),
    drops_unknown=True,
    command=Command("outbox"),
    texts="waiting[].message",
)
class ListOutbox(Request, frozen=True):
    """List what you sent that is not on its recipient's machine yet, and why."""

    mesh: MeshArg = ""
    failed: Annotated[bool, msgspec.Meta(description="what ended without having been stored there, instead")] = False
    limit: Annotated[Limit, msgspec.Meta(description="how many at most")] = 50


class CancelRow(Answer, frozen=True):
    """What became of it at one recipient: `cancelled`, or why it was too late, in `text`."""

    to: str
    device: str
    state: State
    cancelled: bool
    text: str


class CancelAnswer(Answer, frozen=True):
    """`cancelled` counts the devices at which it ended here."""

    id: str
    mesh: str
    cancelled: int
    recipients: list[CancelRow]


@op(
    "outbox.cancel",
    answer=CancelAnswer,
    tier=Tier.AGENT,
    audited=("id",),
    errors=("not_found", "ambiguous_id"),
    command=Command("outbox cancel", args=("id",)),
)
class CancelMessage(Request, frozen=True):
    """Take back a message where the broker has not accepted it yet.

    What the broker has accepted cannot be called back: it may still arrive, and the answer says so.
    """

    id: OwnId


class RequeueAnswer(Answer, frozen=True):
    """`id` is the new message's, `instead_of` the old one's; `recipients` are those it goes to once more."""

    id: str
    instead_of: str
    mesh: str
    recipients: list[str]


@op(
    "outbox.requeue",
    answer=RequeueAnswer,
    tier=Tier.AGENT,
    audited=("id",),
    errors=(
        "not_found",
        "ambiguous_id",
        "bad_request",
        "unknown_recipient",
        "outbox_full",
        "broker_rollback",
        "peer_changed",
    ),
    command=Command("outbox requeue", args=("id",)),
)
class RequeueMessage(Request, frozen=True):
    """Send a failed message once more: the same text to the same devices, those alone where it ended without arriving.

    Doing it twice sends it once.
    """

    id: OwnId
