"""A disk that can lose its power: an SQLite VFS that remembers what was written since the last fsync.

`Database(path, vfs=disk.name)` puts a database on it; write-ahead log, shared index and several connections work as on
any disk. A machine has one; any number live in one process. One seed of `chance` and the same operations give the same
damage.

    disk = PowerDisk(random.Random(seed))
    disk.cut()              # or cut(after=n): off at the n-th change from now. Whatever is asked then fails.
    database.close()        # of every connection; a dead machine finishes nothing, so no checkpoint comes of it
    disk.restore()          # on again; open the database anew
    disk.close()            # at the very end

`cut` is a power cut: of what no fsync has covered each sector of 512 bytes is there or not, whatever the order of the
writes was, a file grown over lost sectors holds zeros or noise there, and a name that was made or removed without a sync
of its folder may be gone or back. `kill` is a kill -9: the process changes nothing any more, the kernel keeps what it was
given, and a cut that comes later may still lose it. `restore` after either drops the shared index.

`fail_syncs(n)`: the next n syncs fail with EIO and, as Linux does, forget what they were to write: a later sync that
succeeds says nothing about it. `fail_reads(n)`: the next n reads fail with EIO. `full = True`: nothing can grow.
"""

import itertools
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

import apsw

SECTOR: Final = 512
_OWN_FOLDER_SYNC: Final = (
    apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
)  # kinds of files whose first sync SQLite follows with one of their folder
_numbers = itertools.count(1)


class Write(NamedTuple):
    """Bytes given to the kernel, not to the disk."""

    offset: int
    data: bytes


class Cut(NamedTuple):
    """A file was given another length."""

    size: int


@dataclass(slots=True, eq=False)
class Image:
    """One file: what is on the disk for sure, and what was done to it since."""

    durable: bytearray
    size: int
    later: list[Write | Cut] = field(default_factory=list)
    syncs_folder: bool = False
    opened: int = 0

    def settle(self) -> None:
        """A sync that worked."""
        for change in self.later:
            _apply(self.durable, change, keep=None)
        self.later.clear()

    def damaged(self, chance: random.Random, keep: float) -> bytearray:
        """What may be found after a cut: sectors written since the last sync are there with probability `keep`."""
        found = bytearray(self.durable)
        noise = chance.random() < 0.5
        for change in self.later:
            if isinstance(change, Cut) and chance.random() >= keep:
                continue
            _apply(found, change, keep=lambda: chance.random() < keep, fill=chance.randbytes if noise else bytes)
        return found


class PowerDisk(apsw.VFS):
    """See the module. `name` is what `Database` and `apsw.Connection` take; `changes` counts writes, truncations, syncs
    and deletions so far."""

    def __init__(self, chance: random.Random) -> None:
        self.name = f"power-{next(_numbers)}"
        self.full = False
        self.changes = 0
        self.cuts = 0
        self._chance = chance
        self._off_at: int | None = None
        self._loses = False
        self._in_sync = False
        self._on = True
        self._failing_syncs = 0
        self._failing_reads = 0
        self._live: dict[str, Image] = {}
        """What names mean now."""
        self._folder: dict[str, Image] = {}
        """What they mean on the disk for sure."""
        super().__init__(self.name, "")

    # The nemesis.

    @property
    def on(self) -> bool:
        return self._on

    def cut(self, after: int = 0, *, in_sync: bool = False) -> None:
        """Cut the power: at once, or at the `after`-th change from now, which may reach the disk in part; `in_sync`: at the
        first sync from there on."""
        self._end(after, loses=True, in_sync=in_sync)

    def kill(self, after: int = 0) -> None:
        """End the process that uses this disk: at once, or at the `after`-th change from now, which does not happen."""
        self._end(after, loses=False, in_sync=False)

    def fail_syncs(self, times: int = 1) -> None:
        self._failing_syncs = times

    def fail_reads(self, times: int = 1) -> None:
        self._failing_reads = times

    def restore(self) -> None:
        """Switch on again. Every connection must be closed."""
        self._require_closed()
        if self._loses and not self._on:
            self._lose()
        for path in self._live:
            Path(f"{path}-shm").unlink(missing_ok=True)
        self._on, self._loses, self._off_at = True, False, None
        self._failing_syncs = self._failing_reads = 0
        self.full = False

    def forget(self) -> None:
        """Files were replaced by hand (a backup came back): what lies there now is on the disk."""
        self._require_closed()
        self._live.clear()
        self._folder.clear()

    def close(self) -> None:
        """SQLite forgets this disk."""
        self._require_closed()
        self.unregister()

    def _end(self, after: int, *, loses: bool, in_sync: bool) -> None:
        self._loses = loses
        self._in_sync = in_sync
        self._off_at = self.changes + after
        if not after:
            self._switch_off()

    def _switch_off(self) -> None:
        self._on = False
        self.cuts += 1

    def _require_closed(self) -> None:
        opened = [path for path, image in self._live.items() if image.opened]
        assert not opened, f"close these first: {opened}"

    def _lose(self) -> None:
        chance = self._chance
        keep = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        names = sorted({*self._live, *self._folder})
        found = {}
        for name in names:
            places = (self._live, self._folder)
            image = chance.choice(places).get(name)
            if image is not None:
                found[name] = image.damaged(chance, keep)
        self._live.clear()
        self._folder.clear()
        for name in names:
            Path(name).unlink(missing_ok=True)
        for name, content in found.items():
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as file:
                file.write(content)
            self._live[name] = self._folder[name] = Image(content, len(content))

    @contextmanager
    def hushed(self) -> Iterator[None]:
        """Open a database within this: SQLite swallows errors of `PRAGMA journal_mode`, and apsw would complain aloud of
        those that this disk raised because it is off."""
        before = sys.unraisablehook

        def hook(unraisable: "sys.UnraisableHookArgs") -> None:
            if self._on or not isinstance(unraisable.exc_value, apsw.IOError):
                before(unraisable)

        sys.unraisablehook = hook
        try:
            yield
        finally:
            sys.unraisablehook = before

    # SQLite's side.

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> "PowerFile":
        if not self._on:
            raise apsw.exception_for(apsw.SQLITE_CANTOPEN)
        return PowerFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.change()
        super().xDelete(filename, False)
        self._live.pop(filename, None)
        if syncdir:
            self._sync_folder(filename)

    def excepthook(
        self, etype: type[BaseException] | None, evalue: BaseException | None, etraceback: TracebackType | None
    ) -> bool:
        """SQLite passes over some errors of a disk that is off; nobody needs to hear of them."""
        return not self._on

    def image(self, path: str, flags: int) -> Image:
        """The file of that name before it is opened; made known if it is new here."""
        found = self._live.get(path)
        if found is None:
            there = Path(path)
            content = bytearray(there.read_bytes()) if there.exists() else bytearray()
            found = self._live[path] = Image(content, len(content))
            if there.exists():
                self._folder[path] = found
            else:
                found.syncs_folder = bool(flags & _OWN_FOLDER_SYNC)
        return found

    def change(self, *, is_sync: bool = False) -> None:
        """Count a change that is about to happen. Raises `apsw.IOError` when there is no power for it."""
        if self._on:
            self.changes += 1
            if self._off_at is not None and self.changes >= self._off_at and (is_sync or not self._in_sync):
                self._switch_off()
        if not self._on:
            raise apsw.exception_for(apsw.SQLITE_IOERR)  # not one that says "no room": nobody goes on after this

    def require_read(self) -> None:
        if not self._on:
            raise apsw.exception_for(apsw.SQLITE_IOERR_READ)
        if self._failing_reads:
            self._failing_reads -= 1
            raise apsw.exception_for(apsw.SQLITE_IOERR_READ)

    def sync(self, path: str, image: Image) -> None:
        self.change(is_sync=True)
        if self._failing_syncs:
            self._failing_syncs -= 1
            # The pages count as clean from now on; what of them reached the disk is anybody's guess.
            image.durable = image.damaged(self._chance, 0.5)
            image.later.clear()
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
        image.settle()
        if image.syncs_folder:
            image.syncs_folder = False
            self._sync_folder(path)

    def _sync_folder(self, path: str) -> None:
        folder = Path(path).parent
        for name in [name for name in self._folder if Path(name).parent == folder]:
            del self._folder[name]
        self._folder.update((name, image) for name, image in self._live.items() if Path(name).parent == folder)


class PowerFile(apsw.VFSFile):
    """An open file of a `PowerDisk`. Temporary files have no name, and nothing to lose."""

    def __init__(self, disk: PowerDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else name
        # Before it is opened, which makes it.
        self._image = disk.image(self._path, flags[0]) if self._path is not None else None
        super().__init__("", name, flags)
        if self._image is not None:
            self._image.opened += 1

    def excepthook(
        self, etype: type[BaseException] | None, evalue: BaseException | None, etraceback: TracebackType | None
    ) -> bool:
        return not self._disk.on

    def xClose(self) -> None:
        super().xClose()
        if self._image is not None:
            self._image.opened -= 1

    def xLock(self, level: int) -> None:
        if not self._disk.on:
            # A connection that closes asks for the whole file, to move its log into it; a dead machine does not.
            if level == apsw.SQLITE_LOCK_EXCLUSIVE:
                raise apsw.BusyError
            raise apsw.exception_for(apsw.SQLITE_IOERR_LOCK)
        super().xLock(level)

    def xRead(self, amount: int, offset: int) -> bytes:
        self._disk.require_read()
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        image, end = self._image, offset + len(data)
        if image is not None:
            if self._disk.full and end > image.size:
                raise apsw.exception_for(apsw.SQLITE_FULL)
            was_on = self._disk.on
            try:
                self._disk.change()
            finally:
                if was_on and (self._disk.on or self._disk._loses):
                    image.later.append(Write(offset, bytes(data)))
            image.size = max(image.size, end)
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        if self._image is not None:
            self._disk.change()
            self._image.later.append(Cut(newsize))
            self._image.size = newsize
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        # Not passed on: this disk decides alone what a cut leaves, and the real one is spared the wait.
        if self._image is not None and self._path is not None:
            self._disk.sync(self._path, self._image)


def _apply(
    content: bytearray,
    change: Write | Cut,
    keep: Callable[[], bool] | None,
    fill: Callable[[int], bytes] = bytes,
) -> None:
    """Do a change to a file's content; of a write with `keep` only the sectors that it says yes to."""
    if isinstance(change, Cut):
        del content[change.size :]
        content.extend(bytes(change.size - len(content)))
        return
    offset, data = change
    end = offset + len(data)
    if keep is None:
        content.extend(bytes(max(0, end - len(content))))
        content[offset:end] = data
        return
    place = offset
    while place < end:
        upto = min(end, place - place % SECTOR + SECTOR)
        if keep():
            if len(content) < upto:
                content.extend(fill(upto - len(content)))
            content[place:upto] = data[place - offset : upto - offset]
        place = upto
