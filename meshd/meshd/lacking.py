"""Which epoch keys this machine lacks, what it does about it, and who asked it for theirs. Of one mesh; pure."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import trio

from mesh_protocol.ids import DeviceId

MAX_WAITING: Final = 64
"""Requests, and answers, that wait to be looked at; of more the oldest are dropped: who asked asks again."""
MAX_GIVEN: Final = 8
GIVEN_MS: Final = 3_600_000
"""Answers to one device within an hour: who asks for ever must not keep us sealing."""


class Note(NamedTuple):
    """What a member's device wrote about keys, signed by it."""

    device: DeviceId
    content: bytes


@dataclass(slots=True)
class Lacking:
    """`since_ms` is 0 while nothing is lacking; `asked` machines were asked so far, the last at `asked_ms`."""

    since_ms: int = 0
    asked: int = 0
    asked_ms: int = 0
    refused: int = 0
    """Answers that held no key of this mesh's chain."""
    bad_seal: bytes = b""
    """The hash of the newest seal that did not open, or whose keys are not the chain's; empty: there was none."""
    changed: trio.Event = field(default_factory=trio.Event)
    """Set when the chain grew or a key came; who waits puts a new event in its place."""
    arrived: trio.Event = field(default_factory=trio.Event)
    """Set with each note."""
    requests: deque[Note] = field(default_factory=lambda: deque(maxlen=MAX_WAITING))
    answers: deque[Note] = field(default_factory=lambda: deque(maxlen=MAX_WAITING))
    _given: Counter[DeviceId] = field(default_factory=Counter)
    _given_since_ms: int = 0

    def look(self) -> None:
        """The chain or the keys are not what they were."""
        self.changed.set()

    def begin(self, now_ms: int) -> None:
        """A key is lacking from now on, if none was before."""
        self.since_ms = self.since_ms or now_ms

    def end(self) -> None:
        """All keys are here."""
        self.since_ms = self.asked = self.asked_ms = self.refused = 0
        self.bad_seal = b""

    def take(self, notes: "deque[Note]", note: Note) -> None:
        """Keep a note until it is looked at."""
        notes.append(note)
        self.arrived.set()

    def may_give(self, device: DeviceId, now_ms: int) -> bool:
        """Whether `device` is answered once more; counts it."""
        if not 0 <= now_ms - self._given_since_ms < GIVEN_MS:
            self._given.clear()
            self._given_since_ms = now_ms
        self._given[device] += 1
        return self._given[device] <= MAX_GIVEN
