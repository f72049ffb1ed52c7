"""One message to many: one ciphertext is kept, everybody gets his own envelope, and each refusal is one recipient's."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from broker_kit.people import EMPTY_TIP, START_MS, Device, Mesh, envelope, seeded
from broker_kit.side import Side
from broker_kit.stand import Stand, open_memory_stand
from mesh_broker.limits import Limits
from mesh_broker.store.sqlite import SqliteStore
from mesh_protocol.broker_api import AcceptAnswer, Done, MailAck, MailFan, MailSend
from mesh_protocol.envelope import Message
from mesh_protocol.fan import Fan, Outcome, parse_group_outer, tail_of, unpack_outcomes
from mesh_protocol.group_envelope import GroupRecipient, GroupRef, open_group, seal_group, wrap_group
from mesh_protocol.ids import MsgId

DAY_MS = 86_400_000


def fan(
    mesh: Mesh,
    sender: Device,
    to: list[Device],
    number: int,
    *,
    text: str = "to all of you",
    lane: str = "next",
    attempt: int = 1,
    expires_ms: int = START_MS + DAY_MS,
) -> Fan:
    """A message to many, sealed."""
    msg_id = MsgId(seeded("fan", number)[:16])
    message = Message(
        mesh.id, sender.member_id, sender.id, "", "human", sender.member_id, sender.id, "", msg_id, bytes(16), 0,
        START_MS, expires_ms, "text", lane, b"", EMPTY_TIP, "text/plain", text.encode(),
    )  # fmt: skip
    listed = [GroupRecipient(device.id, number, "") for device in to]
    sealed = seal_group(message, listed, sender.key, seeded("key", number), seeded("nonce", number)[:24])
    ref = GroupRef.of(mesh.id, sender.id, msg_id, sealed.shared)
    wraps = [wrap_group(ref, sealed.secret, attempt, device.signed_prekey(mesh.id)) for device in to]
    ordered = sorted(wraps, key=lambda wrap: wrap.to_device)
    return Fan(mesh.id, sender.id, msg_id, lane, expires_ms, sealed.shared, (*ordered,))


async def crowd(stand: Stand, *names: str) -> tuple[Mesh, Side, list[Device], list[Side]]:
    """Ann's mesh with some others, all connected and waiting for mail; sorted as a fan-out names them."""
    mesh, ann = await stand.create()
    others = sorted((Device(name) for name in names), key=lambda device: device.id)
    for device in others:
        await ann.append(mesh, mesh.add_member(device))
    sides = [await stand.enter(mesh, device) for device in others]
    for side in sides:
        await side.resume(mesh)
    return mesh, ann, others, sides


async def send(side: Side, mesh: Mesh, sent: Fan, *, again: bool = True) -> list[Outcome]:
    call = await side.begin(MailFan(mesh=mesh.id, again=again), sent.encode())
    return unpack_outcomes((await call.reply(5)).body, len(sent.wraps))


def rows(stand: Stand, table: str) -> int:
    return int(stand.database.reader.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


async def test_everybody_gets_the_message_and_the_ciphertext_is_kept_once(stand: Stand) -> None:
    mesh, ann, others, sides = await crowd(stand, "bob", "cid", "dan")
    sent = fan(mesh, mesh.owner, others, 1)
    outcomes = await send(ann, mesh, sent)
    assert outcomes == [Outcome(n, START_MS) for n in (1, 2, 3)]
    assert rows(stand, "shared") == 1
    for device, side, wrap in zip(others, sides, sent.wraps, strict=True):
        ((mseq, got),) = await side.mail(1)
        assert got == sent.head(wrap) + tail_of(sent.shared)
        opened = open_group(parse_group_outer(got), device.prekey, device.member_id)
        assert (mseq, opened.message.content) == (1, b"to all of you")
        await side.call(MailAck(mesh=mesh.id, acked=1), Done)
    assert rows(stand, "shared") == rows(stand, "mail") == 0, "with its last envelope the ciphertext goes"


async def test_it_is_kept_as_long_as_one_recipient_has_not_taken_it(memory_stand: Stand) -> None:
    mesh, ann, others, sides = await crowd(memory_stand, "bob", "cid")
    await send(ann, mesh, fan(mesh, mesh.owner, others, 1))
    await sides[0].call(MailAck(mesh=mesh.id, acked=1), Done)
    assert (rows(memory_stand, "shared"), rows(memory_stand, "mail")) == (1, 1)
    again = await memory_stand.enter(mesh, others[1])
    await again.resume(mesh)
    assert len(await again.mail(1)) == 1


async def test_a_repeat_gets_the_same_answer_and_changes_nothing(memory_stand: Stand) -> None:
    mesh, ann, others, _ = await crowd(memory_stand, "bob", "cid")
    sent = fan(mesh, mesh.owner, others, 1)
    first = await send(ann, mesh, sent)
    assert await send(ann, mesh, sent) == first
    calls = [await ann.begin(MailFan(mesh=mesh.id), fan(mesh, mesh.owner, others, 2).encode()) for _ in range(5)]
    assert len({(await call.reply(5)).body for call in calls}) == 1
    assert (rows(memory_stand, "shared"), rows(memory_stand, "mail")) == (2, 4)


async def test_a_part_of_it_may_follow(memory_stand: Stand) -> None:
    """As after a restart of its sender, who knows of some of the answers."""
    mesh, ann, others, sides = await crowd(memory_stand, "bob", "cid", "dan")
    whole = fan(mesh, mesh.owner, others, 1)
    part = replace(whole, wraps=whole.wraps[:1])
    await send(ann, mesh, part)
    outcomes = await send(ann, mesh, whole)
    assert [outcome.seq for outcome in outcomes] == [1, 2, 3]
    for side in sides:
        assert len(await side.mail(1)) == 1


async def test_a_refusal_is_one_recipients_own(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(mailbox_rows=4, member_share=0.5)) as stand:
        mesh, ann, others, _ = await crowd(stand, "bob", "cid")
        stranger = Device("nobody here")
        for number in range(2):
            await ann.call(MailSend(mesh=mesh.id), AcceptAnswer, envelope(mesh, mesh.owner, others[0], number))
        to = sorted([*others, stranger], key=lambda device: device.id)
        outcomes = await send(ann, mesh, fan(mesh, mesh.owner, to, 9))
        codes = {device.name: outcome.code for device, outcome in zip(to, outcomes, strict=True)}
        assert codes == {others[0].name: "mailbox_full", others[1].name: "", stranger.name: "unknown_device"}
        assert rows(stand, "dedupe") == 3, "what is refused leaves no mark"


async def test_nothing_goes_past_a_refused_one(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(mailbox_rows=4, member_share=0.5)) as stand:
        mesh, ann, others, sides = await crowd(stand, "bob", "cid")
        for number in range(2):
            await ann.call(MailSend(mesh=mesh.id), AcceptAnswer, envelope(mesh, mesh.owner, others[0], number))
        first, second = (fan(mesh, mesh.owner, others, number) for number in (1, 2))
        calls = [
            await ann.begin(MailFan(mesh=mesh.id, again=n == 0), each.encode())
            for n, each in enumerate((first, second))
        ]
        codes = [[o.code for o in unpack_outcomes((await call.reply(5)).body, 2)] for call in calls]
        assert codes == [["mailbox_full", ""], ["out_of_turn", ""]]
        await sides[0].call(MailAck(mesh=mesh.id, acked=2), Done)
        assert [o.code for o in await send(ann, mesh, second, again=False)] == ["out_of_turn", ""]
        for each in (first, second):
            assert [o.code for o in await send(ann, mesh, each)] == ["", ""]
        order = [parse_group_outer(body).msg_id for _, body in (await sides[0].mail(4))[2:]]
        assert order == [first.msg_id, second.msg_id]


async def test_a_message_to_many_costs_its_member_one_token(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(member_rate=0.001, member_burst=2)) as stand:
        mesh, ann, others, _ = await crowd(stand, "bob", "cid", "dan")
        for number in range(2):
            assert [o.code for o in await send(ann, mesh, fan(mesh, mesh.owner, others, number))] == ["", "", ""]
        refused = await send(ann, mesh, fan(mesh, mesh.owner, others, 9))
        assert {o.code for o in refused} == {"rate_limited"}
        assert all(o.retry_after > 0 for o in refused)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda body, mesh, others: body[:-1], "bad_envelope"),
        (lambda body, mesh, others: b"", "bad_envelope"),
        (lambda body, mesh, others: fan(mesh, others[0], others, 1).encode(), "not_allowed"),
        (lambda body, mesh, others: fan(mesh, mesh.owner, others, 1, expires_ms=1).encode(), "outcome bad_envelope"),
    ],
)
async def test_what_is_no_message_of_this_device_is_refused(
    memory_stand: Stand, change: Callable[[bytes, Mesh, list[Device]], bytes], code: str
) -> None:
    mesh, ann, others, _ = await crowd(memory_stand, "bob", "cid")
    body = change(fan(mesh, mesh.owner, others, 1).encode(), mesh, others)
    if code.startswith("outcome"):
        call = await ann.begin(MailFan(mesh=mesh.id), body)
        assert {o.code for o in unpack_outcomes((await call.reply(5)).body, 2)} == {"bad_envelope"}
    else:
        assert await ann.refusal(MailFan(mesh=mesh.id), body) == code
    assert rows(memory_stand, "mail") == rows(memory_stand, "shared") == 0


async def test_a_message_that_everybody_was_refused_leaves_nothing(memory_stand: Stand) -> None:
    mesh, ann, _, _ = await crowd(memory_stand, "bob")
    outcomes = await send(ann, mesh, fan(mesh, mesh.owner, [Device("one"), Device("two")], 1))
    assert [o.code for o in outcomes] == ["unknown_device"] * 2
    assert rows(memory_stand, "shared") == 0


async def test_what_expires_takes_the_ciphertext_along(memory_stand: Stand) -> None:
    mesh, ann, others, _ = await crowd(memory_stand, "bob", "cid")
    await send(ann, mesh, fan(mesh, mesh.owner, others, 1, expires_ms=START_MS + 1000))
    store = SqliteStore(memory_stand.database)
    assert await store.expire(START_MS + 1000, 0, 1).wait() == 1
    assert rows(memory_stand, "shared") == 1
    assert await store.expire(START_MS + 1000, 0, 10).wait() == 1
    assert rows(memory_stand, "mail") == rows(memory_stand, "shared") == 0
