"""Which values may stand in a log line, and how. An allow-list: what is not named here is rendered as its type."""

import enum
import re
import traceback
from pathlib import PurePath

_WORD = re.compile(r"[A-Za-z0-9_.:+/-]{1,80}\Z")
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}\Z|\[[0-9A-Fa-f:.]{2,45}\]\Z")
# 64 bits signed or unsigned: a longer integer is a key more often than a count.
_INT_BITS = 64
# Fewer characters than this and the last four would be a good part of the whole.
_TOKEN_SHOWN_FROM = 16
_FRAMES = 12

Plain = int | float | str | bool | None
"""What a rendered value is made of: JSON's own scalars."""


class Shown:
    """A value whose rendering was decided when it was made; it keeps nothing else."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return self._text


class Secret(Shown):
    """`<secret>`, whatever it was."""

    __slots__ = ()

    def __init__(self, value: object) -> None:
        del value
        super().__init__("<secret>")


class Body(Shown):
    """`<body 123B>`: only the size is kept."""

    __slots__ = ()

    def __init__(self, value: bytes | bytearray | memoryview) -> None:
        super().__init__(f"<body {len(value)}B>")


class Token(Shown):
    """`…last4`, and `<secret>` for a token of fewer than 16 characters."""

    __slots__ = ()

    def __init__(self, value: str) -> None:
        tail = value[-4:]
        shown = len(value) >= _TOKEN_SHOWN_FROM and _WORD.match(tail)
        super().__init__(f"…{tail}" if shown else "<secret>")


class Url(Shown):
    """The host alone: no user, port, path, query or fragment."""

    __slots__ = ()

    def __init__(self, value: str) -> None:
        rest = value.partition("://")[2]
        authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0].rpartition("@")[2]
        host = authority.partition("]")[0] + "]" if authority.startswith("[") else authority.partition(":")[0]
        super().__init__(host if _HOST.match(host) else "<url>")


class Word(Shown):
    """A word of the program's own vocabulary: a method, a code, a state. Anything else is `<word>`."""

    __slots__ = ()

    def __init__(self, value: str) -> None:
        super().__init__(value if _WORD.match(value) else "<word>")


class Id(Shown):
    """The first four bytes of a public identifier in hex, enough to follow it through a log."""

    __slots__ = ()

    def __init__(self, value: bytes) -> None:
        super().__init__(f"{value[:4].hex()}…" if value else "<id>")


class Place(Shown):
    """A path of this daemon's own files. Never for a path that a peer or a session named."""

    __slots__ = ()

    def __init__(self, value: PurePath) -> None:
        super().__init__(str(value))


Loggable = int | float | bool | None | enum.Enum | Shown | BaseException


def render(value: object) -> Plain:
    """One scalar for one value; `<type>` for everything that is not on the list. Exceptions give no message."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return _enum(value)
    if type(value) is int:
        return value if value.bit_length() <= _INT_BITS else "<int>"
    if type(value) is float:
        return value if value == value and abs(value) != float("inf") else "<float>"
    if isinstance(value, Shown):
        return str(value)
    if isinstance(value, BaseException):
        return _exception(value)
    return f"<{type(value).__name__}>"


def _enum(value: enum.Enum) -> str:
    if isinstance(value.value, str) and _WORD.match(value.value):
        return value.value
    return value.name


def _exception(error: BaseException, depth: int = 0) -> str:
    """Type and places of an exception, its group members and its cause; never its text, which may quote anything."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = " < ".join(f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    text = type(error).__name__ + (f" at {places}" if places else "")
    if depth == 3:
        return text
    if isinstance(error, BaseExceptionGroup):
        text += f" [{'; '.join(_exception(member, depth + 1) for member in error.exceptions[:5])}]"
    if error.__cause__ is not None:
        text += f" from {_exception(error.__cause__, depth + 1)}"
    return text
