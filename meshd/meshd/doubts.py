"""What a broker or a member showed that does not fit, kept for the daemon's life so that doctor can tell the person.

Nothing here decides anything: what is refused was refused where it was met. Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from mesh_protocol.ids import DeviceId

MAX_MISSING: Final = 64
"""Missing numbers remembered of one sender: a member who jumps must not cost more."""
LATE_MS: Final = 45_000
"""A number this long missing is told, so within a minute; before that, lanes may have reordered what is on its way."""


@dataclass(slots=True)
class Doubts:
    """Of one mesh. Times are epoch ms, 0 for never."""

    history_ms: int = 0
    """When the broker last showed another history of the membership."""
    mailbox_ms: int = 0
    """When the broker's mailbox last counted lower than before."""
    twice_ms: int = 0
    """When a second message last came under a one-time prekey."""
    twice: tuple[DeviceId, DeviceId] | None = None
    """From whom the first of these was, and from whom the second is said to be."""
    authors: dict[DeviceId, str] = field(default_factory=dict)
    """Whose messages wait because they name a membership that the broker does not show us, and why."""
    _missing: dict[DeviceId, dict[int, int]] = field(default_factory=dict)

    def used_twice(self, first: DeviceId, second: DeviceId, now_ms: int) -> None:
        """Messages of these two came under the same one-time prekey."""
        self.twice, self.twice_ms = (first, second), now_ms

    def miss(self, sender: DeviceId, first: int, behind: int, now_ms: int) -> None:
        """The numbers `first` to `behind - 1` of a sender's stream did not come before `behind`."""
        missing = self._missing.setdefault(sender, {})
        for number in range(first, min(behind, first + MAX_MISSING)):
            if len(missing) < MAX_MISSING:
                missing.setdefault(number, now_ms)

    def came(self, sender: DeviceId, number: int) -> None:
        """A number came, late or not."""
        missing = self._missing.get(sender)
        if missing is not None:
            missing.pop(number, None)
            if not missing:
                del self._missing[sender]

    def late(self, now_ms: int) -> Iterator[tuple[DeviceId, int]]:
        """Senders with numbers missing for long, and how many."""
        for sender, missing in self._missing.items():
            count = sum(now_ms - since >= LATE_MS for since in missing.values())
            if count:
                yield sender, count
