"""Accepting envelopes: once each, in order, from whom they say, within bounds; and refusing the rest."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from broker_kit.people import START_MS, Device, Mesh, envelope, seeded
from broker_kit.side import Side
from broker_kit.stand import Stand, open_memory_stand
from mesh_broker.floor import Space
from mesh_broker.limits import DAY_MS, Limits
from mesh_protocol.broker_api import (
    AcceptAnswer,
    Done,
    JoinAsk,
    MailAck,
    MailResume,
    MailSend,
    PrekeyPut,
    Stats,
    StatsAnswer,
)
from mesh_protocol.envelope import MAX_ENVELOPE
from mesh_protocol.ids import MeshId
from mesh_protocol.invite import invite_key
from mesh_protocol.wire.errors import RemoteError


async def pair(stand: Stand) -> tuple[Mesh, Device, Side, Device, Side]:
    """A mesh of ann and bob, both connected."""
    mesh, ann = await stand.create()
    bob = Device("bob")
    await ann.append(mesh, mesh.add_member(bob))
    return mesh, mesh.owner, ann, bob, await stand.enter(mesh, bob)


def send(mesh: Mesh) -> MailSend:
    return MailSend(mesh=mesh.id, again=True)


async def test_an_envelope_reaches_the_device_it_is_for_unchanged(stand: Stand) -> None:
    mesh, ann, ann_side, bob, bob_side = await pair(stand)
    await bob_side.resume(mesh)
    sent = envelope(mesh, ann, bob, 1)
    answer = await ann_side.call(send(mesh), AcceptAnswer, sent)
    assert (answer.accept_seq, answer.accepted_ms) == (1, START_MS)
    assert await bob_side.mail(1) == [(1, sent)]


async def test_envelopes_wait_for_a_device_that_is_away(stand: Stand) -> None:
    mesh, ann = await stand.create()
    bob = Device("bob")
    await ann.append(mesh, mesh.add_member(bob))
    sent = [envelope(mesh, mesh.owner, bob, n) for n in range(5)]
    for body in sent:
        await ann.call(send(mesh), AcceptAnswer, body)
    side = await stand.enter(mesh, bob)
    answer = await side.resume(mesh)
    assert (answer.next_mseq, answer.floor) == (6, 1)
    assert await side.mail(5) == list(enumerate(sent, 1))


async def test_a_device_may_write_to_itself_and_to_its_member_s_other_device(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    laptop = Device("laptop")
    laptop.member_id = mesh.owner.member_id
    await ann.append(mesh, *mesh.add_device(mesh.owner, laptop))
    await ann.call(send(mesh), AcceptAnswer, envelope(mesh, mesh.owner, laptop, 1))
    await ann.call(send(mesh), AcceptAnswer, envelope(mesh, mesh.owner, mesh.owner, 2))


async def test_requests_of_one_connection_get_their_numbers_in_the_order_they_were_sent(stand: Stand) -> None:
    mesh, ann, ann_side, bob, bob_side = await pair(stand)
    await bob_side.resume(mesh)
    sent = [envelope(mesh, ann, bob, n) for n in range(100)]
    calls = [await ann_side.connection.begin("mail.send", {"mesh": mesh.id}, body) for body in sent]
    for call in calls:
        await call.reply(5)
    assert await bob_side.mail(100) == list(enumerate(sent, 1))


# Once each.


async def test_a_repeated_envelope_gets_the_first_answer_and_no_second_row(stand: Stand) -> None:
    mesh, ann, ann_side, bob, bob_side = await pair(stand)
    body = envelope(mesh, ann, bob, 1)
    first = await ann_side.call(send(mesh), AcceptAnswer, body)
    stand.clock.ms += 1000
    assert await ann_side.call(send(mesh), AcceptAnswer, body) == first
    assert (await bob_side.call(Stats(mesh=mesh.id), StatsAnswer)).mailbox_rows == 1


async def test_repeats_that_overtake_their_commit_are_one_too(stand: Stand) -> None:
    mesh, ann, ann_side, bob, bob_side = await pair(stand)
    body = envelope(mesh, ann, bob, 1)
    calls = [await ann_side.connection.begin("mail.send", {"mesh": mesh.id}, body) for _ in range(20)]
    assert len({str((await call.reply(5)).result) for call in calls}) == 1
    assert (await bob_side.call(Stats(mesh=mesh.id), StatsAnswer)).mailbox_rows == 1


async def test_a_repeat_after_the_recipient_acknowledged_is_not_delivered_again(memory_stand: Stand) -> None:
    mesh, ann, ann_side, bob, bob_side = await pair(memory_stand)
    body = envelope(mesh, ann, bob, 1)
    await ann_side.call(send(mesh), AcceptAnswer, body)
    await bob_side.call(MailAck(mesh=mesh.id, acked=1), Done)
    await ann_side.call(send(mesh), AcceptAnswer, body)
    assert (await bob_side.call(Stats(mesh=mesh.id), StatsAnswer)).mailbox_rows == 0


async def test_a_new_attempt_is_another_envelope(memory_stand: Stand) -> None:
    mesh, ann, ann_side, bob, bob_side = await pair(memory_stand)
    for attempt in range(2):
        await ann_side.call(send(mesh), AcceptAnswer, envelope(mesh, ann, bob, 1, attempt=attempt))
    assert (await bob_side.call(Stats(mesh=mesh.id), StatsAnswer)).mailbox_rows == 2


async def test_two_senders_may_use_the_same_message_id(memory_stand: Stand) -> None:
    mesh, ann, ann_side, bob, bob_side = await pair(memory_stand)
    cid = Device("cid")
    await ann_side.append(mesh, mesh.add_member(cid))
    for sender, side in ((ann, ann_side), (bob, bob_side)):
        await side.call(send(mesh), AcceptAnswer, envelope(mesh, sender, cid, b"the same msg id!"))
    side = await memory_stand.enter(mesh, cid)
    assert (await side.call(Stats(mesh=mesh.id), StatsAnswer)).mailbox_rows == 2


async def test_a_repeat_is_known_after_a_restart(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path) as stand:
        mesh, ann, ann_side, bob, _ = await pair(stand)
        body = envelope(mesh, ann, bob, 1)
        first = await ann_side.call(send(mesh), AcceptAnswer, body)
    async with open_memory_stand(tmp_path) as stand:
        ann_side = await stand.enter(mesh, ann)
        assert await ann_side.call(send(mesh), AcceptAnswer, body) == first


# From whom, to whom.


@pytest.mark.parametrize(
    ("change", "code"),
    [("sender", "not_allowed"), ("mesh", "not_allowed"), ("stranger", "unknown_device"), ("bytes", "bad_envelope"),
     ("empty", "bad_envelope"), ("large", "bad_request"), ("expired", "bad_envelope")],
)  # fmt: skip
async def test_what_is_not_this_devices_envelope_to_a_device_of_the_mesh_is_refused(
    memory_stand: Stand, change: str, code: str
) -> None:
    mesh, ann, ann_side, bob, bob_side = await pair(memory_stand)
    other, _ = await memory_stand.create("zoe", "other")
    body = {
        "sender": envelope(mesh, bob, ann, 1),
        "mesh": envelope(other, ann, bob, 1),
        "stranger": envelope(mesh, ann, Device("stranger"), 1),
        "bytes": envelope(mesh, ann, bob, 1)[:-1],
        "empty": b"",
        "large": bytes(MAX_ENVELOPE + 1),
        "expired": envelope(mesh, ann, bob, 1, expires_ms=START_MS),
    }[change]
    expected = "too_large" if change == "large" else code
    assert await ann_side.refusal(send(mesh), body) == expected
    assert (await bob_side.call(Stats(mesh=mesh.id), StatsAnswer)).mailbox_rows == 0
    assert memory_stand.database.reader.execute("SELECT count(*) FROM dedupe").fetchall() == [(0,)]


async def test_an_invites_key_sends_no_mail(memory_stand: Stand) -> None:
    mesh, ann, ann_side, bob, _ = await pair(memory_stand)
    await ann_side.invite(mesh, seeded("secret"))
    side = await memory_stand.connect()
    await side.hello(mesh.id, invite_key(seeded("secret")), invite=True)
    assert await side.refusal(send(mesh), envelope(mesh, ann, bob, 1)) == "not_allowed"
    assert await side.refusal(MailResume(mesh=mesh.id, acked=0)) == "not_allowed"
    assert await side.refusal(MailAck(mesh=mesh.id, acked=0)) == "not_allowed"


async def test_nobody_reads_or_deletes_anothers_mail(memory_stand: Stand) -> None:
    mesh, ann, ann_side, bob, bob_side = await pair(memory_stand)
    await ann_side.call(send(mesh), AcceptAnswer, envelope(mesh, ann, bob, 1))
    assert (await ann_side.resume(mesh)).next_mseq == 1
    await ann_side.call(MailAck(mesh=mesh.id, acked=99), Done)
    assert (await bob_side.call(Stats(mesh=mesh.id), StatsAnswer)).mailbox_rows == 1


# Bounds.


async def refused(side: Side, mesh: Mesh, bodies: Sequence[bytes]) -> list[str]:
    codes: list[str] = []
    for body in bodies:
        try:
            await side.call(send(mesh), AcceptAnswer, body)
        except RemoteError as error:
            codes.append(error.code)
    return codes


async def test_one_member_fills_a_quarter_of_a_mailbox_and_leaves_the_rest_to_others(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(mailbox_rows=40)) as stand:
        mesh, ann, ann_side, bob, bob_side = await pair(stand)
        cid = Device("cid")
        await ann_side.append(mesh, mesh.add_member(cid))
        codes = await refused(ann_side, mesh, [envelope(mesh, ann, bob, n) for n in range(13)])
        assert codes == ["mailbox_full"] * 3
        cid_side = await stand.enter(mesh, cid)
        assert await refused(cid_side, mesh, [envelope(mesh, cid, bob, n) for n in range(5)]) == []
        await bob_side.call(MailAck(mesh=mesh.id, acked=2), Done)
        assert await refused(ann_side, mesh, [envelope(mesh, ann, bob, n) for n in range(13)]) == ["mailbox_full"]


async def test_a_mailbox_is_bounded_in_bytes(tmp_path: Path) -> None:
    size = 1000
    async with open_memory_stand(tmp_path, Limits(mailbox_bytes=4 * 5 * size)) as stand:
        mesh, ann, ann_side, bob, bob_side = await pair(stand)
        bodies = [envelope(mesh, ann, bob, n) for n in range(10)]
        room = 5 * size // len(bodies[0])
        codes = await refused(ann_side, mesh, bodies)
        assert codes == ["mailbox_full"] * (10 - room)
        held = await bob_side.call(Stats(mesh=mesh.id), StatsAnswer)
        assert held.mailbox_bytes == room * len(bodies[0])


async def test_a_full_mailbox_is_full_for_everybody(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(mailbox_rows=4, member_share=1.0)) as stand:
        mesh, ann, ann_side, bob, bob_side = await pair(stand)
        assert await refused(ann_side, mesh, [envelope(mesh, ann, bob, n) for n in range(4)]) == []
        assert await refused(bob_side, mesh, [envelope(mesh, bob, bob, 9)]) == ["mailbox_full"]


async def test_a_refused_envelope_is_taken_when_it_comes_again(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(mailbox_rows=4)) as stand:
        mesh, ann, ann_side, bob, bob_side = await pair(stand)
        bodies = [envelope(mesh, ann, bob, n) for n in range(2)]
        assert await refused(ann_side, mesh, bodies) == ["mailbox_full"]
        await bob_side.call(MailAck(mesh=mesh.id, acked=1), Done)
        await ann_side.call(send(mesh), AcceptAnswer, bodies[1])


async def test_a_member_sends_so_fast_and_no_faster_and_is_told_when_to_try_again(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with open_memory_stand(tmp_path, Limits(member_rate=2, member_burst=10)) as stand:
        mesh, ann, ann_side, bob, _ = await pair(stand)
        bodies = [envelope(mesh, ann, bob, n) for n in range(12)]
        assert await refused(ann_side, mesh, bodies) == ["rate_limited"] * 2
        with pytest.raises(RemoteError) as caught:
            await ann_side.call(send(mesh), AcceptAnswer, bodies[10])
        wait = caught.value.data["retry_after"]
        assert isinstance(wait, float)
        assert 0 < wait <= 0.5
        await trio.sleep(wait)
        assert await refused(ann_side, mesh, bodies[10:11]) == []


async def test_repeats_and_further_recipients_of_a_message_are_free(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(member_rate=0.001, member_burst=1)) as stand:
        mesh, ann, ann_side, bob, _ = await pair(stand)
        others = [Device(f"member {n}") for n in range(5)]
        for other in others:
            await ann_side.append(mesh, mesh.add_member(other))
        message = [envelope(mesh, ann, to, 1) for to in (bob, *others)]
        assert await refused(ann_side, mesh, message * 2) == []
        assert await refused(ann_side, mesh, [envelope(mesh, ann, bob, 1, attempt=1)]) == []
        assert await refused(ann_side, mesh, [envelope(mesh, ann, bob, 2)]) == ["rate_limited"]


async def test_receipts_are_not_held_back_because_whoever_was_written_to_may_answer(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(member_rate=0.001, member_burst=8)) as stand:
        mesh, ann, ann_side, bob, bob_side = await pair(stand)
        await bob_side.resume(mesh)
        for n in range(8):
            await ann_side.call(send(mesh), AcceptAnswer, envelope(mesh, ann, bob, n))
        await bob_side.mail(8)
        answers = 8 * stand.broker.limits.answers_per_push
        bodies = [envelope(mesh, bob, ann, n) for n in range(answers + 9)]
        assert await refused(bob_side, mesh, bodies) == ["rate_limited"]


async def test_the_hard_rate_holds_for_answers_too(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(envelope_rate=3, member_burst=100)) as stand:
        mesh, ann, ann_side, bob, _ = await pair(stand)
        codes = await refused(ann_side, mesh, [envelope(mesh, ann, bob, n) for n in range(8)])
        assert set(codes) == {"rate_limited"}
        assert len(codes) >= 4


async def test_below_the_disk_floor_nothing_new_is_taken_and_everything_can_be_read(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with open_memory_stand(tmp_path) as stand:
        mesh, ann, ann_side, bob, bob_side = await pair(stand)
        sent = envelope(mesh, ann, bob, 1)
        await ann_side.call(send(mesh), AcceptAnswer, sent)
        stand.space[0] = Space(10**6, 10**12)
        await trio.sleep(6)
        assert await refused(ann_side, mesh, [envelope(mesh, ann, bob, 2)]) == ["storage_full"]
        assert await ann_side.refusal(PrekeyPut(mesh=mesh.id), ann.signed_prekey(mesh.id).encode()) == "storage_full"
        assert await ann_side.call(send(mesh), AcceptAnswer, sent)
        await bob_side.resume(mesh)
        assert await bob_side.mail(1) == [(1, sent)]
        await bob_side.call(MailAck(mesh=mesh.id, acked=1), Done)
        stand.space[0] = Space(10**12, 10**12)
        await trio.sleep(6)
        assert await refused(ann_side, mesh, [envelope(mesh, ann, bob, 2)]) == []


# Expiry.


async def test_expired_envelopes_are_dropped_and_their_numbers_never_given_again(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with open_memory_stand(tmp_path) as stand:
        mesh, ann, ann_side, bob, bob_side = await pair(stand)
        for n, minutes in enumerate((1, 600, 1)):
            expires = START_MS + minutes * 60_000
            await ann_side.call(send(mesh), AcceptAnswer, envelope(mesh, ann, bob, n, expires_ms=expires))
        stand.clock.ms += 120_000
        await trio.sleep(125)
        bob_side = await stand.enter(mesh, bob)
        answer = await bob_side.resume(mesh)
        assert (answer.next_mseq, answer.floor) == (4, 2)
        assert [mseq for mseq, _ in await bob_side.mail(1)] == [2]
        assert (await bob_side.call(Stats(mesh=mesh.id), StatsAnswer)).mailbox_rows == 1
        ann_side = await stand.enter(mesh, ann)
        last = envelope(mesh, ann, bob, 9)
        await ann_side.call(send(mesh), AcceptAnswer, last)
        assert await bob_side.mail(1) == [(4, last)]


async def test_an_envelope_that_expired_but_still_lies_there_is_not_pushed(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with open_memory_stand(tmp_path) as stand:
        mesh, ann, ann_side, bob, bob_side = await pair(stand)
        await ann_side.call(send(mesh), AcceptAnswer, envelope(mesh, ann, bob, 1, expires_ms=START_MS + 5000))
        good = envelope(mesh, ann, bob, 2)
        await ann_side.call(send(mesh), AcceptAnswer, good)
        stand.clock.ms += 10_000
        await trio.sleep(10)
        await bob_side.resume(mesh)
        assert await bob_side.mail(1) == [(2, good)]


async def test_a_clock_that_jumps_a_year_drops_no_mail(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path) as stand:
        mesh, ann, ann_side, bob, bob_side = await pair(stand)
        sent = envelope(mesh, ann, bob, 1)
        await ann_side.call(send(mesh), AcceptAnswer, sent)
        stand.clock.ms += 365 * DAY_MS
        await trio.sleep(61)
        bob_side = await stand.enter(mesh, bob)
        await bob_side.resume(mesh)
        assert await bob_side.mail(1) == [(1, sent)]


async def test_no_envelope_is_kept_longer_than_thirty_days(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with open_memory_stand(tmp_path) as stand:
        mesh, ann, ann_side, bob, _ = await pair(stand)
        far = envelope(mesh, ann, bob, 1, expires_ms=START_MS + 400 * DAY_MS)
        await ann_side.call(send(mesh), AcceptAnswer, far)
        rows = stand.database.reader.execute("SELECT expires_ms FROM mail").fetchall()
        assert rows == [(START_MS + 30 * DAY_MS,)]


async def test_an_unknown_mesh_gets_no_mail(memory_stand: Stand) -> None:
    mesh, ann, ann_side, bob, _ = await pair(memory_stand)
    body = envelope(mesh, ann, bob, 1)
    assert await ann_side.refusal(MailSend(mesh=MeshId(seeded("nowhere"))), body) == "not_allowed"
    assert await ann_side.refusal(JoinAsk(mesh=mesh.id, invite=seeded("none"))) == "not_allowed"
