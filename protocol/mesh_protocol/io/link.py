"""What the RPC pump needs from a transport."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


class LinkClosed(Exception):
    """The transport ended, by either side or by a fault; the text says which and is safe to log."""


class Link(Protocol):
    """A duplex transport of frames.

    With `whole` true every `receive` returns exactly one frame (WebSocket messages); else any piece of a byte stream.
    """

    @property
    def whole(self) -> bool: ...

    async def send(self, frame: bytes) -> None:
        """Send one whole frame. Raises `LinkClosed`."""

    async def receive(self) -> bytes:
        """The next bytes. Raises `LinkClosed` at the end."""

    async def aclose(self) -> None:
        """Close at once; pending calls of other tasks raise `LinkClosed`."""


@runtime_checkable
class BatchLink(Protocol):
    """A link of whole frames that sends several at once in one go."""

    async def send_many(self, frames: Sequence[bytes]) -> None:
        """Send frames in order. Raises `LinkClosed`."""
