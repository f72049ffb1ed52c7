"""An interactive Claude Code on a pseudo terminal, its screen kept by a terminal emulator."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pyte
import trio

from .home import Home
from .namespace import Place
from .registry_view import RegistryView
from .waiting import alongside, end_process, until

COLUMNS, ROWS = 140, 50
ASKS = "Do you want to proceed?"


class InteractiveSession(RegistryView):
    """The screen as text, and a keyboard."""

    def __init__(self, process: trio.Process, home: Home, terminal: trio.lowlevel.FdStream) -> None:
        super().__init__(process.pid, home)
        self._process = process
        self._terminal = terminal
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._emulator = pyte.ByteStream(self._screen)

    @property
    def text(self) -> str:
        """The screen, one line a row, blank rows left out, no-break spaces as spaces."""
        return "\n".join(line.replace("\xa0", " ").rstrip() for line in self._screen.display if line.strip())

    async def keys(self, text: str) -> None:
        """Type; Return is a carriage return."""
        await self._terminal.send_all(text.encode())

    async def say(self, text: str) -> None:
        """Send a user's message: type it, wait until it stands in the input field, press Return."""
        await self.keys(text)
        await self.shows(f"❯ {text}")
        await self.keys("\r")

    async def approve(self) -> None:
        """Say yes to the permission prompt. One that has just appeared takes no keys yet, so Return is pressed again."""
        await self.shows(ASKS)
        with trio.move_on_after(20.0):
            while ASKS in self.text:
                await self.keys("\r")
                with trio.move_on_after(0.5):
                    await until(lambda: ASKS not in self.text, what="an answer")
        assert ASKS not in self.text, self.explain()

    async def shows(self, text: str, *, seconds: float = 20.0) -> str:
        """Wait until the screen shows `text`; the row that holds it first."""
        return await until(
            lambda: next((line for line in self.text.splitlines() if text in line), None),
            what=f"{text!r} on the screen",
            seconds=seconds,
            explain=self.explain,
        )

    def explain(self) -> str:
        """What to print when a wait failed."""
        return f"status {self._process.poll()}; screen:\n{self.text}"

    async def draw(self) -> None:
        """Feed the emulator until the terminal closes."""
        while True:
            try:
                data = await self._terminal.receive_some(65536)
            except trio.BrokenResourceError:
                return  # EIO: the last process that held the terminal is gone
            if not data:
                return
            self._emulator.feed(data)

    async def finish(self) -> None:
        await end_process(self._process)


@asynccontextmanager
async def interactive(
    binary: Path,
    place: Place,
    home: Home,
    base_url: str,
    *args: str,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[InteractiveSession]:
    """Start an interactive session in the project of `home`; it has ended when the block is left."""
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        process = await trio.lowlevel.open_process(
            (*place.prefix, str(binary), "--permission-mode", "manual", *args),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=partial(os.login_tty, theirs),
            pass_fds=(theirs,),
            cwd=home.project,
            env=home.env(base_url, env),
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    terminal = trio.lowlevel.FdStream(ours)
    session = InteractiveSession(process, home, terminal)
    async with terminal, alongside(session.draw):
        try:
            yield session
        finally:
            await session.finish()
