"""Two hundred streams at once through the API proxy: is a frame lost, and how many come later than the next one is due?"""

import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from bench.apiload import FRAMES, LAST, STAMP
from bench.figures import Figure
from bench.machines import NotReady

STREAMS: Final = 200
SLOW: Final = "/long/slow/v1/messages"
DUE_MS: Final = 20.0
"""Between two frames of a stream."""
PATIENCE_S: Final = 60.0

Connect = Callable[[], socket.socket]


@dataclass(slots=True)
class Seen:
    """What came of all streams: for each frame how long it was under way, in milliseconds."""

    times: list[float] = field(default_factory=list)

    @property
    def late(self) -> int:
        return sum(each > DUE_MS for each in self.times)


def watch_streams(connect: Connect, request: bytes) -> Seen:
    """Open all streams, begin them, and read every frame. Raises `NotReady` when one breaks off."""
    seen = Seen()
    poll = select.epoll()
    streams = {each.fileno(): (each, bytearray()) for each in (connect() for _ in range(STREAMS))}
    try:
        for stream, _ in streams.values():
            stream.sendall(request)
            poll.register(stream, select.EPOLLIN)
        left, until = len(streams), time.monotonic() + PATIENCE_S
        while left:
            for number, _ in poll.poll(until - time.monotonic() if until > time.monotonic() else 0):
                stream, tail = streams[number]
                data = stream.recv(65536)
                now = time.monotonic_ns()
                if not data:
                    raise NotReady("a stream broke off")
                tail += data
                for piece in data.split(STAMP)[1:]:
                    seen.times.append((now - int(piece.partition(b"}")[0])) / 1e6)
                if tail.endswith(LAST):
                    poll.unregister(number)
                    left -= 1
                del tail[: -len(LAST)]
            if time.monotonic() > until:
                raise NotReady(f"{left} streams did not end")
    finally:
        poll.close()
        for stream, _ in streams.values():
            stream.close()
    return seen


def figures_of(direct: Seen, proxy: Seen) -> list[Figure]:
    """What 200 streams showed, with and without the proxy."""
    whole = STREAMS * FRAMES
    note = f"{STREAMS} streams of {FRAMES} frames, one in {DUE_MS:g} ms; API, proxy and reader on the same cores"
    return [
        Figure("proxy, frames lost of 200 streams", whole - len(proxy.times), "", whole, "frames", 0.0, "value", note),
        Figure("proxy, frames late by more than one", proxy.late, "", direct.late, "without the proxy"),
    ]
