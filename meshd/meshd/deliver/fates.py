"""What a session's own word on a push means for the message: state, sentence for its sender, trouble of the session."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from meshd.claude.formats import Fate


class Ending(NamedTuple):
    """`reason` is told to the sender, in at most 64 bytes, with the setting of Claude Code that changes it. `kept`: pushed
    again it would only end so again."""

    state: str
    reason: str
    trouble: str
    kept: bool


ENDINGS: Final[Mapping[Fate, Ending]] = {
    Fate.HELD: Ending(
        "held", "the session holds it; crossSessionInbound=accept shows it", "held_by_session", kept=True
    ),
    Fate.REFUSED: Ending(
        "refused", "the session refuses peers: set crossSessionInbound=accept", "refused_by_session", kept=True
    ),
    Fate.DROPPED: Ending(
        "stored", "the session dropped it: too much at once; it is tried again", "dropped_by_session", kept=False
    ),
    Fate.EXPIRED: Ending(
        "stored", "the session held it too long; it waits until it asks", "expired_in_session", kept=False
    ),
}
