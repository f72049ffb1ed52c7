"""What the broker needs of a link beyond the pump's `Link`, and the adapter that gives it to links inside a process."""

from typing import Protocol, runtime_checkable

import trio

from mesh_protocol.io.link import Link


@runtime_checkable
class BrokerLink(Link, Protocol):
    """A link that can be written without waiting, judged by its deadlines, and closed with a reason."""

    max_message: int
    partial_since: float | None
    partial_bytes: int
    last_heard: float

    @property
    def unsent(self) -> bool: ...

    def send_now(self, frame: bytes) -> bool: ...

    async def flush(self) -> None: ...

    def ping(self) -> None: ...

    def close_with(self, code: int, reason: str) -> None: ...


@runtime_checkable
class _PromptLink(Protocol):
    def send_now(self, frame: bytes) -> bool: ...


class NearLink:
    """A link whose other side is in this process or this test: it cannot vanish unnoticed, so it needs no pings."""

    partial_since: float | None = None
    partial_bytes = 0
    unsent = False

    def __init__(self, link: Link) -> None:
        self._link = link
        self._prompt = link if isinstance(link, _PromptLink) else None
        self.whole = link.whole
        self.max_message = 0
        self.last_heard = trio.current_time()

    async def send(self, frame: bytes) -> None:
        await self._link.send(frame)

    def send_now(self, frame: bytes) -> bool:
        return self._prompt is not None and self._prompt.send_now(frame)

    async def flush(self) -> None:
        return

    async def receive(self) -> bytes:
        return await self._link.receive()

    def ping(self) -> None:
        self.last_heard = trio.current_time()

    def close_with(self, code: int, reason: str) -> None:
        return

    async def aclose(self) -> None:
        await self._link.aclose()
