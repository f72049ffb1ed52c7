"""What an install or an uninstall makes of a file, decided first, shown, and then done."""

import difflib
import json
import os
import time
from typing import NamedTuple

from mesh_clients.install import claude
from mesh_clients.install.documents import (
    Document,
    parse,
    read_bytes,
    read_document,
    refuse_read_only,
    remove_file,
    replace_file,
)
from mesh_clients.install.documents import write_like as write
from mesh_clients.install.record import Record, Remembered, digest
from mesh_protocol.wire.errors import MeshError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mesh_protocol.wire.codec import JsonValue

    Values = Mapping[str, JsonValue]

SETTLE_S = 0.2
"""Claude Code writes `.claude.json` several times at each start; after so long it is looked whether ours was lost."""
ATTEMPTS = 6
CONTEXT = 1
"""Lines around a change that are shown: the files hold more than is anybody's business on a shared screen."""


class Target(NamedTuple):
    """A file of Claude Code's and what is ours in it. `shared`: Claude Code itself rewrites it at any time."""

    path: str
    add: "Callable[[Values, str], dict[str, JsonValue]]"
    strip: "Callable[[Values, Values | None], dict[str, JsonValue]]"
    shared: bool
    keep: "Callable[[Values, dict[str, JsonValue]], dict[str, JsonValue]]" = lambda found, wanted: wanted
    """What a person changed within our part, put into it again."""


class Change(NamedTuple):
    """`raw` becomes `after` (None: no file). `before` is what an uninstall will put back."""

    path: str
    raw: bytes | None
    after: bytes | None
    before: bytes | None

    @property
    def needed(self) -> bool:
        return self.raw != self.after


def find_targets(paths: claude.Paths) -> tuple[Target, Target]:
    return (
        Target(paths.settings, claude.add_settings, claude.strip_settings, False, claude.keep_layout),
        Target(paths.state, claude.add_server, claude.strip_server, True),
    )


def plan_install(target: Target, home: str, known: Remembered | None) -> Change:
    """The file with our parts, once, whatever version of them is there. Raises `MeshError`."""
    found = read_document(target.path)
    base, before = found.value, found.raw
    if known is not None and is_as_written(found, known):
        before = known.before
        base = parse(target.path, before) if before is not None else {}
    else:
        stripped = target.strip(found.value, value_before(target, known))
        if stripped != found.value:
            base, before = stripped, write(stripped, found.raw)
    wanted = target.keep(found.value, target.add(base, home))
    after = found.raw if wanted == found.value else write(wanted, before)
    return Change(target.path, found.raw, after, before)


def plan_uninstall(target: Target, known: Remembered | None) -> Change:
    """The file as it was where nobody else wrote, else without our parts. Raises `MeshError`."""
    found = read_document(target.path)
    if known is not None and is_as_written(found, known):
        return Change(target.path, found.raw, known.before, None)
    earlier = value_before(target, known)
    stripped = target.strip(found.value, earlier)
    if stripped == found.value:
        return Change(target.path, found.raw, found.raw, None)
    if known is not None and stripped == (earlier or {}):
        return Change(target.path, found.raw, known.before, None)
    return Change(target.path, found.raw, write(stripped, found.raw), None)


def is_as_written(found: Document, known: Remembered) -> bool:
    return found.raw is not None and digest(found.raw) == known.after


def value_before(target: Target, known: Remembered | None) -> "dict[str, JsonValue] | None":
    return parse(target.path, known.before) if known is not None and known.before is not None else None


def is_installed(target: Target, home: str) -> bool:
    """Whether our parts are there as this version writes them. Raises `MeshError` for a file that cannot be read."""
    return not plan_install(target, home, None).needed


def install(target: Target, home: str, record: Record, planned: Change) -> None:
    """Do what was planned; the record is written before the file. Raises `MeshError`."""

    def plan() -> Change:
        return plan_install(target, home, record.files.get(target.path))

    def note(change: Change) -> None:
        if change.after is not None and (change.needed or target.path not in record.files):
            record.remember(target.path, change.before, change.after)
            record.save()

    carry_out(target, planned, plan, note)


def uninstall(target: Target, record: Record, planned: Change) -> None:
    """Do what was planned. Raises `MeshError`."""
    carry_out(target, planned, lambda: plan_uninstall(target, record.files.get(target.path)), lambda change: None)


def carry_out(
    target: Target,
    planned: Change,
    plan: "Callable[[], Change]",
    note: "Callable[[Change], None]",
    pause: "Callable[[float], None]" = time.sleep,
) -> None:
    """Write; a shared file is planned on what is there now, and again when Claude Code's own write swallowed ours."""
    if not target.shared:
        if read_bytes(target.path) != planned.raw:
            raise MeshError("bad_request", what=f"{target.path} was changed meanwhile: run it again")
        note(planned)
        put(planned)
        return
    for attempt in range(1, ATTEMPTS + 1):
        change = plan()
        note(change)
        if not change.needed:
            return
        put(change)
        pause(SETTLE_S * attempt)
    if plan().needed:
        raise MeshError(
            "bad_request", what=f"Claude Code keeps writing {target.path}: end its sessions and run it again"
        )


def put(change: Change) -> None:
    if not change.needed:
        return
    if change.after is None:
        remove_file(os.path.realpath(change.path))  # a link that led to no file stays one
    else:
        replace_file(change.path, change.after)


def renew(
    targets: "Sequence[Target]", planned: "list[Change]", again: "list[Change]", *, shown: bool
) -> "list[Change]":
    """What is to be done of two plans, the second made when no other install can come between. Raises `MeshError`.

    What was `shown` to a person is done as it was shown, or not at all; but Claude Code's own file changes all the time.
    """
    for change in again:
        if change.needed:
            refuse_read_only(change.path)
    pairs = zip(targets, planned, again, strict=True)
    return [old if shown and not target.shared else new for target, old, new in pairs]


def show(change: Change) -> list[str]:
    """The change as lines of a unified diff, by value: a file on one line reads as well as one on many."""
    old, new = (pretty(change.path, raw) for raw in (change.raw, change.after))
    lines = difflib.unified_diff(old, new, n=CONTEXT, lineterm="")
    return [change.path, *(f"  {line}" for line in list(lines)[2:])]


def pretty(path: str, raw: bytes | None) -> list[str]:
    return json.dumps(parse(path, raw), indent=2, ensure_ascii=False).split("\n") if raw is not None else []
