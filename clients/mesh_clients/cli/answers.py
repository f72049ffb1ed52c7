"""How each folder's sessions were last launched: `launch.json` in the data directory, mode 0600, the newest folders.

Nothing in it is secret: a link or a token never gets there.
"""

import json
from typing import NamedTuple

from mesh_clients.exclusive import exclusive
from mesh_clients.install.documents import read_bytes, replace_file
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mesh_protocol.wire.codec import JsonValue

FILE = "launch.json"
MAX_FOLDERS = 200
MAX_VALUE = 2048
MAX_GROUPS = 16


class Answers(NamedTuple):
    """What was answered. `groups` are names with commas between."""

    name: str = ""
    role: str = ""
    groups: str = ""
    mesh: str = ""
    mode: str = ""
    template: str = ""


def read_answers(data: str, folder: str) -> Answers | None:
    """What is remembered of a folder; None for nothing. A file that cannot be read is as good as none."""
    known = read_all(data).get(folder)
    if not isinstance(known, dict):
        return None
    given = {name: value for name in Answers._fields if isinstance(value := known.get(name), str)}
    return Answers(**{name: value for name, value in given.items() if len(value) <= MAX_VALUE and value.isprintable()})


def write_answers(data: str, folder: str, answers: Answers) -> None:
    """Remember them, as the newest. Raises `MeshError`."""
    with exclusive(data):
        known = read_all(data)
        known.pop(folder, None)
        known[folder] = {name: value for name, value in answers._asdict().items() if value}
        newest = dict(list(known.items())[-MAX_FOLDERS:])
        replace_file(f"{data}/{FILE}", json.dumps(newest, indent=1).encode())


def read_all(data: str) -> "dict[str, JsonValue]":
    try:
        raw = read_bytes(f"{data}/{FILE}")
        known = json.loads(raw) if raw is not None else {}
    except (MeshError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def split_groups(text: str) -> list[str]:
    """Group names as they are typed: commas or blanks between them."""
    return [*dict.fromkeys(text.replace(",", " ").split())]
