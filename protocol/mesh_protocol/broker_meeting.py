"""The broker's words for a meeting of two devices of one person, one of which is not in the mesh yet (`meeting`)."""

from typing import Annotated, Final

import msgspec

from mesh_protocol.broker_api import Bytes32, Done
from mesh_protocol.op import Answer, Request, Tier, op

MEET: Final = "meet"
MEET_ENDED: Final = "meet_ended"


class MeetPush(Answer, frozen=True):
    """What the other side of a meeting says; body: the frame."""

    mesh: Bytes32


class MeetEndedPush(Answer, frozen=True):
    """A meeting is over. `why` is left (the other side went), second (somebody else had the link), or over."""

    mesh: Bytes32
    why: Annotated[str, msgspec.Meta(max_length=16)]


@op("meet.open", answer=Done, tier=Tier.AGENT, errors=("not_allowed", "rate_limited"))
class MeetOpen(Request, frozen=True):
    """Let the two that prove `key` meet, for ten minutes at most; in place of an earlier meeting of the calling device."""

    mesh: Bytes32
    key: Bytes32


@op("meet.say", answer=Done, tier=Tier.STATUS, errors=("not_allowed", "too_large", "rate_limited"))
class MeetSay(Request, frozen=True):
    """Say something to the other side, which must be there; only on a connection whose hello proved the meeting's key.
    Body: the frame. Never stored."""

    mesh: Bytes32
