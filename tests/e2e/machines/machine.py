"""A machine with a daemon, and a broker, each in a folder of its own."""

import random
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import trio

from machines.program import Program
from machines.talk import Answer, Talk, open_talk

RUN = ("-m", "meshd", "run")


class Machine(Program):
    """`meshd run` for a home. `name` is also the name of its person; `argv` is what the interpreter runs."""

    def __init__(
        self, name: str, folder: Path, home: Path | None = None, *, log_level: str = "info", argv: Sequence[str] = RUN
    ) -> None:
        self.home = home or folder / name
        self.home.mkdir(mode=0o700, exist_ok=True)
        super().__init__(
            name,
            argv,
            env={"HOME": str(folder), "MESH_HOME": str(self.home), "MESH_LOG_LEVEL": log_level},
            log=folder / f"{name}.log",
            ready="meshd ready",
        )

    def talk(self) -> AbstractAsyncContextManager[Talk]:
        return open_talk(self.home)

    async def call(self, method: str, /, text: str = "", **params: object) -> Answer:
        """One call on a connection of its own."""
        async with self.talk() as talk:
            return await talk.call(method, text, **params)

    async def status(self) -> Answer:
        return await self.call("daemon.status")

    async def findings(self) -> dict[str, Answer]:
        """Doctor's checks by name."""
        checks = (await self.call("daemon.doctor"))["checks"]
        return {check["name"]: check for check in checks}

    async def until_online(self, seconds: float = 30.0) -> None:
        """Wait until every mesh of this machine is online."""

        async def look() -> bool:
            meshes = (await self.status())["meshes"]
            return bool(meshes) and all(mesh["link"] == "online" for mesh in meshes)

        with trio.fail_after(seconds):
            while not await look():
                await trio.sleep(0.02)


class BrokerProgram(Program):
    """`mesh-broker run` on a port that stays the same over restarts."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.data = folder / "broker"
        self.port = free_port()
        super().__init__(
            "broker",
            ["-m", "mesh_broker", "run", "--listen", f"127.0.0.1:{self.port}", "--data", str(self.data), *options],
            env={"HOME": str(folder)},
            log=folder / "broker.log",
            ready="mesh-broker ready",
        )

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"


def free_port() -> int:
    """A free port outside the range from which the kernel gives out its own (Linux: from 32768)."""
    chance = random.SystemRandom()
    while True:
        with socket.socket() as probe:
            port = chance.randrange(20_000, 32_000)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@asynccontextmanager
async def running(*programs: Program) -> AsyncIterator[None]:
    """Start what does not run yet, all at once, and at the end kill what still does."""
    try:
        async with trio.open_nursery() as nursery:
            for program in programs:
                if not program.running:
                    nursery.start_soon(program.start)
        yield
    finally:
        for program in programs:
            if program.running:
                await program.kill()
