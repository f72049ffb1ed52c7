"""Where a machine's database writes: in the event loop, and only when the test lets it."""

from collections.abc import Callable


class Disk:
    """A `Worker`. While it is held nothing is committed; what waits when the daemon is killed was never written."""

    def __init__(self) -> None:
        self._held = False
        self._drain: Callable[[], None] = lambda: None

    def hold(self) -> None:
        self._held = True

    def release(self) -> None:
        """Commit what waits, in one transaction."""
        self._held = False
        self._drain()

    def start(self, drain: Callable[[], None]) -> None:
        self._drain = drain

    def kick(self) -> None:
        if not self._held:
            self._drain()

    def wake(self, callback: Callable[[], None]) -> None:
        callback()

    def stop(self) -> None:
        self.kick()
        self._held = False
