"""One process of ours: started within a bound, ended by its own id, its words kept."""

import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Final

import trio

DOOMED: Final = str(Path(__file__).with_name("doomed.py"))
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 15.0


class NotStarted(AssertionError):
    """The process ended, or said nothing, before it was ready; the text holds its last words."""


class Program:
    """`argv` run again and again. Standard error is appended to `log`; `ready` begins the line that says it serves."""

    def __init__(self, name: str, argv: Sequence[str], *, env: Mapping[str, str], log: Path, ready: str) -> None:
        self.name = name
        self.log = log
        self._argv = [sys.executable, *argv]
        self._fate: list[str] = []
        # Never byte-code from here: under a file size limit the interpreter leaves cut-off files in its cache, and every
        # later start of any program fails on them.
        self._env = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            **env,
        }
        self._ready = ready
        self._process: trio.Process | None = None
        self._line = ""
        self.starts = 0
        self.file_bytes: int | None = None

    def limit_files(self, size: int | None) -> None:
        """From now on no file may grow beyond `size` bytes, as on a full disk; None gives the room back.

        For the running process too, if there is one.
        """
        self.file_bytes = size
        if self.running:
            hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))

    def doom(self, point: str | None, arrival: int = 1) -> None:
        """From its next start on, it dies at the `arrival`-th time that it comes by the crash point; None ends this."""
        self._fate = [] if point is None else [sys.executable, DOOMED, point, str(arrival)]

    @property
    def _started_as(self) -> list[str]:
        return [*self._fate, *self._argv[2:]] if self._fate else self._argv

    @property
    def process(self) -> trio.Process:
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def spawn(self) -> None:
        """Start it and wait for nothing."""
        assert not self.running, f"{self.name} runs already"
        self.starts += 1
        limit = self.file_bytes
        self._line = ""
        with self.log.open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                self._started_as,
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=log,
                env=self._env,
                cwd=self.log.parent,
                preexec_fn=None if limit is None else partial(_limit_files, limit),
            )

    async def ready(self, seconds: float = START_SECONDS) -> str:
        """Wait for the line that says it serves, if it has not said so yet; returns the whole line."""
        if self._line:
            return self._line
        stdout = self.process.stdout
        assert stdout is not None
        said = b""
        with trio.move_on_after(seconds):
            while not said.endswith(b"\n"):
                data = await stdout.receive_some(4096)
                if not data:
                    status = await self.process.wait()
                    raise NotStarted(f"{self.name} ended with {status} before it was ready\n{self.tail()}")
                said += data
        if not said.startswith(self._ready.encode()):
            raise NotStarted(f"{self.name} said {said!r} in {seconds:g} s\n{self.tail()}")
        self._line = said.decode().strip()
        return self._line

    async def start(self) -> str:
        await self.spawn()
        return await self.ready()

    async def run_once(self, seconds: float = START_SECONDS) -> tuple[int, str]:
        """Run it to its end: the exit status, and what it wrote to standard error."""
        limit = self.file_bytes
        with trio.fail_after(seconds):
            done = await trio.run_process(
                self._argv,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=self._env,
                cwd=self.log.parent,
                preexec_fn=None if limit is None else partial(_limit_files, limit),
            )
        return done.returncode, done.stderr.decode()

    async def kill(self) -> None:
        """SIGKILL, whatever it is doing."""
        process = self.process
        with trio.CancelScope(shield=True):
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
            await process.wait()
            await self._close()

    async def stop(self) -> int:
        """SIGTERM; its exit status. Raises AssertionError when it does not end."""
        process = self.process
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
        return await self.ended()

    async def ended(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end; its exit status."""
        with trio.move_on_after(seconds):
            status = await self.process.wait()
            await self._close()
            return status
        await self.kill()
        raise AssertionError(f"{self.name} did not end within {seconds:g} s\n{self.tail()}")

    async def _close(self) -> None:
        if self.process.stdout is not None:
            await self.process.stdout.aclose()

    def said(self) -> str:
        """Everything it wrote to standard error so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.said().splitlines()[-lines:])


def _limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
