"""A session's status and who may say it: hook 3 over manual 2 over transcript 1. Pure."""

import enum
from typing import Final, NamedTuple

FRESH_MS: Final = 30_000
WORKING_MS: Final = 60_000
BEHIND_MS: Final = 2_000
"""So long what a hook said stands against an older word of the register."""


class Source(enum.IntEnum):
    """Where a status comes from, weakest first."""

    TRANSCRIPT = 1
    MANUAL = 2
    HOOK = 3


class Status(NamedTuple):
    """`word` is idle, working, waiting (for its person: a permission, a question) or dnd; since and renewed are epoch ms."""

    word: str
    source: Source
    since_ms: int
    renewed_ms: int


def renew(now_status: Status, word: str, source: Source, now_ms: int) -> Status:
    """The status after `source` said `word`.

    dnd ends only by hand. A different word is taken whatever its source; the same word from an equal or higher source
    renews it; from a lower one it only bumps the time while the recorded one is fresh, and takes over once it is stale.
    """
    if now_status.word == "dnd" and source is not Source.MANUAL:
        return now_status
    if word != now_status.word:
        return Status(word, source, now_ms, now_ms)
    if source >= now_status.source or now_ms - now_status.renewed_ms > FRESH_MS:
        return Status(word, source, now_status.since_ms, now_ms)
    return now_status._replace(renewed_ms=now_ms)


def word_of(registered: str) -> str:
    """What the status in Claude's registry means. 2.1.329 writes `idle`, `busy`, and `waiting` before a permission prompt."""
    return registered if registered in ("idle", "waiting") else "working"


def read_register(now_status: Status, registered: str, written_ms: int | None, now_ms: int) -> Status:
    """The status after a look into Claude's register, whose word was written at `written_ms` (None: unknown).

    Claude Code 2.1.329 runs its hooks first and writes then, so right after a hook an older word there is only late. It
    is believed after `BEHIND_MS` all the same: a hook that nobody waits for may itself come late.
    """
    word = word_of(registered)
    late = written_ms is not None and written_ms < now_status.since_ms and now_ms - now_status.since_ms < BEHIND_MS
    if late and now_status.source is Source.HOOK and word != now_status.word:
        return now_status
    return renew(now_status, word, Source.TRANSCRIPT, now_ms)


def settle(now_status: Status, now_ms: int, *, in_turn: bool) -> Status:
    """`working` without news for 60 s is idle, unless the process is known to be in a turn."""
    if now_status.word == "working" and not in_turn and now_ms - now_status.renewed_ms > WORKING_MS:
        return Status("idle", now_status.source, now_ms, now_ms)
    return now_status
