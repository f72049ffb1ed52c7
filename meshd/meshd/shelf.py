"""One-time prekeys of other devices, at most one of each, until a message is sealed to it; and of whom the next is wanted.

Kept in memory only: one that dies with the daemon was used for nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import trio

from mesh_protocol.ids import DeviceId
from mesh_protocol.prekeys import OneTimePrekey

PAUSE_S: Final = 10.5
"""Between two of one device: a broker gives one in ten seconds."""


@dataclass(slots=True, eq=False)
class Shelf:
    """Of one mesh. Times are trio's."""

    changed: trio.Event = field(default_factory=trio.Event)
    """Set when another one is wanted; whoever waits puts a new event in its place."""
    _keys: dict[DeviceId, OneTimePrekey] = field(default_factory=dict)
    _wanted: dict[DeviceId, None] = field(default_factory=dict)
    _asked: dict[DeviceId, float] = field(default_factory=dict)

    def put(self, key: OneTimePrekey) -> None:
        self._keys[key.device] = key

    def take(self, device: DeviceId) -> OneTimePrekey | None:
        """One that is used from here on, and never given again; the next is wanted."""
        if device not in self._wanted:
            self._wanted[device] = None
            self.changed.set()
        return self._keys.pop(device, None)

    def asked(self, devices: Iterable[DeviceId], now: float) -> None:
        """The broker is asked for one of each."""
        for device in devices:
            self._asked[device] = now
            self._wanted.pop(device, None)

    def due(self, now: float, most: int) -> tuple[list[DeviceId], float]:
        """Of whom one may be asked for now, at most so many; and when the next may be, if there are none."""
        times = {device: self._asked.get(device, now - PAUSE_S) + PAUSE_S for device in self._wanted}
        ready = [device for device, at in times.items() if at <= now]
        return ready[:most], min(times.values(), default=float("inf"))

    def drop(self, device: DeviceId) -> None:
        """Forget the key of a device that went."""
        self._keys.pop(device, None)
        self._wanted.pop(device, None)

    def clear(self) -> None:
        """Forget the keys."""
        self._keys.clear()

    def held(self) -> list[OneTimePrekey]:
        """Those that no message was sealed to yet."""
        return [*self._keys.values()]
