"""Two people's machines in one mesh."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from machines.machine import BrokerProgram, Machine, running


@dataclass
class Pair:
    """`alice` made the mesh `team`, `bob` joined it."""

    folder: Path
    broker: BrokerProgram
    alice: Machine
    bob: Machine

    async def until_online(self) -> None:
        await self.alice.until_online()
        await self.bob.until_online()


async def join(first: Machine, second: Machine, broker_url: str, mesh: str = "team") -> None:
    """`first` makes a mesh at the broker, `second` joins it."""
    await first.call("mesh.new", name=mesh, me=first.name, broker=broker_url)
    invite = await first.call("mesh.invite", mesh=mesh)
    joined = await second.call("mesh.join", url=invite["url"], me=second.name, wait_s=20.0)
    assert joined["state"] == "joined"


@asynccontextmanager
async def open_pair(folder: Path, *broker_options: str) -> AsyncIterator[Pair]:
    """A broker and two machines, running, in one mesh and online."""
    pair = Pair(folder, BrokerProgram(folder, *broker_options), Machine("alice", folder), Machine("bob", folder))
    async with running(pair.broker, pair.alice, pair.bob):
        await join(pair.alice, pair.bob, pair.broker.url)
        await pair.until_online()
        yield pair
