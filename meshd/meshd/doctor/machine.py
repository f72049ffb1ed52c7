"""The daemon itself, its keys, its files, the room it has, and its clock."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mesh_protocol.ops.daemon import Check
from meshd.audit_entry import Broken

if TYPE_CHECKING:
    from meshd.app import App

FREE_FLOOR: Final = 256 * 1024 * 1024
"""Bytes below which the disk is called nearly full (limits: free disk floor)."""
CLOCK_MS: Final = 120_000
"""A clock that far from the broker's is told: messages then bear times that nobody else's clock shows."""
NEARLY: Final = 0.8
"""Part of a limit from which on it is told."""
BY_HAND: Final = frozenset({"prompts", "prices.toml"})
"""What the person himself makes in the daemon's folder, which lets nobody else in: others must not write it."""
DESCRIPTORS: Final = ("/proc/self/fd", "/dev/fd")


def check_machine(app: "App") -> Iterator[Check]:
    yield Check(name="daemon", ok="ok", text=f"version {app.version}, pid {app.pid}", fix="")
    yield from _keys(app)
    yield from _files(app)
    yield from _disk(app)
    yield from _descriptors(app)
    for note in app.hardening.notes:
        yield Check(name="hardening", ok="warn", text=note, fix="")


def check_audit(app: "App") -> Iterator[Check]:
    """The newest entries and the end; all of it is `mesh audit verify`'s."""
    try:
        written = app.audit.judge_tail()
    except Broken as broken:
        text = f"the audit is not what was written, near entry {broken.seq}: {broken.why}"
        fix = "mesh audit verify names the first bad entry; docs/audit.md says what to do then"
        yield Check(name="audit", ok="bad", text=text, fix=fix)
    else:
        entries = "1 entry" if written == 1 else f"{written} entries"
        yield Check(name="audit", ok="ok", text=f"{entries}, whole at its end", fix="")


def check_clock(app: "App") -> Iterator[Check]:
    """The clock against a broker's. Nothing is said of one that is right, or that no broker's was seen for."""
    off = app.node.clock_off_ms
    fix = "set the clock (timedatectl set-ntp true)"
    if app.node.clock_is_off:
        text = f"this machine's clock is {off // 60_000} minutes from the broker's; nothing expires meanwhile"
        yield Check(name="clock", ok="bad", text=text, fix=fix)
    elif abs(off) >= CLOCK_MS:
        way = "ahead of" if off > 0 else "behind"
        text = f"this machine's clock is {abs(off) // 1000} s {way} the broker's: messages bear wrong times"
        yield Check(name="clock", ok="warn", text=text, fix=fix)


def _keys(app: "App") -> Iterator[Check]:
    report = app.keystore.report()
    said = report.sentence.removeprefix("keys: ")
    if app.locked:
        yield Check(name="keys", ok="bad", text=said, fix="mesh unlock")
    elif not report.protected:
        fix = "as safe as an ssh key without passphrase: mesh keys protect puts them under one"
        yield Check(name="keys", ok="warn", text=said, fix=fix)
    else:
        yield Check(name="keys", ok="ok", text=said, fix="")
    for note in report.notes:
        yield Check(name="keys", ok="warn" if app.locked else "ok", text=note, fix="mesh unlock" if app.locked else "")


def _files(app: "App") -> Iterator[Check]:
    bad = [path for path in _paths(app.paths.data) if _is_open(path)]
    if bad:
        names = ", ".join(path.name for path in bad[:5])
        yield Check(
            name="files", ok="bad", text=f"others can read or write {names}", fix=f"chmod -R go= {app.paths.data}"
        )
    else:
        yield Check(name="files", ok="ok", text=f"{app.paths.data} is private", fix="")


def _paths(data: Path) -> list[Path]:
    return [data, *sorted(data.glob("*"))[:200], *sorted((data / "keys").glob("*"))[:50]]


def _is_open(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return bool(found.st_mode & (0o022 if path.name in BY_HAND else 0o077)) and not stat.S_ISLNK(found.st_mode)


def _disk(app: "App") -> Iterator[Check]:
    found = os.statvfs(app.paths.data)
    mib = found.f_bavail * found.f_frsize // (1024 * 1024)
    ok, fix = "ok", ""
    if mib < FREE_FLOOR // (1024 * 1024):
        ok, fix = "bad", f"free some space on the disk of {app.paths.data}"
    elif found.f_files and not found.f_favail:
        ok, fix = "bad", f"the disk of {app.paths.data} has no room for another file: remove some"
    yield Check(name="disk", ok=ok, text=f"{mib} MiB free", fix=fix)


def _descriptors(app: "App") -> Iterator[Check]:
    """Open files against their limit: at the limit neither a client nor a session can be served."""
    used = _open_files()
    limit = app.hardening.open_files
    if used is None:
        return
    if used >= limit * NEARLY:
        fix = "raise it (ulimit -n, or LimitNOFILE of the service), then mesh down && mesh up"
        yield Check(name="open files", ok="bad", text=f"{used} of {limit} are in use", fix=fix)
    else:
        yield Check(name="open files", ok="ok", text=f"{used} of {limit}", fix="")


def _open_files() -> int | None:
    for folder in DESCRIPTORS:
        try:
            return sum(1 for _ in Path(folder).iterdir())
        except OSError:
            continue
    return None
