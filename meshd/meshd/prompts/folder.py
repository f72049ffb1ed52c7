"""The prompt library: the YAML files of one folder, read again when they change.

Nothing outside the folder is ever read: no link is followed, no name holds a slash, and what others may write is refused.
"""

import os
import stat
from collections.abc import Awaitable, Callable
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import trio

from meshd.log import get_logger
from meshd.private_files import OTHERS_WRITE, NotPrivate, open_directory, read_file
from meshd.prompts.document import FILE_BYTES, BadPrompt, Prompt, read_prompt
from meshd.seams import Threads

log = get_logger("prompts")

NAME: Final = "prompts"
MAX_FILES: Final = 64
MAX_LISTED: Final = 4_096
"""Names of a folder that are looked at."""
EVERY_S: Final = 5.0
_ENDINGS: Final = (".yaml", ".yml")


class Bad(NamedTuple):
    """A file that is not served, by its name as it may be shown, and why."""

    file: str
    why: str


class Shelf(NamedTuple):
    """What a folder holds: prompts by name, each with its file. `trouble` says why nothing is read at all."""

    prompts: dict[str, tuple[Prompt, str]]
    bad: tuple[Bad, ...]
    trouble: str


class _Read(NamedTuple):
    """A file as it was read; `seen` tells whether it has changed since."""

    seen: tuple[int, ...]
    found: Prompt | Bad


EMPTY: Final = Shelf({}, (), "")


class PromptFolder:
    """`threads` does the reading. `run` looks for changes as long as somebody follows."""

    def __init__(self, path: Path, threads: Threads) -> None:
        self.path = path
        self._threads = threads
        self._files: dict[str, _Read] = {}
        self._shelf = EMPTY
        self._one_at_a_time = trio.Lock()
        self._changed = trio.Event()
        self._followed = trio.Event()
        self._followers = 0

    async def read(self) -> Shelf:
        """What the folder holds now."""
        async with self._one_at_a_time:
            shelf = await self._threads(self._scan)
            if shelf != self._shelf:
                self._shelf = shelf
                changed, self._changed = self._changed, trio.Event()
                changed.set()
        return shelf

    async def run(self) -> None:
        """Look for changes; for ever."""
        while True:
            if not self._followers:
                self._followed = trio.Event()
                await self._followed.wait()
            await trio.sleep(EVERY_S)
            await self.read()

    async def follow(self, tell: Callable[[], Awaitable[None]]) -> None:
        """Call `tell` after each change, until cancelled."""
        shelf = await self.read()
        self._followers += 1
        self._followed.set()
        try:
            while True:
                changed = self._changed
                if self._shelf == shelf:
                    await changed.wait()
                if self._shelf != shelf:
                    shelf = self._shelf
                    await tell()
        finally:
            self._followers -= 1

    # In a thread.

    def _scan(self) -> Shelf:
        try:
            folder = open_directory(self.path, forbidden=OTHERS_WRITE)
        except NotPrivate as error:
            if isinstance(error.__cause__, FileNotFoundError):
                self._files = {}
                return EMPTY
            link = self.path.is_symlink()
            return Shelf({}, (), f"{self.path} is a link: make it a folder of its own" if link else str(error))
        try:
            return self._read_files(folder)
        except OSError as error:
            return Shelf({}, (), f"{self.path}: {error.strerror or 'it cannot be read'}")
        finally:
            os.close(folder)

    def _read_files(self, folder: int) -> Shelf:
        with os.scandir(folder) as entries:
            names = sorted(
                each.name
                for each in islice(entries, MAX_LISTED)
                if each.name.endswith(_ENDINGS) and not each.name.startswith(".")
            )
        self._files = {name: self._read_file(folder, name) for name in names[:MAX_FILES]}
        prompts: dict[str, tuple[Prompt, str]] = {}
        bad: list[Bad] = []
        for name, read in self._files.items():
            found = read.found
            if isinstance(found, Bad):
                bad.append(found)
            elif found.name in prompts:
                bad.append(Bad(_shown(name), f"the name {found.name} is that of {prompts[found.name][1]}"))
            else:
                prompts[found.name] = found, _shown(name)
        bad.extend(Bad(_shown(name), f"a library has at most {MAX_FILES} files") for name in names[MAX_FILES:])
        return Shelf(prompts, tuple(bad), "")

    def _read_file(self, folder: int, name: str) -> _Read:
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            return _Read((), Bad(_shown(name), error.strerror or "it cannot be read"))
        # With the time of its inode's change: a file that is put in another's place may have the other's times.
        seen = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
        known = self._files.get(name)
        if known is not None and known.seen == seen:
            return known
        if stat.S_ISLNK(found.st_mode):
            return _Read(seen, Bad(_shown(name), "it is a link: copy the file itself into the folder"))
        try:
            content = read_file(folder, name, self.path / _shown(name), FILE_BYTES, forbidden=OTHERS_WRITE)
            if content is None:
                return _Read((), Bad(_shown(name), "it has gone"))
            return _Read(seen, read_prompt(content, name.rpartition(".")[0]))
        except (NotPrivate, BadPrompt) as error:
            return _Read(seen, Bad(_shown(name), str(error)))
        except Exception as error:  # noqa: BLE001 - one file must not cost the others
            log.error("a prompt could not be read", error=error)  # noqa: TRY400 - it may quote the file
            return _Read(seen, Bad(_shown(name), "it could not be read (see the log)"))


def _shown(name: str) -> str:
    """A file's name without what could disturb a terminal."""
    return name if name.isprintable() and len(name) <= 100 else ascii(name[:80])
