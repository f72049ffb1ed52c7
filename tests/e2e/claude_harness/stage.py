"""Everything a test with the real binary needs, in one object: binary, place, API, and homes that are cleaned up."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .fake_api import FakeApi, serve
from .home import Home, seed_home
from .namespace import Place
from .screen import InteractiveSession, interactive
from .session import HeadlessSession, headless


@dataclass(frozen=True, slots=True)
class Stage:
    """One test's stage. `root` is a short private folder below the system's temporary one."""

    binary: Path
    place: Place
    api: FakeApi
    root: Path

    def home(
        self,
        name: str = "a",
        *,
        settings: Mapping[str, object] | None = None,
        mcp_servers: Mapping[str, object] | None = None,
    ) -> Home:
        """A new home; `name` also tells its sessions' requests apart (`Request.agent`)."""
        return seed_home(self.root / name, settings=settings, mcp_servers=mcp_servers)

    def interactive(
        self, home: Home, *args: str, env: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[InteractiveSession]:
        """An interactive session of that home."""
        return interactive(self.binary, self.place, home, self.api.base_url(home.root.name), *args, env=env)

    def headless(
        self, home: Home, *args: str, env: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[HeadlessSession]:
        """A headless session of that home."""
        return headless(self.binary, self.place, home, self.api.base_url(home.root.name), *args, env=env)

    def start(
        self, kind: str, home: Home, *args: str
    ) -> AbstractAsyncContextManager[InteractiveSession | HeadlessSession]:
        """A session of the kind named: `interactive` or `headless`."""
        return self.interactive(home, *args) if kind == "interactive" else self.headless(home, *args)


@contextmanager
def short_folder() -> Iterator[Path]:
    """A private folder with a short path: a socket's path below it must fit into 107 bytes."""
    root = Path(tempfile.mkdtemp(prefix="mc-"))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


@asynccontextmanager
async def open_stage(binary: Path, place: Place) -> AsyncIterator[Stage]:
    """A stage while the block runs; its homes are removed afterwards."""
    with short_folder() as root:
        async with serve(place.listener) as api:
            yield Stage(binary, place, api, root)
