"""The broker as a program: start it, kill it, talk to it."""

import os
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio

from broker_kit.people import Device, Mesh, new_mesh
from broker_kit.side import PATIENCE, Side
from mesh_protocol.broker_api import CHALLENGE, Challenge
from mesh_protocol.io.websocket import open_websocket
from mesh_protocol.op import read_answer

START_SECONDS = 20.0


class Process:
    """`mesh-broker run` on a free loopback port, with its log in a file."""

    def __init__(self, data: Path, arguments: Sequence[str] = (), listen: str = "127.0.0.1:0") -> None:
        self.data = data
        self.log = data.with_name(data.name + ".log")
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "mesh_broker", "run", "--listen", listen, "--data", str(data), *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": ""},
                text=True,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    def ready(self) -> str:
        """Wait for the ready line; the URL in it."""
        assert self._child.stdout is not None
        line = self._child.stdout.readline().strip()
        assert line.startswith("mesh-broker ready on "), f"{line!r}: {self.log.read_text()}"
        return line.rpartition(" ")[2]

    def signal(self, number: int) -> None:
        self._child.send_signal(number)

    def wait(self) -> int:
        """The exit status; negative for a signal."""
        return self._child.wait(START_SECONDS)

    async def ended(self) -> int:
        """`wait` beside other tasks."""
        with trio.fail_after(START_SECONDS):
            while self._child.poll() is None:
                await trio.sleep(0.01)
        return self.wait()

    def close(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait(START_SECONDS)
        assert self._child.stdout is not None
        self._child.stdout.close()


@contextmanager
def running(data: Path, *arguments: str) -> Iterator[Process]:
    """A broker process that is gone at the end."""
    process = Process(data, arguments)
    try:
        yield process
    finally:
        process.close()


@asynccontextmanager
async def connected(url: str, context: ssl.SSLContext | None = None) -> AsyncIterator[Side]:
    """A challenged connection to a broker process. It may end at any time."""
    async with open_websocket(url, context) as link, trio.open_nursery() as nursery:
        side = Side(link)
        nursery.start_soon(side.run)
        with trio.fail_after(PATIENCE):
            side.challenge = read_answer(Challenge, (await side.heard(CHALLENGE)).params)
        yield side
        nursery.cancel_scope.cancel()


async def made_mesh(side: Side, owner: Device, word: str = "mesh") -> Mesh:
    """A new mesh on that broker."""
    mesh = new_mesh(owner, side.challenge.broker_key, word)
    await side.hello(mesh.id, owner.key, create=mesh)
    return mesh


SIGTERM = signal.SIGTERM
SIGKILL = signal.SIGKILL
