"""The broker link of a mesh as a state table. Pure: events in, state out; the driver does the awaiting."""

import enum
from typing import Final


class LinkState(enum.Enum):
    """Where a mesh stands with its broker."""

    OFFLINE = "offline"
    CONNECTING = "connecting"
    GREETING = "greeting"
    ONLINE = "online"
    REFUSED = "refused"


class LinkEvent(enum.Enum):
    """What can happen to a link."""

    TRY = "try"
    CONNECTED = "connected"
    GREETED = "greeted"
    DENIED = "denied"
    LOST = "lost"


TABLE: Final[dict[tuple[LinkState, LinkEvent], LinkState]] = {
    (LinkState.OFFLINE, LinkEvent.TRY): LinkState.CONNECTING,
    (LinkState.OFFLINE, LinkEvent.CONNECTED): LinkState.GREETING,  # a mesh added while its connection lives
    (LinkState.OFFLINE, LinkEvent.LOST): LinkState.OFFLINE,
    (LinkState.CONNECTING, LinkEvent.CONNECTED): LinkState.GREETING,
    (LinkState.CONNECTING, LinkEvent.LOST): LinkState.OFFLINE,
    (LinkState.GREETING, LinkEvent.GREETED): LinkState.ONLINE,
    (LinkState.GREETING, LinkEvent.DENIED): LinkState.REFUSED,
    (LinkState.GREETING, LinkEvent.LOST): LinkState.OFFLINE,
    (LinkState.ONLINE, LinkEvent.DENIED): LinkState.REFUSED,
    (LinkState.ONLINE, LinkEvent.LOST): LinkState.OFFLINE,
    (LinkState.REFUSED, LinkEvent.TRY): LinkState.GREETING,  # the connection still lives; only this mesh was refused
    (LinkState.REFUSED, LinkEvent.LOST): LinkState.OFFLINE,
}


def advance(state: LinkState, event: LinkEvent) -> LinkState:
    """The next state. An event that cannot happen in a state is a bug and raises KeyError."""
    return TABLE[(state, event)]


BACKOFF_BASE_S: Final = 0.25
BACKOFF_CAP_S: Final = 30.0


def backoff_ceiling(failures: int) -> float:
    """Seconds under which the next attempt's full jitter lies, after `failures` failures in a row."""
    return min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0 ** min(failures, 16))
