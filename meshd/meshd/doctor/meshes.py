"""Each mesh: whether its broker serves it, whether its history is whole, and what waits to go out."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from mesh_protocol.ids import DeviceId
from mesh_protocol.ops.daemon import Check
from meshd.doctor.machine import NEARLY
from meshd.keyasking import first_lacking
from meshd.knocks import waiting_joiners
from meshd.link.joining import whom_it_waits_for
from meshd.link.table import LinkState
from meshd.mesh import Mesh
from meshd.recovery import standing
from meshd.store.outbox import count_waiting
from meshd.store.outbox_views import list_waiting
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


def check_mesh(app: "App", mesh: Mesh) -> Iterator[Check]:
    name = f"mesh {mesh.slug}"
    if mesh.fork is not None:
        fix = "mesh resolve shows them; ask the others what they see, then choose one on a machine that may: mesh resolve HEAD"
        yield Check(name=name, ok="bad", text=f"frozen, nothing is sent: {mesh.alarm}", fix=fix)
    elif mesh.alarm:
        fix = "sending is stopped; compare mesh status with another member's, and do not use this broker until it is known why"
        yield Check(name=name, ok="bad", text=f"another history was shown: {mesh.alarm}", fix=fix)
    elif mesh.row.trouble:
        fix = "ask for a new invite and run mesh join"
        if mesh.row.trouble == "link_ended":
            fix = f"mesh leave {mesh.slug} --forget, then mesh device link on your other machine"
        yield Check(name=name, ok="bad", text=f"not let in: {mesh.failed_why.partition(': ask')[0]}", fix=fix)
    elif mesh.link is LinkState.REFUSED:
        yield Check(name=name, ok="bad", text=f"not served: {mesh.link_why}", fix=_mend_refused(app, mesh))
    elif mesh.leaving:
        text = "this machine leaves it and has dropped its keys; waiting for a member who may sign that it is out"
        fix = "it goes on by itself; mesh leave --forget ends it here, and the others go on listing this machine"
        yield Check(name=name, ok="warn", text=text, fix=fix)
    elif not mesh.active:
        text = f"waiting for {whom_it_waits_for(app.node, mesh)}"
        yield Check(name=name, ok="warn", text=text, fix="ask the person who invited you to look at mesh invites")
    elif mesh.link is not LinkState.ONLINE:
        fix = f"check that {mesh.row.broker_url} runs and can be reached; messages wait here until then"
        text = f"{mesh.link.value}: {mesh.link_why}" if mesh.link_why else "connecting: its broker has not answered yet"
        yield Check(name=name, ok="bad", text=text, fix=fix)
    else:
        yield Check(name=name, ok="ok", text=f"online; members: {len(mesh.state.members)}", fix="")
    yield from _joiners(mesh)
    yield from _chain(mesh)
    yield from _lacking(app, mesh)
    yield from _recovery(app, mesh)
    yield from _doubts(app, mesh)
    yield from _quota(app, mesh)
    yield from _outbox(app, mesh)


def _mend_refused(app: "App", mesh: Mesh) -> str:
    if mesh.turned_out:
        return (
            f"ask an owner or admin of it: if this machine was taken out, mesh leave {mesh.slug} clears it away, "
            "and a new invite may let it in again"
        )
    if mesh.active and app.node.device not in mesh.state.devices:
        return "another machine has to let this restored one in: mesh restore FILE shows how"
    return "it tries again every few minutes; where a copy of this home runs, stop one of them; else ask whoever runs the broker"


def _joiners(mesh: Mesh) -> Iterator[Check]:
    """Who cannot be let in without this person."""
    waiting = waiting_joiners(mesh) if mesh.active else []
    if waiting:
        names = ", ".join(knock.name for knock in waiting[:5])
        text = f"{names} {'waits' if len(waiting) == 1 else 'wait'} for your yes to be let in"
        fix = "mesh invites shows them; mesh invite approve NAME lets one in, mesh invite deny NAME turns him away"
        yield Check(name=f"joining {mesh.slug}", ok="warn", text=text, fix=fix)


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
        text = f"{count_messages(here.total())} for the broker: {_listed(here)}"
        fix = "they go out by themselves when that is mended"
        if mesh.turned_out:
            fix = "if this machine was taken out of the mesh they do not go out any more"
        fix += "; mesh outbox lists them, mesh outbox cancel ID takes one back"
        yield Check(name=name, ok="warn", text=text, fix=fix)
    if there:
        yield Check(
            name=name, ok="ok", text=f"{count_messages(there.total())} for their recipients: {_listed(there)}", fix=""
        )


def count_messages(count: int) -> str:
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
    if doubts.twice is not None:
        first, second = (_person(mesh, device) for device in doubts.twice)
        text = (
            f"{ago(now - doubts.twice_ms)} messages of {first} and {second} came under one key that is given out once:"
            f" the broker {mesh.row.broker_url} gave it out twice"
        )
        if first == second:
            text += ", or their machine used it twice"
        fix = (
            "the second was not opened, its sender seals it anew; ask whoever runs the broker whether it was restored from"
            " a backup, and if not, use another one"
        )
        yield Check(name=f"prekeys {mesh.slug}", ok="warn", text=text, fix=fix)
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


def _chain(mesh: Mesh) -> Iterator[Check]:
    """How far the membership is known here: two members who compare it see whether a broker shows them the same."""
    if mesh.chain is None or not mesh.active:
        return
    text = f"{mesh.tip.chain_seq} records, the last {mesh.tip.chain_hash.hex()[:16]}"
    yield Check(name=f"chain {mesh.slug}", ok="ok", text=text, fix="")
    if mesh.prekey is None:
        text = "this machine has not published a key yet: others cannot seal anything to it"
        fix = "it does so by itself when the broker serves it; mesh status says whether it does"
        yield Check(name=f"prekey {mesh.slug}", ok="warn", text=text, fix=fix)


def _lacking(app: "App", mesh: Mesh) -> Iterator[Check]:
    """Epoch keys that are not here: presence is not heard without the newest one, and nobody is let in by this machine."""
    lacking, epoch = mesh.lacking, first_lacking(mesh)
    if not lacking.since_ms or not epoch:
        return
    now = app.node.now()
    machines = "1 machine was" if lacking.asked == 1 else f"{lacking.asked} machines were"
    text = f"the key of epoch {epoch} is not here yet (first missed {ago(now - lacking.since_ms)})"
    text += f"; {machines} asked for it" + (f", the last {ago(now - lacking.asked_ms)}" if lacking.asked else "")
    if lacking.refused:
        text += f"; {lacking.refused} answered with keys that are not this mesh's"
    fix = "it comes by itself as soon as another machine of the mesh is online; messages to you come all the same"
    yield Check(name=f"keys {mesh.slug}", ok="warn", text=text, fix=fix)


def _recovery(app: "App", mesh: Mesh) -> Iterator[Check]:
    """The key that can let its person in again when every machine of his is lost."""
    if mesh.active and standing(app.node, mesh) == "not backed up":
        text = f"the recovery key of {mesh.slug} has not been backed up"
        fix = "run mesh backup FILE --recovery, and keep the file elsewhere"
        yield Check(name=f"recovery {mesh.slug}", ok="warn", text=text, fix=fix)


def _quota(app: "App", mesh: Mesh) -> Iterator[Check]:
    """The room of the outbox: when it is full, nothing more can be sent."""
    waiting, most = count_waiting(app.node.db.reader, mesh.id), app.config.limits.outbox_rows
    if waiting >= most * NEARLY:
        text = f"{waiting} of at most {most} deliveries wait for the broker"
        fix = "bring the broker back, or take some back: mesh outbox, mesh outbox cancel ID"
        yield Check(name=f"quota {mesh.slug}", ok="bad" if waiting >= most else "warn", text=text, fix=fix)
