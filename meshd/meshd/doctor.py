"""Everything on this machine that can keep a message from arriving, each with the sentence or command that mends it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mesh_protocol.ids import DeviceId
from mesh_protocol.ops.daemon import Check
from meshd.link.table import LinkState
from meshd.mesh import Mesh
from meshd.store.outbox import count_waiting

if TYPE_CHECKING:
    from meshd.app import App

FREE_FLOOR: Final = 256 * 1024 * 1024
"""Bytes below which the disk is called nearly full (limits: free disk floor)."""


def examine(app: "App") -> list[Check]:
    """All checks, the daemon's own first. Read-only."""
    checks = [Check(name="daemon", ok="ok", text=f"version {app.version}, pid {app.pid}", fix="")]
    checks.extend(_keys(app))
    checks.extend(_files(app))
    checks.extend(_disk(app))
    checks.extend(_hardening(app))
    if app.locked:
        return checks
    if app.node.clock_is_off:
        text = f"this machine's clock is {app.node.clock_off_ms // 60_000} minutes from the broker's; nothing expires meanwhile"
        checks.append(Check(name="clock", ok="bad", text=text, fix="set the clock (timedatectl set-ntp true)"))
    if not app.node.meshes:
        checks.append(Check(name="mesh", ok="warn", text="no mesh yet", fix="mesh new NAME, or mesh join URL"))
    for mesh in app.node.meshes.values():
        checks.extend(_mesh(app, mesh))
    checks.extend(_sessions(app))
    return checks


def _keys(app: "App") -> Iterator[Check]:
    sentence = app.key_sentence()
    if app.locked:
        yield Check(name="keys", ok="bad", text=sentence, fix="mesh unlock")
    elif "unprotected" in sentence:
        fix = "as safe as an ssh key without passphrase; a login keyring protects them where there is one"
        yield Check(name="keys", ok="warn", text=sentence, fix=fix)
    else:
        yield Check(name="keys", ok="ok", text=sentence, fix="")


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
    return bool(found.st_mode & 0o077) and not stat.S_ISLNK(found.st_mode)


def _disk(app: "App") -> Iterator[Check]:
    found = os.statvfs(app.paths.data)
    free = found.f_bavail * found.f_frsize
    mib = free // (1024 * 1024)
    if free < FREE_FLOOR:
        yield Check(
            name="disk", ok="bad", text=f"{mib} MiB free", fix=f"free some space on the disk of {app.paths.data}"
        )
    else:
        yield Check(name="disk", ok="ok", text=f"{mib} MiB free", fix="")


def _hardening(app: "App") -> Iterator[Check]:
    for note in app.hardening.notes:
        yield Check(name="hardening", ok="warn", text=note, fix="")


def _mesh(app: "App", mesh: Mesh) -> Iterator[Check]:
    name = f"mesh {mesh.slug}"
    if mesh.alarm:
        fix = "sending is stopped; compare mesh status with another member's, and do not use this broker until it is known why"
        yield Check(name=name, ok="bad", text=f"another history was shown: {mesh.alarm}", fix=fix)
    elif mesh.row.trouble:
        yield Check(
            name=name, ok="bad", text=f"not let in: {mesh.row.trouble}", fix="ask for a new invite and run mesh join"
        )
    elif mesh.link is LinkState.REFUSED:
        yield Check(name=name, ok="bad", text=f"not served: {mesh.link_why}", fix="see mesh status")
    elif not mesh.active:
        text = "waiting to be let in: a member who may do so must be online"
        yield Check(name=name, ok="warn", text=text, fix="ask the person who invited you to start their machine")
    elif mesh.link is not LinkState.ONLINE:
        fix = f"check that {mesh.row.broker_url} runs and can be reached; messages wait here until then"
        yield Check(name=name, ok="bad", text=f"{mesh.link.value}: {mesh.link_why or 'not connected yet'}", fix=fix)
    else:
        yield Check(name=name, ok="ok", text=f"online; members: {len(mesh.state.members)}", fix="")
    yield from _doubts(app, mesh)
    waiting = count_waiting(app.node.db.reader, mesh.id)
    if waiting:
        fix = "they go out by themselves when the broker takes them"
        yield Check(name=f"outbox {mesh.slug}", ok="warn", text=f"{waiting} messages wait for the broker", fix=fix)


def _doubts(app: "App", mesh: Mesh) -> Iterator[Check]:
    """What a broker or a member showed since the start that does not fit."""
    now, doubts = app.node.now(), mesh.doubts
    if doubts.history_ms and not mesh.alarm:
        text = (
            f"{_ago(now - doubts.history_ms)} the broker showed another history of the membership; it shows ours again"
        )
        fix = "ask whoever runs the broker whether it was restored from a backup; if not, use another one"
        yield Check(name=f"history {mesh.slug}", ok="warn", text=text, fix=fix)
    if doubts.mailbox_ms:
        text = f"{_ago(now - doubts.mailbox_ms)} the broker had lost a part of its mail: it was restored from a backup"
        fix = (
            "what it had accepted and not delivered is lost: its senders see it stay at accepted, and can send it again"
        )
        yield Check(name=f"mailbox {mesh.slug}", ok="warn", text=text, fix=fix)
    for device, why in doubts.authors.items():
        text = f"messages of {_person(mesh, device)} wait: {why}"
        fix = "compare mesh status with theirs: either the broker shows you two different memberships, or their machine errs"
        yield Check(name=f"membership {mesh.slug}", ok="bad", text=text, fix=fix)
    for device, count in doubts.late(now):
        text = f"{count} messages of {_person(mesh, device)} did not arrive, though later ones did"
        fix = "ask them: mesh message ID shows what got no further than accepted; the broker may hold it back"
        yield Check(name=f"gap {mesh.slug}", ok="warn", text=text, fix=fix)


def _person(mesh: Mesh, device: DeviceId) -> str:
    member = mesh.state.member_of(device)
    return mesh.name_of(member.member_id) if member is not None else device.hex()[:8]


def _ago(ms: int) -> str:
    return f"{ms // 60_000} minutes ago" if ms >= 120_000 else "just now"


def _sessions(app: "App") -> Iterator[Check]:
    for session in app.sessions.live():
        name = f"session {session.name}"
        if session.trouble:
            text = f"messages cannot be pushed to it ({session.trouble})"
            yield Check(name=name, ok="warn", text=text, fix="it gets them when it calls check_messages")
        else:
            yield Check(name=name, ok="ok", text=session.status.word, fix="")
