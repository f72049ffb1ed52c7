"""What was used by Claude Code's own transcripts: the same accounts where the base URL must stay.

Each line of type `assistant` holds one block of an answer with the usage of the whole; lines of one message are one.
Read from where the last reading ended. Blocking: it belongs into a thread.
"""

import calendar
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from meshd.services.proxy.asked import Kind, Source
from meshd.services.proxy.entries import Entry, local_day
from meshd.services.proxy.exchanges import Outcome
from meshd.services.proxy.prices import Prices
from meshd.services.proxy.usage import Usage

MAX_FILES: Final = 20_000
MAX_LINE: Final = 16 * 1024 * 1024
CHUNK: Final = 1024 * 1024
YOUNG_MS: Final = 10_000
"""A message of the last moments may not be whole: it is left for the next reading."""
BATCH: Final = 500
"""Messages that are handed on together."""


class Piece(NamedTuple):
    """Messages of one file, and up to where it has been read with them."""

    path: str
    read: int
    entries: list[Entry]


def find_transcripts(config: Path) -> list[Path]:
    """The sessions' transcripts and their sub-agents', below Claude Code's folder."""
    found = [*config.glob("projects/*/*.jsonl"), *config.glob("projects/*/*/subagents/*.jsonl")]
    return sorted(path for path in found if path.is_file() and not path.is_symlink())[:MAX_FILES]


def read_transcripts(config: Path, read: Mapping[str, int], prices: Prices, now_ms: int) -> Iterator[Piece]:
    """The messages behind the places in `read` (bytes by path). What cannot be opened is passed over."""
    for path in find_transcripts(config):
        start = read.get(str(path), 0)
        try:
            size = path.stat().st_size
            if size == start:
                continue
            yield from _read_file(path, start if size > start else 0, prices, now_ms)
        except OSError:
            continue


def _read_file(path: Path, start: int, prices: Prices, now_ms: int) -> Iterator[Piece]:
    """Whole messages only: the last one of a batch is handed on with the next, where more of its lines may follow."""
    with path.open("rb") as file:
        file.seek(start)
        under_way: dict[str, _Message] = {}
        begins: dict[str, int] = {}
        done = start
        while line := file.readline(MAX_LINE):
            if not line.endswith(b"\n"):
                break
            message = _read_line(line)
            if message is not None:
                if message.started_ms > now_ms - YOUNG_MS:
                    if under_way.pop(message.id, None) is not None:  # its other lines wait with it
                        done = begins[message.id]
                    break
                if message.id not in under_way and len(under_way) >= BATCH:
                    yield Piece(str(path), done, [each.entry(prices) for each in under_way.values()])
                    under_way, begins = {}, {}
                begins.setdefault(message.id, done)
                under_way.setdefault(message.id, message).merge(message)
            done += len(line)
        if under_way or done > start:
            yield Piece(str(path), done, [each.entry(prices) for each in under_way.values()])


class _Message:
    """One answer as its lines tell it."""

    def __init__(self, line: Mapping[str, object], message: Mapping[str, object], started_ms: int) -> None:
        self.id = str(message.get("id"))
        self.started_ms = started_ms
        self._line = line
        self._message = message
        self._usage = Usage()
        self._tools: dict[str, str] = {}

    def merge(self, other: "_Message") -> None:
        self._message = other._message
        self._usage.take(other._message.get("usage"))
        content = other._message.get("content")
        for block in content if isinstance(content, list) else []:
            if isinstance(block, dict) and block.get("type") == "tool_use":
                self._tools[str(block.get("id"))] = _text(block.get("name"))

    def entry(self, prices: Prices) -> Entry:
        tokens = self._usage.tokens()
        model, day = _text(self._message.get("model")), local_day(self.started_ms)
        return Entry(
            started_ms=self.started_ms,
            day=day,
            account="",
            client=f"claude-cli/{_text(self._line.get('version'))}"[:64],
            session=_text(self._line.get("sessionId")),
            agent=_text(self._line.get("agentId")),
            parent_agent="",
            source=Source.TRANSCRIPT.value,
            model=model,
            kind=Kind.TURN.value,
            tokens=tokens,
            cost=prices.cost(model, day, tokens, self._usage.service_tier),
            stop_reason=_text(self._message.get("stop_reason")),
            tools=[*self._tools.values()],
            status=200,
            outcome=Outcome.COMPLETE.value,
            partial=False,
            unaccounted="" if self._usage.known else "no usage reported",
            error="",
            first_byte_ms=-1.0,
            first_token_ms=-1.0,
            total_ms=-1.0,
            request_id=_text(self._line.get("requestId")),
            message_id=self.id,
            chain=[],
            system=b"",
            continued=False,
            prompt=b"",
            started=[],
            windows=[],
            tier=self._usage.service_tier,
        )


def _read_line(line: bytes) -> _Message | None:
    """The answer that a line is of; None for any other line, and for what the program said in the model's name."""
    if b'"assistant"' not in line:
        return None
    try:
        told = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return None
    message = told.get("message") if isinstance(told, dict) and told.get("type") == "assistant" else None
    if not isinstance(message, dict) or not isinstance(message.get("id"), str) or not message["id"]:
        return None
    if not isinstance(message.get("usage"), dict) or message.get("model") == "<synthetic>":
        return None
    started_ms = _epoch_ms(told.get("timestamp"))
    return None if started_ms is None else _Message(told, message, started_ms)


def _epoch_ms(value: object) -> int | None:
    """Of a time such as 2026-11-21T10:00:46.279Z."""
    if not isinstance(value, str):
        return None
    try:
        seconds = calendar.timegm(time.strptime(value[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None
    fraction = value[20:23]
    return seconds * 1000 + (int(fraction) if fraction.isascii() and fraction.isdecimal() else 0)


def _text(value: object) -> str:
    return "".join(char for char in value[:128] if char.isprintable()) if isinstance(value, str) else ""
