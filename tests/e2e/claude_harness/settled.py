"""A machine with a daemon and a mesh of its own, in whose homes `mesh install` has set up the real Claude Code."""

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import trio

from machines.machine import RUN, Machine
from machines.talk import Answer, NoDaemon

from .frames import texts_of
from .home import Home
from .stage import Stage, short_folder

T = TypeVar("T")

MESH: Final = Path(sys.executable).with_name("mesh")
SECONDS: Final = 60.0
STEP_S: Final = 0.05
SHOWN: Final = ("shown", "turn_started")


@dataclass
class Settled:
    """`ann`'s machine, whose mesh is called team. A session's name is its folder's: `proj`."""

    stage: Stage
    machine: Machine

    async def home(self, name: str = "a", *, settings: Mapping[str, object] | None = None) -> Home:
        """A home in which `mesh install` was run."""
        home = self.stage.home(name, settings=settings)
        await self.install(home)
        return home

    async def install(self, home: Home) -> None:
        status, _, complaint = await self.mesh(home, "install", "--yes", "--no-service")
        assert status == 0, complaint

    async def mesh(self, home: Home, *arguments: str) -> tuple[int, str, str]:
        """A `mesh` command of the person whose home it is: exit status, output, complaint."""
        path = f"{self.stage.binary.parent}:{os.environ['PATH']}"
        env = {"PATH": path, "HOME": str(home.path), "MESH_HOME": str(self.machine.home)}
        with trio.fail_after(SECONDS):
            done = await trio.run_process(
                [str(MESH), *arguments],
                env=env,
                cwd=home.project,
                stdin=b"",
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    async def rows(self) -> list[Answer]:
        """The live sessions that the daemon knows."""
        rows: list[Answer] = (await self.machine.call("session.list"))["sessions"]
        return rows

    async def row(self, name: str = "proj") -> Answer:
        return next((row for row in await self.rows() if row["session"] == name), {})

    async def until_named(self, *names: str) -> None:
        """Wait until exactly these sessions live."""
        wanted = sorted(names)

        async def look() -> bool:
            return sorted(row["session"] for row in await self.rows()) == wanted

        await eventually(look, what=f"sessions {wanted}", explain=self.rows)

    async def until_row(self, what: str, holds: Callable[[Answer], bool], name: str = "proj") -> Answer:
        """A session's row once it is as wanted."""

        async def look() -> Answer:
            row = await self.row(name)
            return row if row and holds(row) else {}

        return await eventually(look, what=what, explain=self.rows)

    async def send(self, to: str, text: str, priority: str = "next") -> str:
        """Send as the person; the message's id."""
        answer = await self.machine.call("message.send", text=text, to=[to], priority=priority)
        return str(answer["id"])

    async def progress(self, msg_id: str) -> Answer:
        (row,) = (await self.machine.call("message.status", id=msg_id))["recipients"]
        found: Answer = row
        return found

    async def until_shown(self, msg_id: str) -> Answer:
        """How it is known, once it is."""

        async def look() -> Answer:
            row = await self.progress(msg_id)
            return row if row["state"] in SHOWN else {}

        return await eventually(look, what=f"message {msg_id} shown", explain=lambda: self.progress(msg_id))

    async def until_told(self, *texts: str, last: bool = False) -> None:
        """Wait until the model was given exactly these peers' texts, in this order; `last`: its latest turn alone.

        A message is shown when it stands in the transcript, which is a moment before the model is asked about it.
        """

        async def look() -> bool:
            return texts_of(self.stage.api.turns()[-1 if last else 0 :]) == [*texts]

        async def told() -> list[list[str]]:
            return [texts_of([turn]) for turn in self.stage.api.turns()]

        await eventually(look, what=f"a model that was told {texts}", explain=told)

    async def restart(self) -> None:
        """The daemon is killed and started again."""
        await self.machine.kill()
        await self.machine.start()


async def eventually(
    probe: Callable[[], Awaitable[T]], *, what: str, explain: Callable[[], Awaitable[object]], seconds: float = SECONDS
) -> T:
    """What `probe` gives once it is true; a daemon that is being started again is waited for."""
    with trio.move_on_after(seconds):
        while True:
            try:
                found = await probe()
            except NoDaemon:
                found = None
            if found:
                return found
            await trio.sleep(STEP_S)
    raise AssertionError(f"waited {seconds:g} s for {what}; there is {await explain()}")


@asynccontextmanager
async def open_settled(stage: Stage, argv: Sequence[str] = RUN) -> AsyncIterator[Settled]:
    """A running daemon with a mesh, stopped at the end. `argv` is what its interpreter runs."""
    with short_folder() as folder:
        machine = Machine("ann", folder, argv=argv)
        try:
            await machine.start()
            await machine.call("mesh.new", name="team", me="ann")
            yield Settled(stage, machine)
        finally:
            await machine.stop()
