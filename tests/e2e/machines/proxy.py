"""A bad network between daemons and their broker: a TCP proxy that cuts, stalls, slows down, swallows and refuses."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

PIECE: Final = 65536


@dataclass(eq=False)
class Wire:
    """One connection through the proxy. A swallowed way takes bytes and passes nothing on, as a half-open one does."""

    scope: trio.CancelScope
    swallows_up: bool = False
    swallows_down: bool = False


@dataclass
class Proxy:
    """Its weather: `latency_s` for each piece of at most `piece` bytes; `refuses` new connections."""

    port: int
    target: int
    chance: random.Random
    latency_s: float = 0.0
    piece: int = PIECE
    refuses: bool = False
    wires: set[Wire] = field(default_factory=set)
    deeds: dict[str, int] = field(default_factory=dict)

    async def trouble(self) -> None:
        """One random fault, for a while."""
        deed = self.chance.choice(("cut", "cut all", "half-open", "refuse", "slow", "crumble", "partition"))
        self.deeds[deed] = self.deeds.get(deed, 0) + 1
        while_s = self.chance.uniform(0.5, 5.0)
        match deed:
            case "cut":
                self.cut(0.4)
            case "cut all":
                self.cut(1.0)
            case "half-open":
                self.swallow(0.5)
                await trio.sleep(while_s)
            case "refuse":
                self.refuses = True
                self.cut(1.0)
                await trio.sleep(while_s)
            case "slow":
                self.latency_s = self.chance.uniform(0.05, 0.4)
                await trio.sleep(while_s)
            case "crumble":
                self.piece = self.chance.choice((1, 7, 100))
                await trio.sleep(while_s)
            case "partition":
                for wire in self.wires:
                    wire.swallows_up = wire.swallows_down = True
                self.refuses = True
                await trio.sleep(while_s)
        self.heal()

    def heal(self) -> None:
        """Good weather. A wire that swallowed something has a hole and must end, as TCP would end it."""
        self.latency_s, self.piece, self.refuses = 0.0, PIECE, False
        for wire in self.wires:
            if wire.swallows_up or wire.swallows_down:
                wire.scope.cancel()

    def cut(self, share: float) -> None:
        for wire in self.wires:
            if self.chance.random() < share:
                wire.scope.cancel()

    def swallow(self, share: float) -> None:
        for wire in self.wires:
            if self.chance.random() < share:
                way = self.chance.random() < 0.5
                wire.swallows_up, wire.swallows_down = way, not way

    async def serve(self, client: trio.SocketStream) -> None:
        if self.refuses:
            await client.aclose()
            return
        with trio.CancelScope() as scope:
            wire = Wire(scope)
            self.wires.add(wire)
            try:
                async with (
                    client,
                    await trio.open_tcp_stream("127.0.0.1", self.target) as broker,
                    trio.open_nursery() as nursery,
                ):
                    nursery.start_soon(self._pump, wire, client, broker, True)
                    nursery.start_soon(self._pump, wire, broker, client, False)
            except OSError:
                pass  # the broker is dead just now
            finally:
                self.wires.discard(wire)

    async def _pump(self, wire: Wire, source: trio.SocketStream, sink: trio.SocketStream, up: bool) -> None:
        try:
            while data := await source.receive_some(PIECE):
                if self.latency_s:
                    await trio.sleep(self.latency_s)
                for place in range(0, len(data), self.piece):
                    if not (wire.swallows_up if up else wire.swallows_down):
                        await sink.send_all(data[place : place + self.piece])
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        wire.scope.cancel()


@asynccontextmanager
async def bad_network(port: int, target: int, chance: random.Random) -> AsyncIterator[Proxy]:
    """A proxy on `port` of this machine for what goes to `target`, while the context lives."""
    proxy = Proxy(port, target, chance)
    async with trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: trio.serve_tcp(proxy.serve, port, host="127.0.0.1", task_status=task_status)
        )
        yield proxy
        nursery.cancel_scope.cancel()
