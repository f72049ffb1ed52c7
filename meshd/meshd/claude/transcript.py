"""Follows a session's transcript and says what it proves, with bounded memory.

`Feed` is the pure core: bytes in, observations out. `Follower` reads the files; its calls block on the disk.
"""

import os
import stat
from collections import deque
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import TypeAlias

from .formats import MAX_LINE_BYTES, Evidence, TurnSeen, is_session_id, parse_line

CHUNK_BYTES = 256 * 1024
MAX_FILES = 8
MAX_AWAITING_TURN = 256
SEARCH_AFTER_QUIET_READS = 8


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The model was asked or answered for the first time after these pieces of evidence."""

    after: tuple[Evidence, ...]


Observation: TypeAlias = Evidence | TurnStarted


@dataclass(slots=True)
class Feed:
    """Turns the bytes of one transcript into observations. A line above the limit is dropped, unread and counted."""

    dropped_lines: int = 0
    _partial: bytearray = field(default_factory=bytearray)
    _dropping: bool = False
    _awaiting_turn: deque[Evidence] = field(default_factory=lambda: deque(maxlen=MAX_AWAITING_TURN))

    def feed(self, data: bytes) -> list[Observation]:
        """The observations of the lines that `data` completes, in order."""
        found: list[Observation] = []
        *ended, rest = data.split(b"\n")
        for piece in ended:
            line = self._complete(piece)
            if line is not None:
                found += self._observe(line)
        self._hold(rest)
        return found

    def _complete(self, piece: bytes) -> bytes | None:
        self._hold(piece)
        line = None if self._dropping else bytes(self._partial)
        self._partial.clear()
        self._dropping = False
        return line

    def _hold(self, piece: bytes) -> None:
        if self._dropping:
            return
        if len(self._partial) + len(piece) > MAX_LINE_BYTES:
            self._partial.clear()
            self._dropping = True
            self.dropped_lines += 1
            return
        self._partial += piece

    def _observe(self, line: bytes) -> list[Observation]:
        found: list[Observation] = []
        for item in parse_line(line):
            if not isinstance(item, TurnSeen):
                self._awaiting_turn.append(item)
                found.append(item)
            elif self._awaiting_turn:
                found.append(TurnStarted(tuple(self._awaiting_turn)))
                self._awaiting_turn.clear()
        return found


@dataclass(slots=True)
class _Tail:
    """How far one file was read; another file under the same name is another tail."""

    identity: tuple[int, int]
    offset: int
    feed: Feed = field(default_factory=Feed)


class Follower:
    """The transcript of one session: `<config dir>/projects/*/<session id>.jsonl`, wherever it turns up.

    With `from_end` what stands there now is passed over. ValueError for a malformed session id.
    """

    def __init__(self, config_dir: Path, session_id: str, uid: int, *, from_end: bool) -> None:
        if not is_session_id(session_id):
            raise ValueError("not a session id")
        self.session_id = session_id
        self._projects = config_dir / "projects"
        self._uid = uid
        self._tails: dict[Path, _Tail] = {}
        self._quiet_reads = 0
        self._known = self._search()
        if from_end:
            for path in self._known:
                self._skip_to_end(path)

    @property
    def dropped_lines(self) -> int:
        """How many lines were too long to be read."""
        return sum(tail.feed.dropped_lines for tail in self._tails.values())

    def read(self, limit: int = 4 << 20) -> tuple[list[Observation], bool]:
        """What was appended since the last call: observations, and whether more than `limit` bytes waited.

        A file that is not there (yet, or any more) is no error: there is nothing to observe.
        """
        # A search looks into every project, so it is made only while the known files stay as they are.
        if not self._known or self._quiet_reads >= SEARCH_AFTER_QUIET_READS:
            self._known = self._search()
            self._quiet_reads = 0
        found: list[Observation] = []
        left = limit
        for path in self._known:
            observations, used = self._read_file(path, left)
            found += observations
            left -= used
        self._quiet_reads += left == limit
        return found, left <= 0

    def _search(self) -> list[Path]:
        return sorted(self._projects.glob(f"*/{self.session_id}.jsonl"))[:MAX_FILES]

    def _open(self, path: Path) -> tuple[int, os.stat_result] | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != self._uid:
            os.close(descriptor)
            return None
        return descriptor, about

    def _skip_to_end(self, path: Path) -> None:
        opened = self._open(path)
        if opened is not None:
            descriptor, about = opened
            os.close(descriptor)
            self._tails[path] = _Tail((about.st_dev, about.st_ino), about.st_size)

    def _read_file(self, path: Path, limit: int) -> tuple[list[Observation], int]:
        opened = self._open(path)
        if opened is None:
            return [], 0
        descriptor, about = opened
        found: list[Observation] = []
        used = 0
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            tail = self._tails.get(path)
            if tail is None or tail.identity != (about.st_dev, about.st_ino) or about.st_size < tail.offset:
                tail = self._tails[path] = _Tail((about.st_dev, about.st_ino), 0)
            while used < limit and (data := _read_at(file, tail.offset, min(CHUNK_BYTES, limit - used))):
                tail.offset += len(data)
                used += len(data)
                found += tail.feed.feed(data)
        return found, used


def _read_at(file: FileIO, offset: int, size: int) -> bytes:
    """What stands there; nothing where the disk fails, so that it is tried again at the next call."""
    try:
        return os.pread(file.fileno(), size, offset)
    except OSError:
        return b""
