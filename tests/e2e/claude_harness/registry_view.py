"""What a test may look at from outside while a session runs: its registry entry and its transcript."""

import json
from collections.abc import Mapping
from pathlib import Path

from .home import Home
from .waiting import until


class RegistryView:
    """A running session seen through the files it keeps."""

    def __init__(self, pid: int, home: Home) -> None:
        self.pid = pid
        self.home = home

    def entry(self) -> Mapping[str, object] | None:
        """Its entry in Claude's registry, or None as long as there is none that is whole."""
        try:
            found = json.loads((self.home.config / "sessions" / f"{self.pid}.json").read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def transcript(self) -> list[Mapping[str, object]]:
        """All complete lines of all its transcripts so far."""
        paths = sorted(self.home.config.glob("projects/*/*.jsonl"))
        return [line for path in paths for line in read_lines(path)]

    async def is_idle(self, *, seconds: float = 30.0) -> Path:
        """Wait until it is registered with an inbox and says it is idle; the path of that inbox."""

        def ready() -> Path | None:
            entry = self.entry()
            if entry is None or entry.get("status") != "idle":
                return None
            inbox = entry.get("messagingSocketPath")
            return Path(inbox) if isinstance(inbox, str) and Path(inbox).exists() else None

        return await until(ready, what="an idle session with an inbox", seconds=seconds, explain=self.explain)

    def explain(self) -> str:
        """What to print when a wait failed."""
        return f"registry entry: {self.entry()}"


def read_lines(path: Path) -> list[Mapping[str, object]]:
    """All complete lines of one transcript so far."""
    whole = path.read_bytes().rpartition(b"\n")[0]
    return [json.loads(line) for line in whole.split(b"\n") if line]
