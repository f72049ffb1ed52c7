"""In-memory links: the embedded broker's transport, and the simulator's. They keep the shape of real ones: bounded, whole frames."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import trio

from mesh_protocol.io.link import Link, LinkClosed

BUFFERED_FRAMES = 64
"""Frames in flight a direction before a sender waits: a window like a socket's, never unbounded."""


class MemoryLink:
    """One end of a pair made by `link_pair`."""

    whole = True

    def __init__(self, send: trio.MemorySendChannel[bytes], receive: trio.MemoryReceiveChannel[bytes]) -> None:
        self._send = send
        self._receive = receive

    async def send(self, frame: bytes) -> None:
        try:
            await self._send.send(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise LinkClosed("closed") from None

    def send_now(self, frame: bytes) -> bool:
        """Send without waiting, or not at all (False): what a fan-out needs."""
        try:
            self._send.send_nowait(frame)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    async def receive(self) -> bytes:
        try:
            return await self._receive.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise LinkClosed("closed") from None

    async def aclose(self) -> None:
        self._send.close()
        self._receive.close()


def link_pair() -> tuple[MemoryLink, MemoryLink]:
    """Two connected ends."""
    a_send, b_receive = trio.open_memory_channel[bytes](BUFFERED_FRAMES)
    b_send, a_receive = trio.open_memory_channel[bytes](BUFFERED_FRAMES)
    return MemoryLink(a_send, a_receive), MemoryLink(b_send, b_receive)


class EmbeddedBroker(Protocol):
    """What the daemon expects of a broker that runs inside it."""

    @property
    def public_key(self) -> bytes:
        """The broker's Ed25519 public key, 32 bytes."""

    def connect(self) -> Link:
        """A new connection to it, from this machine."""


class EmbeddedBrokerModule(Protocol):
    """The module that the daemon loads by its configured name (default ``mesh_broker.app``)."""

    def open_embedded(self, data: Path) -> AbstractAsyncContextManager[EmbeddedBroker]:
        """Run a broker that keeps its data in the folder `data` for as long as the context lives."""
