"""JSON files that others own too: read without guessing, written whole, in the style they have.

Whatever could lose a byte of somebody else's (no JSON, a key twice, a number that Python cannot hold) is refused.
"""

import json
import os
import stat
import tempfile
from typing import NamedTuple

from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

MAX_BYTES = 64 * 1024 * 1024
"""Claude Code's own file grows with every project; beyond this it is not one."""
PRIVATE = 0o600
BOM = b"\xef\xbb\xbf"


class Document(NamedTuple):
    """A file as it was read: `raw` is None where there is none, `value` then is empty."""

    path: str
    raw: bytes | None
    value: "dict[str, JsonValue]"


def read_document(path: str) -> Document:
    """The JSON object in a file. Raises `MeshError("bad_settings")` for anything else; nothing is changed then."""
    raw = read_bytes(path)
    return Document(path, raw, parse(path, raw) if raw is not None else {})


def read_bytes(path: str) -> bytes | None:
    """The file's bytes, None where there is no file. Raises `MeshError`."""
    try:
        # Whatever stands there: opening a pipe would otherwise wait for somebody to write to it.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise refusal(path, "is no regular file")
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refusal(path, f"cannot be read ({error.strerror})") from None
    if len(raw) > MAX_BYTES:
        raise refusal(path, f"is larger than {MAX_BYTES} bytes")
    return raw


def parse(path: str, raw: bytes) -> "dict[str, JsonValue]":
    """The object in `raw`; an empty file is an empty object, as Claude Code takes it. Raises `MeshError`."""
    text = raw.removeprefix(BOM)
    if not text.strip():
        return {}
    try:
        value = json.loads(
            text.decode(), object_pairs_hook=unique, parse_float=finite, parse_constant=lambda word: finite("inf")
        )
    except UnicodeDecodeError:
        raise refusal(path, "is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise refusal(path, f"is not JSON (line {error.lineno}, column {error.colno}: {error.msg})") from None
    except (ValueError, RecursionError) as error:
        raise refusal(path, f"cannot be kept as it is ({error})") from None
    if not isinstance(value, dict):
        raise refusal(path, "holds no JSON object")
    return value


def unique(pairs: "list[tuple[str, JsonValue]]") -> "dict[str, JsonValue]":
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError("a number is out of range")
    return number


def refusal(path: str, why: str) -> MeshError:
    return MeshError("bad_settings", path=path, why=why)


def write_like(value: "dict[str, JsonValue]", raw: bytes | None) -> bytes:
    """`value` as JSON in the style of `raw`: its indentation, its last line feed, its byte order mark.

    Without a model: two blanks, as Claude Code writes.
    """
    indent: int | str | None = 2
    end = "\n" if raw is None else ""
    mark = b""
    if raw is not None:
        mark = BOM if raw.startswith(BOM) else b""
        body = raw.removeprefix(BOM)
        end = "\n" if body.endswith(b"\n") else ""
        lines = body.strip().split(b"\n", 2)
        if len(lines) > 1:
            blank = lines[1][: len(lines[1]) - len(lines[1].lstrip(b" \t"))].decode()
            indent = blank or 2
        elif body.strip() not in (b"", b"{}"):
            indent = None
    text = json.dumps(value, indent=indent, ensure_ascii=False) + end
    try:
        return mark + text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can write and UTF-8 cannot
        return mark + (json.dumps(value, indent=indent) + end).encode()


def replace_file(path: str, data: bytes) -> None:
    """Put `data` at `path` at once: a reader sees the old file or the new one. Owner, mode and symbolic links stay.

    Raises `MeshError`.
    """
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    temporary = ""
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        try:
            there = os.stat(target)
        except FileNotFoundError:
            there = None
        descriptor, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(target)}.", dir=folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if there is not None and os.geteuid() == 0:  # who may be at work in somebody else's home
                os.fchown(file.fileno(), there.st_uid, there.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(there.st_mode) if there is not None else PRIVATE)
            os.fsync(file.fileno())
        os.replace(temporary, target)
        temporary = ""
    except OSError as error:
        raise MeshError("bad_request", what=f"{path} cannot be written: {error.strerror}") from None
    finally:
        if temporary:
            os.unlink(temporary)


def refuse_read_only(path: str) -> None:
    """Raises `MeshError` for a file that its owner has made read-only: it could be replaced all the same."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not mode & stat.S_IWUSR:
        raise MeshError("bad_request", what=f"{path} is read-only: chmod u+w it, then again; nothing was changed")


def remove_file(path: str) -> None:
    """Raises `MeshError`; a file that is not there is removed."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise MeshError("bad_request", what=f"{path} cannot be removed: {error.strerror}") from None
