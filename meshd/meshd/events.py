"""Subscriptions: every subscriber sees gap-free numbers, and is told how many it missed when it was too slow."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from mesh_protocol.wire.codec import JsonValue

BUFFER: Final = 1_000
"""Events that wait for one slow subscriber before it loses what follows (limits: per-client event buffer)."""

Event = tuple[int, str, dict[str, JsonValue]]


class Subscriber:
    """One reader. The number an event carries counts this subscriber's own events, so a jump means loss."""

    def __init__(self, kinds: frozenset[str]) -> None:
        self._kinds = kinds
        self._events: list[Event] = []
        self._missed = 0
        self._next = 1
        self._more = trio.Event()

    def _offer(self, kind: str, data: dict[str, JsonValue]) -> None:
        if self._kinds and kind not in self._kinds:
            return
        if len(self._events) >= BUFFER:
            self._missed += 1
            self._next += 1
            return
        self._events.append((self._next, kind, data))
        self._next += 1
        self._more.set()

    async def take(self) -> list[Event]:
        """What has happened since the last call; waits for at least one event."""
        while not self._events:
            self._more = trio.Event()
            await self._more.wait()
        events, self._events = self._events, []
        if self._missed:
            events.append((self._next, "lagged", {"missed": self._missed}))
            self._next += 1
            self._missed = 0
        return events


class Events:
    """The daemon's one place where changes are announced."""

    def __init__(self) -> None:
        self._subscribers: set[Subscriber] = set()

    @contextmanager
    def subscribe(self, kinds: frozenset[str] = frozenset()) -> Iterator[Subscriber]:
        """Be told of events of `kinds`, of all when empty, while the context lives."""
        subscriber = Subscriber(kinds)
        self._subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)

    def publish(self, kind: str, /, **data: JsonValue) -> None:
        for subscriber in list(self._subscribers):
            subscriber._offer(kind, data)
