"""A headless Claude Code (`-p`, stream-json both ways), kept open between turns."""

import json
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from .home import Home
from .namespace import Place
from .registry_view import RegistryView
from .waiting import alongside, end_process, until

STREAM = ("-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose")
MAX_LINE = 32 << 20


class HeadlessSession(RegistryView):
    """What the session wrote so far (`events`, in order), and a way to write to it."""

    def __init__(self, process: trio.Process, home: Home, diagnostics: Path) -> None:
        super().__init__(process.pid, home)
        self._process = process
        self._diagnostics = diagnostics
        self.events: list[Mapping[str, object]] = []

    async def say(self, text: str) -> None:
        """Send a user's message."""
        message = {"role": "user", "content": text}
        await self._write({"type": "user", "message": message, "parent_tool_use_id": None})

    async def _write(self, value: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(value).encode() + b"\n")

    async def event(
        self, matches: Callable[[Mapping[str, object]], bool], *, what: str, seconds: float = 20.0
    ) -> Mapping[str, object]:
        """The first event, past ones included, for which `matches` holds."""
        return await until(
            lambda: next((event for event in self.events if matches(event)), None),
            what=what,
            seconds=seconds,
            explain=self.explain,
        )

    async def results(self, count: int, *, seconds: float = 20.0) -> list[Mapping[str, object]]:
        """The `result` events, once there are `count` of them: one ends each turn."""

        def enough() -> list[Mapping[str, object]] | None:
            found = [event for event in self.events if event.get("type") == "result"]
            return found if len(found) >= count else None

        return await until(enough, what=f"{count} results", seconds=seconds, explain=self.explain)

    def explain(self) -> str:
        """What to print when a wait failed: the last events and what went to standard error."""
        said = self._diagnostics.read_text(errors="replace")[-2000:]
        recent = "\n".join(json.dumps(event)[:400] for event in self.events[-8:])
        return f"status {self._process.poll()}; last events:\n{recent}\nstderr:\n{said}"

    async def read_events(self) -> None:
        """Collect events until the session closes its output."""
        assert self._process.stdout is not None
        pending = bytearray()
        async for chunk in self._process.stdout:
            pending += chunk
            *lines, rest = bytes(pending).split(b"\n")
            pending = bytearray(rest)
            assert len(pending) <= MAX_LINE
            self.events.extend(json.loads(line) for line in lines if line)

    async def finish(self) -> None:
        """Close its input, as a host that is done does, and end the process if that does not."""
        assert self._process.stdin is not None
        with trio.CancelScope(shield=True):
            await self._process.stdin.aclose()
            with trio.move_on_after(5):
                await self._process.wait()
        await end_process(self._process)


@asynccontextmanager
async def headless(
    binary: Path,
    place: Place,
    home: Home,
    base_url: str,
    *args: str,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[HeadlessSession]:
    """Start a headless session in the project of `home`; it has ended when the block is left."""
    argv: Sequence[str] = (*place.prefix, str(binary), *STREAM, *args)
    diagnostics = home.root / "stderr.txt"
    with diagnostics.open("ab") as errors:
        process = await trio.lowlevel.open_process(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=home.project,
            env=home.env(base_url, env),
        )
    session = HeadlessSession(process, home, diagnostics)
    async with alongside(session.read_events):
        try:
            yield session
        finally:
            await session.finish()
