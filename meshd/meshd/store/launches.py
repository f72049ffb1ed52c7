"""What was announced of sessions that are not there yet, or not yet in their groups: one value, for there are few."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import apsw
import msgspec

from mesh_protocol.profile import GroupRole
from meshd.store.meshes import get_meta, set_meta

KEY: Final = "launches"


class Wish(NamedTuple):
    """How a session is to be known. Empty fields, and the mode `keep`, leave what it has. `groups`: (name, role)."""

    name: str
    role: str
    groups: tuple[tuple[str, str], ...]
    mesh: str
    mode: str
    template: str

    def group_roles(self) -> tuple[GroupRole, ...]:
        return tuple(GroupRole(name, role) for name, role in self.groups)


def read_launches(db: apsw.Connection) -> dict[tuple[int, int], Wish]:
    """By the launcher's pid and start time. What another version wrote in another form counts as nothing."""
    raw = get_meta(db, KEY)
    try:
        rows = msgspec.json.decode(raw, type=list[tuple[int, int, Wish]]) if raw is not None else []
    except msgspec.MsgspecError:
        return {}
    return {(pid, start): wish for pid, start, wish in rows}


def put_launches(tx: apsw.Connection, wishes: Mapping[tuple[int, int], Wish]) -> None:
    rows = [(pid, start, wish) for (pid, start), wish in wishes.items()]
    set_meta(tx, KEY, msgspec.json.encode(rows))
