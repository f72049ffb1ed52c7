"""Everything on this machine that can keep a message from arriving, each with the sentence or command that mends it."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mesh_protocol.ids import DeviceId
from mesh_protocol.ops.daemon import Check
from meshd.link.table import LinkState
from meshd.mesh import Mesh
from meshd.sessions import Session
from meshd.store.outbox_views import list_waiting
from meshd.store.sessions import count_unshown
from meshd.stuck import TROUBLES
from meshd.waiting import PEOPLES, ago, why_waiting

if TYPE_CHECKING:
    from meshd.app import App

MAX_COUNTED: Final = 1_000
"""Messages of one outbox that are looked at."""
THERE: Final = {
    "away": "the broker has them, their machines have not fetched them",
    "unconfirmed": "the broker has them, their machines have not confirmed them yet",
    "mailbox_full": "their mailboxes at the broker are full",
    "no_prekey": "their machines have not published a key yet",
}
"""Reasons of many messages at once, where that of one names its machine."""
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
    yield from _outbox(app, mesh)


def _outbox(app: "App", mesh: Mesh) -> Iterator[Check]:
    """What waits to go out, and why; and what only its recipients' machines have to fetch."""
    name = f"outbox {mesh.slug}"
    here: Counter[str] = Counter()
    there: Counter[str] = Counter()
    refusals = app.outbox.queue(mesh.id).refusals
    for view in list_waiting(app.node.db.reader, mesh.id, "", MAX_COUNTED):
        why = why_waiting(mesh, app.board, view, refusals)
        (there if why.code in PEOPLES else here)[THERE.get(why.code, why.text)] += 1
    if here:
        text = f"{_messages(here.total())} for the broker: {_listed(here)}"
        fix = "they go out by themselves when that is mended; mesh outbox lists them, mesh outbox cancel ID takes one back"
        yield Check(name=name, ok="warn", text=text, fix=fix)
    if there:
        yield Check(
            name=name, ok="ok", text=f"{_messages(there.total())} for their recipients: {_listed(there)}", fix=""
        )


def _messages(count: int) -> str:
    more = " or more" if count >= MAX_COUNTED else ""
    return "1 message waits" if count == 1 else f"{count}{more} messages wait"


def _listed(reasons: Counter[str]) -> str:
    if len(reasons) == 1:
        return next(iter(reasons))
    return "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common(5))


def _doubts(app: "App", mesh: Mesh) -> Iterator[Check]:
    """What a broker or a member showed since the start that does not fit."""
    now, doubts = app.node.now(), mesh.doubts
    if doubts.history_ms and not mesh.alarm:
        text = (
            f"{ago(now - doubts.history_ms)} the broker showed another history of the membership; it shows ours again"
        )
        fix = "ask whoever runs the broker whether it was restored from a backup; if not, use another one"
        yield Check(name=f"history {mesh.slug}", ok="warn", text=text, fix=fix)
    if doubts.mailbox_ms:
        text = f"{ago(now - doubts.mailbox_ms)} the broker had lost a part of its mail: it was restored from a backup"
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


def _sessions(app: "App") -> Iterator[Check]:
    for session in app.sessions.live():
        waiting = count_unshown(app.node.db.reader, session.key)
        trouble, fix = _held_up(session)
        count = _messages(waiting)
        name = f"session {session.name}"
        if trouble:
            yield Check(
                name=name,
                ok="warn" if waiting or session.trouble else "ok",
                text=f"{trouble}; {count}" if waiting else trouble,
                fix=fix,
            )
        else:
            text = f"{session.status.word}; {count} until it is idle or asks" if waiting else session.status.word
            yield Check(name=name, ok="ok", text=text, fix="")


def _held_up(session: Session) -> tuple[str, str]:
    """Why messages are not pushed to a session, and what ends that; both empty when they are."""
    push = f"mesh mode push --session {session.name}"
    if session.mode == "off":
        return "mode off: nothing is shown or given to it", push
    if session.mode == "inbox":
        return "mode inbox: it is shown messages only when it asks", push
    if session.status.word == "dnd":
        return "do not disturb", "the session ends it itself: ask its agent to call set_status with idle"
    if session.trouble == "taken_but_not_shown":
        fix = "it gets them when it calls check_messages; Claude Code's setting crossSessionInbound may hold or refuse them"
        return "it took messages and nothing proves that they were shown", fix
    if session.trouble in TROUBLES:
        return TROUBLES[session.trouble], "the session's own settings of Claude Code decide it (crossSessionInbound)"
    if session.trouble:
        return f"messages cannot be pushed to it ({session.trouble})", "it gets them when it calls check_messages"
    return "", ""
