"""JSON lines with typed redaction over standard logging.

`log = get_logger("link")`, then `log.info("connected", broker=Url(url), attempt=3)`. The event is a literal; what
varies goes into fields, and fields show only what redaction.py allows. Records of other libraries appear without
their text, for nobody knows what they quote.
"""

import contextlib
import json
import logging
import os
import sys
import threading
import types
from collections.abc import Callable, Mapping
from pathlib import Path

from meshd.private_files import NotPrivate, open_directory
from meshd.redaction import Body, Id, Loggable, Place, Plain, Secret, Token, Url, Word, render

__all__ = [
    "Body",
    "Id",
    "Log",
    "Loggable",
    "Place",
    "RotatingFile",
    "Secret",
    "Token",
    "Url",
    "Word",
    "catch_uncaught",
    "configure",
    "get_logger",
    "write_stderr",
]

ROOT = "meshd"
LEVELS: Mapping[str, int] = types.MappingProxyType(
    {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
)
LINE_BYTES = 8 * 1024
FILE_BYTES = 10 * 1024 * 1024
FILES = 5
_FIELDS = "mesh_fields"
_OWN = ("t", "level", "log", "event")
# An event is a literal and a name is a name: short. One character may become twelve ("\\ud83d\\ude00") in ASCII.
_NAME_CHARS = 200
_TEXT_CHARS = 1024
_FIELD_COUNT = 32


class Log:
    """A named logger whose fields are redacted by their types."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, /, **fields: Loggable) -> None:
        self._say(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: Loggable) -> None:
        self._say(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: Loggable) -> None:
        self._say(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: Loggable) -> None:
        self._say(logging.ERROR, event, fields)

    def _say(self, level: int, event: str, fields: Mapping[str, Loggable]) -> None:
        if self._logger.isEnabledFor(level):
            # Rendered here and now: the record then holds no secret, whoever else handles it.
            shown = {name: render(value) for name, value in fields.items()}
            self._logger.log(level, event, extra={_FIELDS: shown}, stacklevel=3)


class JsonLines(logging.Formatter):
    """One JSON object a record, ASCII, at most LINE_BYTES: t (epoch ms), level, log, event, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Plain] = {
            "t": int(record.created * 1000),
            "level": record.levelname.lower(),
            "log": record.name[:_NAME_CHARS],
        }
        fields: Mapping[str, Plain] | None = getattr(record, _FIELDS, None)
        if fields is None:
            line["event"] = "library record"
            line["where"] = f"{record.filename}:{record.lineno}"
            if record.exc_info and record.exc_info[1] is not None:
                line["error"] = render(record.exc_info[1])
        else:
            line["event"] = str(record.msg)[:_NAME_CHARS]
            for name, value in list(fields.items())[:_FIELD_COUNT]:
                line[f"field_{name}" if name in _OWN else name] = (
                    value[:_TEXT_CHARS] if isinstance(value, str) else value
                )
        return _capped(line)


class Lines(logging.Handler):
    """Formats and hands a whole line to a sink. A sink that fails loses the line, never the program."""

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self._sink = sink
        self.lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._sink(self.format(record).encode("ascii") + b"\n")
        except Exception:  # noqa: BLE001 logging.Handler.handleError would print the record with all its arguments
            self.lost += 1


class RotatingFile:
    """A 0600 file in a private directory, rotated to .1 … .4 at FILE_BYTES. Call it with one whole line."""

    def __init__(self, directory: Path, name: str, limit: int = FILE_BYTES, files: int = FILES) -> None:
        self._directory = open_directory(directory)
        self._shown = directory / name
        self._name = name
        self._limit = limit
        self._files = files
        self._descriptor = -1
        self._open()

    def __call__(self, line: bytes) -> None:
        if self._size + len(line) > self._limit and self._size:
            self._rotate()
        self._size += os.write(self._descriptor, line)

    def close(self) -> None:
        """Closes the file and its directory. Idempotent."""
        for descriptor in (self._descriptor, self._directory):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._directory = -1

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._descriptor = os.open(self._name, flags, 0o600, dir_fd=self._directory)
        except OSError as error:
            raise NotPrivate(f"cannot open {self._shown}: {error.strerror}; remove it") from error
        self._size = os.fstat(self._descriptor).st_size

    def _rotate(self) -> None:
        os.close(self._descriptor)
        for number in range(self._files - 1, 0, -1):
            older = f"{self._name}.{number}"
            newer = self._name if number == 1 else f"{self._name}.{number - 1}"
            with contextlib.suppress(FileNotFoundError):
                os.rename(newer, older, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        self._open()


def get_logger(name: str) -> Log:
    """The logger `meshd.<name>`."""
    return Log(logging.getLogger(f"{ROOT}.{name}"))


def write_stderr(line: bytes) -> None:
    """The sink of `meshd run`."""
    os.write(2, line)


def configure(level: str, *sinks: Callable[[bytes], None]) -> list[Lines]:
    """Sends everything the process logs to `sinks`, and nowhere else. `level` is one of LEVELS.

    Other libraries are heard from warning upwards. Returns the handlers, which count lost lines.
    """
    handlers = [Lines(sink) for sink in sinks]
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(max(logging.WARNING, LEVELS[level]))
    logging.getLogger(ROOT).setLevel(LEVELS[level])
    logging.captureWarnings(True)
    return handlers


def catch_uncaught() -> None:
    """Exceptions that nobody caught become a line without their text instead of a traceback that quotes it."""
    log = get_logger("uncaught")

    def in_main(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
        del kind, trace
        log.error("uncaught exception", error=error)

    def in_thread(told: threading.ExceptHookArgs) -> None:
        log.error("uncaught exception in a thread", error=told.exc_value)

    def in_destructor(told: "sys.UnraisableHookArgs") -> None:
        log.error("exception in a destructor", error=told.exc_value)

    sys.excepthook = in_main
    threading.excepthook = in_thread
    sys.unraisablehook = in_destructor


def _capped(line: dict[str, Plain]) -> str:
    """The line as JSON; when it is too long, fields go from the last on, and `cut` says how many."""
    text = json.dumps(line, separators=(",", ":"), allow_nan=False)
    cut = 0
    names = list(line)
    while len(text) >= LINE_BYTES and len(names) > len(_OWN):
        del line[names.pop()]
        cut += 1
        text = json.dumps({**line, "cut": cut}, separators=(",", ":"), allow_nan=False)
    return text
