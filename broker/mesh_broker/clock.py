"""A wall clock that a jump cannot make delete anything."""

from collections.abc import Callable


def steady(clock: Callable[[], int], now: Callable[[], float]) -> Callable[[], int]:
    """Epoch milliseconds that never run ahead of the time that has really passed since this was made.

    Mail, repeats and requests are dropped by this clock: a wall clock set a year ahead by mistake drops none. `now`
    is monotonic, in seconds.
    """
    start_ms, start = clock(), now()

    def read() -> int:
        return min(clock(), start_ms + int((now() - start) * 1000))

    return read
