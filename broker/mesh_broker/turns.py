"""Order among envelopes that are sent without waiting for each other's answers.

A connection may have many envelopes of one way (to one device, in one lane) on their way here. When one of them is
refused for now, those behind it must not be accepted before it: they are refused as `out_of_turn`, until the sender,
with nothing of that way under way any more, sends one with `again`.
"""

from typing import Final, TypeAlias

from mesh_broker.store.interface import Settling
from mesh_protocol.wire.errors import MeshError

Way: TypeAlias = tuple[int, int]
"""Recipient's box and lane."""

FOR_NOW: Final = frozenset({"rate_limited", "mailbox_full", "storage_full", "out_of_turn", "busy"})
"""Refusals that end when the sender tries again; every other one ends that one message, and the next takes its turn."""


class Turn:
    """One envelope's place in its way. `failed` is decided when its write is: in the writer, before later ones run."""

    __slots__ = ("_before", "_refused", "promise")

    def __init__(self, before: "Turn | None") -> None:
        self._before = before
        self._refused = False
        self.promise: Settling | None = None

    @property
    def failed(self) -> bool:
        return self._refused or (self.promise is not None and self.promise.failed)

    def refuse(self) -> None:
        """It was not accepted, for now."""
        self._refused = True

    def begin(self) -> bool:
        """In the writer, before anything of it is stored: False when one before it was refused for now."""
        self._refused = self._before is not None and self._before.failed
        return not self._refused

    def settle(self) -> None:
        """It is decided: what was before it is forgotten."""
        self._before = None


class Turns:
    """The ways of one connection that have something under way, or are broken."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[Way, Turn] = {}

    def take(self, way: Way, again: bool) -> Turn:
        """The next turn of a way. Raises `out_of_turn` when the one before it is known to have failed."""
        before = None if again else self._last.get(way)
        if before is not None and before.failed:
            raise MeshError("out_of_turn")
        turn = self._last[way] = Turn(before)
        return turn

    def settled(self, way: Way, turn: Turn) -> None:
        """A turn is decided: forgotten, unless it failed and nothing came behind it."""
        turn.settle()
        if not turn.failed and self._last.get(way) is turn:
            del self._last[way]

    def __len__(self) -> int:
        return len(self._last)
