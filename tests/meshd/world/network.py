"""The cables between machines and brokers: they can be cut, go silent, refuse, change what they carry, and be listened to."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from mesh_protocol.crashpoints import Reached, unnoticed
from mesh_protocol.io.link import Link, LinkClosed
from mesh_protocol.io.memory import MemoryLink, link_pair
from mesh_protocol.wire.codec import decode
from mesh_protocol.wire.framing import split_message

if TYPE_CHECKING:
    from world.broker import BrokerHouse

Change = Callable[[bytes], list[bytes]]
"""What becomes of one frame: nothing, itself, another, several."""


CONNECT_S = 10.0
"""How long a connection is tried over a way that lets nothing through."""


@dataclass(eq=False)
class Way:
    """One direction of a cable. While it is `stopped` what is sent waits, as TCP sends it again until it comes through;
    each frame takes `pace` seconds, one behind the other."""

    pace: Callable[[], float] | None = None
    _open: trio.Event | None = None

    @property
    def stopped(self) -> bool:
        return self._open is not None

    def stop(self) -> None:
        if self._open is None:
            self._open = trio.Event()

    def go_on(self) -> None:
        if self._open is not None:
            self._open.set()
            self._open = None

    async def travel(self) -> None:
        """Until a frame that is given to this way has come out of it."""
        if self.pace is not None:
            await trio.sleep(self.pace())
        while self._open is not None:
            await self._open.wait()


@dataclass(eq=False)
class Cable:
    """One machine's way to one broker. `down` refuses new connections; `silent` swallows every frame and tells nobody."""

    out: Way = field(default_factory=Way)
    back: Way = field(default_factory=Way)
    forgotten: list[MemoryLink] = field(default_factory=list)
    """Ends that were closed while nothing came through: the broker has not heard of it."""
    reached: Reached = unnoticed
    """Told FP-06 when half of a frame is written."""

    down: bool = False
    silent: bool = False
    outgoing: Change | None = None
    incoming: Change | None = None
    tries: list[float] = field(default_factory=list)
    """The virtual times at which a connection was asked for."""
    links: list["CableLink"] = field(default_factory=list)

    async def cut(self) -> None:
        """End every connection that runs over it. New ones are possible unless it is `down`."""
        for link in list(self.links):
            await link.aclose()

    @property
    def parted(self) -> bool:
        """Nothing comes through in one direction at least."""
        return self.out.stopped or self.back.stopped

    async def join(self) -> None:
        """Let everything through again; the broker hears of connections that ended meanwhile."""
        self.out.go_on()
        self.back.go_on()
        forgotten, self.forgotten = self.forgotten, []
        for end in forgotten:
            await end.aclose()

    def sever(self) -> None:
        """The machine's end is gone with its process: at once, and nothing more leaves it."""
        for link in list(self.links):
            link.sever()

    def say(self, frame: bytes) -> None:
        """Say something to the machine that its broker never said."""
        for link in self.links:
            link.far.send_now(frame)


class CableLink:
    """The machine's end of one connection; `far` is the broker's."""

    whole = True

    def __init__(self, end: MemoryLink, far: MemoryLink, cable: Cable, heard: Callable[[str, bytes], None]) -> None:
        self.far = far
        self._end = end
        self._cable = cable
        self._heard = heard
        self._waiting: list[bytes] = []
        self._severed = False
        self._reading = trio.CancelScope()

    async def send(self, frame: bytes) -> None:
        for changed in self._cable.outgoing(frame) if self._cable.outgoing else [frame]:
            if not self._cable.silent:
                await self._cable.out.travel()
                self._cable.reached("FP-06")
                if self._severed:
                    raise LinkClosed("closed")
                self._heard(">", changed)
                await self._end.send(changed)

    async def receive(self) -> bytes:
        while not self._waiting:
            with trio.CancelScope() as self._reading:
                try:
                    frame = await self._end.receive()
                finally:
                    await self._cable.back.travel()  # also what says that the other side has closed
            if self._severed:
                raise LinkClosed("closed")
            if not self._cable.silent:
                self._waiting.extend(self._cable.incoming(frame) if self._cable.incoming else [frame])
        self._heard("<", self._waiting[0])
        return self._waiting.pop(0)

    async def aclose(self) -> None:
        if not self._cable.parted:
            await self._end.aclose()
        elif not self._severed:
            self._severed = True
            self._cable.forgotten.append(self._end)
            self._reading.cancel()

    def sever(self) -> None:
        if self._cable.parted:
            self._cable.forgotten.append(self._end)
        else:
            hang_up(self._end)
        self._severed = True


def hang_up(end: MemoryLink) -> None:
    """Close an end without waiting: its process is gone."""
    end._send.close()
    end._receive.close()


class Network:
    """All cables and all brokers, by URL. `history` gets a line a frame while it is a list."""

    def __init__(self) -> None:
        self.brokers: dict[str, BrokerHouse] = {}
        self.history: list[str] | None = None
        self.tap: Callable[[bytes], None] | None = None
        """Hears every frame."""
        self._cables: dict[tuple[str, str], Cable] = {}

    def cable(self, machine: str, url: str) -> Cable:
        return self._cables.setdefault((machine, url), Cable())

    def cables_of(self, machine: str) -> list[Cable]:
        """All cables of a machine that were ever used."""
        return [cable for (name, _), cable in self._cables.items() if name == machine]

    @asynccontextmanager
    async def connect(self, machine: str, url: str) -> AsyncIterator[Link]:
        """What a daemon opens its connections with."""
        cable = self.cable(machine, url)
        cable.tries.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        house = self.brokers.get(url)
        if cable.down or house is None or not house.running or house.killed:
            raise LinkClosed("connection refused")
        if cable.parted:
            await trio.sleep(CONNECT_S)
            raise LinkClosed("no connection in time")
        near, far = link_pair()
        link = CableLink(near, far, cable, lambda way, frame: self._note(machine, way, frame))
        cable.links.append(link)
        house.answer(far)
        try:
            yield link
        finally:
            cable.links.remove(link)
            await link.aclose()

    def _note(self, machine: str, way: str, frame: bytes) -> None:
        """A line of history. A body is named by its length: the ephemeral keys of HPKE are the library's own."""
        if self.tap is not None:
            self.tap(frame)
        if self.history is not None:
            header, body = split_message(frame)
            said = decode(header)
            self.history.append(f"{trio.current_time():.3f} {machine} {way} {said!r} {len(body)}")
