"""The broker's log: one JSON object a line, from an allow-list of shapes.

A field is a number, a flag, one of our own words, or an identifier, and every identifier is cut to eight hex digits.
There is no way to log a body, a key or an exception's own text: an exception is named by its class and by where it
came from.
"""

import json
import sys
from collections.abc import Callable
from pathlib import PurePath
from traceback import extract_tb
from typing import Final, TypeAlias

Field: TypeAlias = int | float | bool | str | bytes

ID_HEX: Final = 8
MAX_WORD: Final = 120


class Log:
    """Writes events. `write` takes one line without its end; `clock` gives epoch milliseconds."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], int]) -> None:
        self._write = write
        self._clock = clock

    def info(self, event: str, /, **fields: Field) -> None:
        """Something that an operator may want to count."""
        self._line("info", event, fields)

    def warn(self, event: str, /, **fields: Field) -> None:
        """Something that an operator may have to look at."""
        self._line("warn", event, fields)

    def bug(self, event: str, error: BaseException, /, **fields: Field) -> None:
        """An unexpected exception: its class and the places it passed, never its text or its locals."""
        places = [f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in extract_tb(error.__traceback__)[-6:]]
        self._line("error", event, {**fields, "error": type(error).__name__, "at": " ".join(places)})

    def _line(self, level: str, event: str, fields: dict[str, Field]) -> None:
        shown = {name: _shown(value) for name, value in fields.items()}
        self._write(json.dumps({"ms": self._clock(), "level": level, "event": event, **shown}, ensure_ascii=True))


def _shown(value: Field) -> int | float | bool | str:
    if isinstance(value, bytes):
        return value.hex()[:ID_HEX]
    if isinstance(value, str):
        return value[:MAX_WORD]
    return value


def write_stderr(line: str) -> None:
    """The default destination: a service manager or a redirection keeps it."""
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        return  # whoever reads it is gone or its disk is full; serving goes on
