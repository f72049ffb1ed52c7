"""The whole: machines, brokers, the network, and one virtual time for all of them."""

import inspect
import logging
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import trio

from mesh_broker.limits import Limits
from meshd.config import Config
from meshd.invited import Opened
from world.broker import BrokerHouse
from world.machine import Machine
from world.network import Cable, Network
from world.seeds import SeededRng

T = TypeVar("T")

HERE = Config(keys="file", embedded_broker="world.embedded")
"""No login keyring, and virtual time for the broker inside a daemon too."""
STEP_S = 0.02
"""How often a condition is looked at, in virtual seconds."""
MEMORY = Path("/dev/shm")
"""Where homes lie if it is there: a commit then costs no disk, and is a commit all the same."""


class World:
    """Made by `open_world`. Machines are made by `machine`, meshes by `mesh`."""

    def __init__(self, folder: Path, seed: int, nursery: trio.Nursery) -> None:
        self.folder = folder
        self.seed = seed
        self.nursery = nursery
        self.network = Network()
        self.machines: dict[str, Machine] = {}
        self.bugs: list[tuple[str, BaseException]] = []
        """What the daemons called internal errors: none, when a story ends."""
        self.log: list[logging.LogRecord] = []
        """Errors that the daemons logged: a story that expects some takes them away."""

    async def broker(self, *, limits: Limits | None = None, name: str = "broker") -> BrokerHouse:
        """A running broker."""
        url = f"ws://127.0.0.1:{7000 + len(self.network.brokers)}"
        folder = self.folder / name
        folder.mkdir()
        house = BrokerHouse(folder, url, SeededRng(self.seed, name), self.nursery, limits)
        self.network.brokers[url] = house
        await house.start()
        return house

    async def machine(self, name: str, config: Config = HERE) -> Machine:
        """A machine with a running daemon that is in no mesh."""
        machine = self.machines[name] = Machine(self, name, config)
        return await machine.start()

    async def mesh(self, *names: str, title: str = "team", broker: BrokerHouse | None = None) -> list[Machine]:
        """Machines of one mesh, all online and aware of each other. The first one made it and invited the rest."""
        broker = broker or (next(iter(self.network.brokers.values()), None) or await self.broker())
        machines = [self.machines.get(name) or await self.machine(name) for name in names]
        await machines[0].call("mesh.new", name=title, me=names[0], broker=broker.url)
        slug = list(machines[0].app.node.meshes.values())[-1].slug
        for machine in machines[1:]:
            url = await self.invite(machines[0], slug)
            joined = await machine.call("mesh.join", url=url, me=machine.name)
            assert joined["state"] == "joined", joined
        for machine in machines:
            await machine.until_online()
        await self.until(
            lambda: all(
                m.app.board.online_count(m.mesh(slug)) == len(names) - 1 and len(m.mesh(slug).names) == len(names)
                for m in machines
            ),
            what="everybody heard everybody",
        )
        return machines

    async def invite(self, machine: Machine, mesh: str = "") -> str:
        """An invite link. Of these a machine may open as many as a test needs."""
        machine.app.node.find_mesh(mesh).invited = Opened()
        return str((await machine.call("mesh.invite", mesh=mesh))["url"])

    def cable(self, machine: Machine, broker: BrokerHouse | None = None) -> Cable:
        """The machine's way to its broker."""
        house = broker or next(iter(self.network.brokers.values()))
        return self.network.cable(machine.name, house.url)

    async def unplug(self, machine: Machine) -> None:
        """Cut a machine off from its broker until `plug`."""
        cable = self.cable(machine)
        cable.down = True
        await cable.cut()
        await self.until(lambda: machine.mesh().link.value == "offline", what=f"{machine.name} is offline")

    async def plug(self, machine: Machine) -> None:
        self.cable(machine).down = False
        await machine.until_online()

    async def until(
        self,
        condition: Callable[[], T | Awaitable[T]],
        seconds: float = 60.0,
        what: str = "the condition",
    ) -> T:
        """What `condition` gives once it is true; fails the story when that takes longer than `seconds` virtual ones."""
        with trio.move_on_after(seconds):
            while True:
                self.raise_bugs()
                found = condition()
                value: T = await found if inspect.isawaitable(found) else found  # type: ignore[assignment]
                if value:
                    return value
                await trio.sleep(STEP_S)
        raise AssertionError(f"within {seconds} s: {what} did not come")

    async def settle(self, seconds: float = 1.0) -> None:
        """Let everything that can happen now happen: for stories about what must not happen."""
        await trio.sleep(seconds)

    def take_errors(self) -> list[str]:
        """The events of errors that were logged so far; they are expected, then."""
        taken = [str(record.msg) for record in self.log]
        self.log.clear()
        return taken

    def check(self) -> None:
        """Nothing went wrong that no test asked for."""
        self.raise_bugs()
        assert not self.log, f"errors were logged: {[(str(r.msg), r.__dict__.get('mesh_fields')) for r in self.log]}"
        for house in self.network.brokers.values():
            assert not [line for line in house.log if '"level": "error"' in line], house.log

    def raise_bugs(self) -> None:
        for method, error in self.bugs:
            raise AssertionError(f"internal error in {method}") from error


class _Errors(logging.Handler):
    def __init__(self, kept: list[logging.LogRecord]) -> None:
        super().__init__(logging.ERROR)
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(record)


@asynccontextmanager
async def open_world(seed: int = 1) -> AsyncIterator[World]:
    """A world without machines. Virtual time is the caller's: run it under a `MockClock` that jumps."""
    folder = Path(tempfile.mkdtemp(prefix="world-", dir=MEMORY if MEMORY.is_dir() else None))
    logger = logging.getLogger("meshd")
    try:
        async with trio.open_nursery() as nursery:
            world = World(folder, seed, nursery)
            handler = _Errors(world.log)
            logger.addHandler(handler)
            try:
                yield world
            finally:
                logger.removeHandler(handler)
                nursery.cancel_scope.cancel()
        world.check()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
