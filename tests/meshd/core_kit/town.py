"""Machines in two meshes at two brokers, one of which may be made to lie to one of them."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from broker_kit.people import seeded
from broker_kit.stand import Stand, open_memory_stand
from core_kit.core import Core, until
from core_kit.liar import Liar
from mesh_broker.client import THIS_PROCESS
from mesh_protocol.io.link import Link
from mesh_protocol.io.memory import link_pair
from mesh_protocol.keys import SigningKey

LYING_URL, SAFE_URL = "ws://127.0.0.1:7001", "ws://127.0.0.1:7002"
BROKER_KEY = SigningKey.from_seed(seeded("broker"))
"""The brokers' own key: a lying broker signs with it what it likes."""


@dataclass
class Town:
    """`team` lies at the broker of `LYING_URL`, `safe` at an honest one. `liars[name]` is between that machine and `team`."""

    folder: Path
    nursery: trio.Nursery
    stands: dict[str, Stand]
    cores: dict[str, Core] = field(default_factory=dict)
    liars: dict[str, Liar] = field(default_factory=dict)

    async def settle(self, name: str) -> Core:
        """A new machine."""
        liar = self.liars[name] = Liar(lambda: self._dial(LYING_URL))
        safe = Liar(lambda: self._dial(SAFE_URL))

        def network(url: str) -> AbstractAsyncContextManager[Link]:
            return liar.connect(url) if url == LYING_URL else safe.connect(url)

        folder = self.folder / name
        folder.mkdir(mode=0o700)
        core = self.cores[name] = Core(name, folder, network, self.nursery)
        await core.start()
        return core

    def _dial(self, url: str) -> Link:
        near, far = link_pair()
        self.nursery.start_soon(self.stands[url].broker.serve, far, THIS_PROCESS)
        return near

    async def join(self, host: Core, guest: Core, slug: str) -> None:
        invite = await host.call("mesh.invite", mesh=slug)
        joined = await guest.call("mesh.join", url=invite["url"], me=guest.name)
        assert joined["state"] == "joined"
        await guest.until_online(slug)

    async def require_safe_mesh_works(self) -> None:
        """Whatever the lying broker does, the mesh at the other one goes on."""
        alice, bob = self.cores["alice"], self.cores["bob"]
        text = f"all is well at {trio.current_time()}"
        await alice.send("bob", text, mesh="safe")
        assert text in await bob.texts("safe")


@asynccontextmanager
async def open_town(folder: Path) -> AsyncIterator[Town]:
    """`alice` and `bob`, both in both meshes, all online."""
    (folder / "one").mkdir()
    (folder / "two").mkdir()
    async with (
        open_memory_stand(folder / "one") as one,
        open_memory_stand(folder / "two") as two,
        trio.open_nursery() as nursery,
    ):
        town = Town(folder, nursery, {LYING_URL: one, SAFE_URL: two})
        alice, bob = await town.settle("alice"), await town.settle("bob")
        for url, slug in ((LYING_URL, "team"), (SAFE_URL, "safe")):
            await alice.call("mesh.new", name=slug, me="alice", broker=url)
            await town.join(alice, bob, slug)
            await alice.until_online(slug)
        await until(lambda: alice.app.board.online_count(alice.mesh()) == 1, "bob's presence")
        yield town
        for core in town.cores.values():
            await core.crash()
        nursery.cancel_scope.cancel()
