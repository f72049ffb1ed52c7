"""The daemon's configuration: `<data>/config.toml`, a few MESH_* variables over it, and the hard caps above both.

An unknown key is refused with its line, so that a misspelt limit is not silently the default.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal, TypeVar, cast, get_args

from meshd.log import LEVELS
from meshd.private_files import OTHERS_WRITE, open_directory, read_file
from meshd.refusal import StartRefused

KeyBackend = Literal["auto", "keyring", "file"]
LogLevel = Literal["debug", "info", "warning", "error"]
Layout = Literal["full", "short", "minimal"]

_Record = TypeVar("_Record", "Limits", "Idle")

CONFIG_BYTES = 64 * 1024
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z", re.ASCII)
MIB = 1024 * 1024


class ConfigRefused(StartRefused):
    """The configuration says something that cannot be done; the text names file and line. Exit status 78."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Counts and sizes. Downwards freely (to 1), upwards to CAPS; a limit without a cap of its own stops at its default."""

    clients: int = 256
    in_flight_per_client: int = 64
    events_per_client: int = 1_000
    outbox_rows: int = 10_000
    outbox_bytes: int = 256 * MIB
    session_pushes_per_minute: int = 6
    preview_bytes: int = 2 * 1024
    log_file_bytes: int = 10 * MIB
    log_files: int = 5
    free_disk_bytes: int = 256 * MIB


CAPS: Mapping[str, int] = {"clients": 1_024, "outbox_rows": 100_000, "outbox_bytes": 2 * 1024 * MIB}


@dataclass(frozen=True, slots=True)
class Idle:
    """Seconds. May be set between 1 and ten times the default."""

    first_byte_s: int = 2
    first_call_s: int = 2
    ping_s: int = 20
    dead_s: int = 60
    presence_s: int = 30
    presence_lease_s: int = 90


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that may be set. The defaults are a working daemon."""

    embedded_broker: str = "mesh_broker.app"
    """Module that provides the embedded broker; loaded by name, so only the file may set it, never a variable."""
    keys: KeyBackend = "auto"
    """Where a new identity goes; one that exists stays where it was made."""
    log_level: LogLevel = "info"
    log_file: bool = False
    """Also to logs/meshd.log, rotated."""
    statusline: Layout = "full"
    """How much Claude Code's status line says, where its command names no layout."""
    limits: Limits = field(default_factory=Limits)
    idle: Idle = field(default_factory=Idle)


_VARIABLES: Mapping[str, str] = {"MESH_LOG_LEVEL": "log_level", "MESH_KEYS": "keys"}


def load_config(path: Path, environ: Mapping[str, str]) -> Config:
    """Reads `path` (missing is fine: the defaults), then the variables MESH_LOG_LEVEL and MESH_KEYS.

    Raises ConfigRefused for what it says, NotPrivate for a file others may write.
    """
    directory = open_directory(path.parent)
    try:
        content = read_file(directory, path.name, path, CONFIG_BYTES, forbidden=OTHERS_WRITE)
    finally:
        os.close(directory)
    config = Config() if content is None else parse_config(content, str(path))
    for variable, name in _VARIABLES.items():
        if value := environ.get(variable):
            config = _with(config, name, value, variable)
    _check_together(config, str(path))
    return config


def parse_config(content: bytes, shown: str) -> Config:
    """A Config from the bytes of a TOML file; `shown` names it in errors ("config.toml:3: …")."""
    import tomllib  # 10 ms, and only for who has a file

    try:
        text = content.decode()
        document: dict[str, object] = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigRefused(f"{shown}:{line}: not UTF-8; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1  # "at end of document"
        raise ConfigRefused(f"{shown}:{line}: {str(error).partition(' (at ')[0]}") from error
    config = Config()
    for key, value in document.items():
        if key == "limits":
            table = _table(value, shown, text, key)
            config = replace(config, limits=_numbers(config.limits, table, CAPS, 1, shown, text, key))
        elif key == "idle":
            table = _table(value, shown, text, key)
            caps = {each.name: 10 * cast(int, getattr(config.idle, each.name)) for each in fields(Idle)}
            config = replace(config, idle=_numbers(config.idle, table, caps, 1, shown, text, key))
        else:
            config = _with(config, key, value, f"{shown}:{_line_of(text, None, key)}")
    return config


def _with(config: Config, key: str, value: object, where: str) -> Config:
    """`config` with one top-level key set. `where` names file and line, or the variable."""
    match key:
        case "embedded_broker":
            if not isinstance(value, str) or not _MODULE.match(value):
                raise ConfigRefused(f"{where}: embedded_broker must be the name of a module")
            return replace(config, embedded_broker=value)
        case "keys":
            return replace(config, keys=cast(KeyBackend, _one_of(value, get_args(KeyBackend), key, where)))
        case "log_level":
            return replace(config, log_level=cast(LogLevel, _one_of(value, tuple(LEVELS), key, where)))
        case "log_file":
            if not isinstance(value, bool):
                raise ConfigRefused(f"{where}: log_file must be true or false")
            return replace(config, log_file=value)
        case "statusline":
            return replace(config, statusline=cast(Layout, _one_of(value, get_args(Layout), key, where)))
    raise ConfigRefused(f"{where}: unknown key {key!r}; known are {', '.join(_names(Config))}")


def _one_of(value: object, allowed: tuple[str, ...], key: str, where: str) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise ConfigRefused(f"{where}: {key} must be one of {', '.join(allowed)}")
    return value


def _table(value: object, shown: str, text: str, key: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ConfigRefused(f"{shown}:{_line_of(text, None, key)}: {key} must be a table: [{key}]")
    return cast("dict[str, object]", value)


def _numbers(
    record: _Record, table: dict[str, object], caps: Mapping[str, int], floor: int, shown: str, text: str, name: str
) -> _Record:
    changed: dict[str, int] = {}
    for key, value in table.items():
        where = f"{shown}:{_line_of(text, name, key)}"
        if key not in _names(type(record)):
            raise ConfigRefused(f"{where}: unknown key {key!r}; known are {', '.join(_names(type(record)))}")
        cap = caps.get(key, cast(int, getattr(record, key)))
        if type(value) is not int or not floor <= value <= cap:
            raise ConfigRefused(f"{where}: {name}.{key} must be a whole number from {floor} to {cap}")
        changed[key] = value
    return replace(record, **changed)


def _check_together(config: Config, shown: str) -> None:
    if config.idle.dead_s <= config.idle.ping_s:
        raise ConfigRefused(f"{shown}: idle.dead_s must be more than idle.ping_s")
    if config.idle.presence_lease_s <= config.idle.presence_s:
        raise ConfigRefused(f"{shown}: idle.presence_lease_s must be more than idle.presence_s")


def _names(record: type[Config] | type[Limits] | type[Idle]) -> list[str]:
    return [each.name for each in fields(record)]


def _line_of(text: str, table: str | None, key: str) -> int:
    """The line that sets `key` (in `[table]`, dotted, or inline), for the error text; tomllib does not keep it."""
    quoted = rf"[\"']?{re.escape(key)}[\"']?"
    inside = re.compile(rf"\s*{quoted}\s*[.=]")
    dotted = re.compile(rf"\s*{table}\s*(\.\s*{quoted}|=.*\b{re.escape(key)}\b)")
    current: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[+\s*[\"']?([^\]\"']+?)[\"']?\s*\]+", line)
        if header:
            current = header[1]
            if table is None and current.split(".")[0] == key:
                return number
        elif (current == table and inside.match(line)) or (table and current is None and dotted.match(line)):
            return number
    return 1
