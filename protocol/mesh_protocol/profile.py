"""What a device tells of its sessions' groups: the content of a `profile` message, and the names of groups.

```
profile = lst(u64(version), lst(session ..))
session = lst(name, lst(lst(group, role) ..))
```

It is the whole state of its device; the newest version wins. It carries no signature of its own: the message's signature
covers kind and content. A name decides nothing about whether a profile is valid: normal forms differ between Unicode
versions.
"""

import unicodedata
from dataclasses import dataclass

from mesh_protocol.envelope import MAX_SESSION
from mesh_protocol.names import compare_form
from mesh_protocol.pae import (
    MAX_INT,
    BadEncoding,
    lst,
    read_text,
    read_u64,
    require_number,
    require_text,
    text_bytes,
    u64,
    unlst,
    unlst_exactly,
)

MAX_GROUP = 128
"""Bytes of a group's name."""
MAX_PARTS = 8
MAX_ROLE = 256
"""Bytes of a role; a person types at most 64 characters."""
MAX_GROUPS = 32
"""Groups of one session."""
MAX_SESSIONS = 256
MAX_PROFILE = 32 * 1024
"""Bytes of a whole profile: half of what a message may hold."""

_MARKS = frozenset("-_.")


@dataclass(frozen=True, slots=True)
class GroupRole:
    """One group a session is in. `role` is free text, or empty."""

    name: str
    role: str

    def __post_init__(self) -> None:
        require_text(self.name, 1, MAX_GROUP, "a group's name")
        require_text(self.role, 0, MAX_ROLE, "a role")

    def encode(self) -> bytes:
        """One group, nested in its session."""
        return lst(text_bytes(self.name), text_bytes(self.role))

    @classmethod
    def decode(cls, data: bytes) -> "GroupRole":
        """Raises BadEncoding."""
        name, role = unlst_exactly(data, 2)
        return cls(read_text(name), read_text(role))


@dataclass(frozen=True, slots=True)
class SessionGroups:
    """A session of the device, by its name, and 1 to 32 groups it is in."""

    session: str
    groups: tuple[GroupRole, ...]

    def __post_init__(self) -> None:
        require_text(self.session, 1, MAX_SESSION, "a session's name")
        require_number(len(self.groups), 1, MAX_GROUPS, "the number of a session's groups")

    def encode(self) -> bytes:
        """One session, nested in the profile."""
        return lst(text_bytes(self.session), lst(*(group.encode() for group in self.groups)))

    @classmethod
    def decode(cls, data: bytes) -> "SessionGroups":
        """Raises BadEncoding."""
        session, groups = unlst_exactly(data, 2)
        items = unlst(groups, max_items=MAX_GROUPS)
        return cls(read_text(session), tuple(GroupRole.decode(item) for item in items))


@dataclass(frozen=True, slots=True)
class Profile:
    """The groups of all sessions of one device. `version` rises with each profile the device makes in a mesh."""

    version: int
    sessions: tuple[SessionGroups, ...]

    def __post_init__(self) -> None:
        require_number(self.version, 1, MAX_INT, "version")
        require_number(len(self.sessions), 0, MAX_SESSIONS, "the number of sessions")

    def encode(self) -> bytes:
        """The content of a `profile` message. Raises BadEncoding above `MAX_PROFILE` bytes."""
        data = lst(u64(self.version), lst(*(session.encode() for session in self.sessions)))
        require_number(len(data), 0, MAX_PROFILE, "the size of a profile")
        return data

    @classmethod
    def decode(cls, content: bytes) -> "Profile":
        """Raises BadEncoding."""
        require_number(len(content), 0, MAX_PROFILE, "the size of a profile")
        version, sessions = unlst_exactly(content, 2)
        items = unlst(sessions, max_items=MAX_SESSIONS)
        return cls(read_u64(version), tuple(SessionGroups.decode(item) for item in items))


def check_group(name: str) -> str:
    """The normal form (NFKC) of a group's name. Raises BadEncoding unless it is a path such as `web/ui`: 1 to 8 parts of
    letters, digits, `-`, `_`, `.`, not of dots alone, 128 bytes together."""
    normal = unicodedata.normalize("NFKC", name)
    require_text(normal, 1, MAX_GROUP, "a group's name")
    parts = normal.split("/")
    if len(parts) > MAX_PARTS:
        raise BadEncoding(f"a group's name has at most {MAX_PARTS} parts: choose another")
    if not all(part.strip(".") and all(char in _MARKS or _is_word(char) for char in part) for part in parts):
        raise BadEncoding("a group is a path of letters, digits, '-', '_' and '.', such as web/ui: choose another")
    return normal


def is_within(name: str, group: str) -> bool:
    """Whether the group `name` is `group` or below it: what is said to `web` reaches `web/ui`, in any case and width."""
    inner, outer = compare_form(name), compare_form(group)
    return inner == outer or inner.startswith(outer + "/")


def _is_word(char: str) -> bool:
    category = unicodedata.category(char)
    return category.startswith("L") or category == "Nd"
