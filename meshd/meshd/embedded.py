"""The broker that runs inside the daemon when none is configured: loaded by its module's name, reached through memory."""

import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import trio

from mesh_protocol.io.link import Link, LinkClosed
from mesh_protocol.io.memory import EmbeddedBroker, EmbeddedBrokerModule


@dataclass(slots=True, eq=False)
class Embedded:
    """Starts the broker at its first use and keeps it until the daemon ends. `data` is its own folder."""

    module: str
    data: Path
    _broker: EmbeddedBroker | None = None
    _wanted: trio.Event = field(default_factory=trio.Event)
    _ready: trio.Event = field(default_factory=trio.Event)

    async def run(self) -> None:
        """Serve once somebody connects; for ever."""
        await self._wanted.wait()
        loaded = cast(EmbeddedBrokerModule, importlib.import_module(self.module))
        self.data.mkdir(mode=0o700, exist_ok=True)
        async with loaded.open_embedded(self.data) as broker:
            self._broker = broker
            self._ready.set()
            await trio.sleep_forever()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Link]:
        """A link to it."""
        self._wanted.set()
        with trio.move_on_after(10):
            await self._ready.wait()
        if self._broker is None:
            raise LinkClosed("the embedded broker did not start")
        link = self._broker.connect()
        try:
            yield link
        finally:
            await link.aclose()
