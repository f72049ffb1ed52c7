"""How many invites this machine has opened to a mesh of late: each is a record that the chain keeps for ever."""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from mesh_protocol.wire.errors import MeshError

MAX_OPENED: Final = 10
WITHIN_S: Final = 3600.0


@dataclass(slots=True)
class Opened:
    """Times in seconds of a steady clock, the oldest first; a new life of the daemon begins with none."""

    _at: deque[float] = field(default_factory=deque)

    def take(self, mesh: str, now: float) -> float:
        """Count one more to the mesh of this name; what to `give_back` if it comes to nothing. Raises `invites_spent`."""
        while self._at and now - self._at[0] >= WITHIN_S:
            self._at.popleft()
        if len(self._at) >= MAX_OPENED:
            minutes = max(1, math.ceil((self._at[0] + WITHIN_S - now) / 60))
            raise MeshError("invites_spent", limit=MAX_OPENED, mesh=mesh, minutes=minutes)
        self._at.append(now)
        return now

    def give_back(self, taken: float) -> None:
        """It was not opened."""
        if taken in self._at:
            self._at.remove(taken)
