"""Server-sent events out of any pieces of a stream (WHATWG HTML, 9.2.6), for the account. Bounded; without I/O."""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

MAX_EVENT: Final = 1024 * 1024
"""Bytes of one event that is looked at; a larger one is passed over and counted."""


class Event(NamedTuple):
    """One event: its name (empty where none was given) and its data (empty where it is not wanted)."""

    name: bytes
    data: bytes


class EventReader:
    """Any split of the same bytes gives the same events. `wanted` says by name whose data is worth collecting; an event
    without a name is always collected, since its name may be in its data."""

    def __init__(self, wanted: Callable[[bytes], bool]) -> None:
        self._wanted = wanted
        self._rest = b""
        self._after_return = False
        self._start = True
        self._name = b""
        self._data: list[bytes] = []
        self._size = 0
        self._long = False
        """The line under way is too large; only its beginning is kept."""
        self._cut = False
        """The event under way is too large to be kept."""
        self.passed_over = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that `data` completes, in order. What is wanted may change from one to the next, so take them all."""
        if self._after_return and data[:1] == b"\n":
            data = data[1:]
        if data:
            self._after_return = data[-1:] == b"\r"
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            found = self._take(line)
            if found is not None:
                yield found
        if len(rest) > MAX_EVENT:
            self._long = True
            rest = rest[:8]
        self._rest = rest

    def _take(self, line: bytes) -> Event | None:
        if self._start:
            line = line.removeprefix(b"\xef\xbb\xbf")
            self._start = False
        if not line:
            return self._end()
        if self._long or len(line) > MAX_EVENT:
            self._long, self._cut = False, True
            return None
        field, _, value = line.partition(b":")
        if field == b"event":
            self._name = value.removeprefix(b" ")
        elif field == b"data" and not self._cut and (not self._name or self._wanted(self._name)):
            value = value.removeprefix(b" ")
            self._size += len(value)
            self._cut = self._size > MAX_EVENT
            self._data.append(value)
        return None

    def _end(self) -> Event | None:
        ended = None
        if self._cut:
            self.passed_over += not self._name or self._wanted(self._name)
        elif self._data or self._name:
            ended = Event(self._name, b"\n".join(self._data))
        self._name, self._data, self._size, self._cut = b"", [], 0, False
        return ended
