"""The stream of a mailbox: lanes, window, acknowledgements, and what a reconnection sees."""

from pathlib import Path

from broker_kit.people import Device, Mesh, envelope
from broker_kit.side import Side
from broker_kit.stand import Stand, open_memory_stand
from mesh_broker.limits import Limits
from mesh_protocol.broker_api import AcceptAnswer, Done, MailAck, MailResume, MailSend, Stats, StatsAnswer
from mesh_protocol.envelope import parse_outer


async def filled(stand: Stand, lanes: list[str], size: int = 5) -> tuple[Mesh, Device, Side, list[bytes]]:
    """Bob's mailbox with an envelope in each of `lanes`; ann's connection."""
    mesh, ann = await stand.create()
    bob = Device("bob")
    await ann.append(mesh, mesh.add_member(bob))
    sent = [envelope(mesh, mesh.owner, bob, n, lane=lane, text="x" * size) for n, lane in enumerate(lanes)]
    for body in sent:
        await ann.call(MailSend(mesh=mesh.id, again=True), AcceptAnswer, body)
    return mesh, bob, ann, sent


async def test_what_waits_comes_in_lane_order_and_in_number_order_within_a_lane(stand: Stand) -> None:
    mesh, bob, _, _ = await filled(stand, ["low", "next", "now", "low", "now", "next"])
    side = await stand.enter(mesh, bob)
    await side.resume(mesh)
    assert [mseq for mseq, _ in await side.mail(6)] == [3, 5, 2, 6, 1, 4]


async def test_nothing_is_pushed_before_the_answer_to_resume(memory_stand: Stand) -> None:
    mesh, bob, _, _ = await filled(memory_stand, ["now"] * 3)
    memory_stand.captured = frames = list[bytes]()
    side = await memory_stand.enter(mesh, bob)
    await side.resume(mesh)
    await side.mail(3)
    answer = next(n for n, frame in enumerate(frames) if b"next_mseq" in frame)
    pushes = [n for n, frame in enumerate(frames) if b"\xa4mail\x82" in frame]
    assert len(pushes) == 3
    assert answer < min(pushes)


async def test_mail_that_comes_at_the_same_moment_waits_for_the_answer_to_resume(memory_stand: Stand) -> None:
    mesh, bob, ann, _ = await filled(memory_stand, [])
    for n in range(30):  # the tasks of one moment run in any order
        memory_stand.captured = frames = list[bytes]()
        side = await memory_stand.enter(mesh, bob)
        resumed = await side.begin(MailResume(mesh=mesh.id, acked=n))
        sent = await ann.begin(MailSend(mesh=mesh.id), envelope(mesh, mesh.owner, bob, 1000 + n))
        await resumed.reply(5)
        await sent.reply(5)
        await side.mail(1)
        answer = next(place for place, frame in enumerate(frames) if b"next_mseq" in frame)
        assert answer < next(place for place, frame in enumerate(frames) if b"\xa4mail\x82" in frame)


async def test_without_resume_nothing_is_pushed(memory_stand: Stand) -> None:
    mesh, bob, ann, _ = await filled(memory_stand, ["now"])
    side = await memory_stand.enter(mesh, bob)
    await ann.call(MailSend(mesh=mesh.id, again=True), AcceptAnswer, envelope(mesh, mesh.owner, bob, 99))
    await side.call(Stats(mesh=mesh.id), StatsAnswer)
    assert side.waiting("mail") == 0


async def test_no_more_than_the_window_is_handed_over_unacknowledged(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(window_rows=4)) as stand:
        mesh, bob, _, sent = await filled(stand, ["next"] * 10)
        side = await stand.enter(mesh, bob)
        await side.resume(mesh)
        assert await side.mail(4) == list(enumerate(sent[:4], 1))
        await side.call(Stats(mesh=mesh.id), StatsAnswer)
        assert side.waiting("mail") == 0
        await side.connection.notify("mail.ack", {"mesh": mesh.id, "acked": 1, "sacks": [[3, 4]]})
        assert await side.mail(3) == list(enumerate(sent, 1))[4:7]
        await side.call(Stats(mesh=mesh.id), StatsAnswer)
        assert side.waiting("mail") == 0


async def test_the_window_is_bounded_in_bytes_but_lets_one_large_envelope_through(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(window_bytes=2000)) as stand:
        mesh, bob, _, sent = await filled(stand, ["next"] * 4, size=5000)
        assert len(sent[0]) > 2000
        side = await stand.enter(mesh, bob)
        await side.resume(mesh)
        for number in range(1, 5):
            assert [mseq for mseq, _ in await side.mail(1)] == [number]
            await side.call(Stats(mesh=mesh.id), StatsAnswer)
            assert side.waiting("mail") == 0
            await side.call(MailAck(mesh=mesh.id, acked=number), Done)


async def test_an_urgent_envelope_overtakes_what_waits_behind_the_window(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(window_rows=2)) as stand:
        mesh, bob, ann, _ = await filled(stand, ["low"] * 5)
        side = await stand.enter(mesh, bob)
        await side.resume(mesh)
        assert [mseq for mseq, _ in await side.mail(2)] == [1, 2]
        await ann.call(
            MailSend(mesh=mesh.id, again=True), AcceptAnswer, envelope(mesh, mesh.owner, bob, 99, lane="now")
        )
        await side.call(MailAck(mesh=mesh.id, acked=2), Done)
        assert [mseq for mseq, _ in await side.mail(2)] == [6, 3]


async def test_acknowledged_envelopes_are_gone_and_the_others_come_again_after_a_reconnection(stand: Stand) -> None:
    mesh, bob, _, sent = await filled(stand, ["next"] * 6)
    side = await stand.enter(mesh, bob)
    await side.resume(mesh)
    await side.mail(6)
    await side.call(MailAck(mesh=mesh.id, acked=2, sacks=[[4, 5]]), Done)
    side = await stand.enter(mesh, bob)
    answer = await side.resume(mesh)
    assert (answer.next_mseq, answer.floor) == (7, 3)
    assert await side.mail(2) == [(3, sent[2]), (6, sent[5])]


async def test_resume_acknowledges_what_it_names(stand: Stand) -> None:
    mesh, bob, _, sent = await filled(stand, ["next"] * 6)
    side = await stand.enter(mesh, bob)
    answer = await side.resume(mesh, acked=2, sacks=[[4, 5]])
    assert answer.floor == 3
    assert await side.mail(2) == [(3, sent[2]), (6, sent[5])]
    await side.call(MailAck(mesh=mesh.id, acked=0), Done)  # writes are in order: its answer comes after the deletion
    assert (await side.call(Stats(mesh=mesh.id), StatsAnswer)).mailbox_rows == 2


async def test_a_device_that_counts_further_than_the_broker_loses_nothing_here(memory_stand: Stand) -> None:
    mesh, bob, _, _ = await filled(memory_stand, ["next"] * 3)
    side = await memory_stand.enter(mesh, bob)
    answer = await side.resume(mesh, acked=50)
    assert (answer.next_mseq, answer.floor) == (4, 4)
    assert (await side.call(Stats(mesh=mesh.id), StatsAnswer)).mailbox_rows == 3
    assert (await side.resume(mesh)).floor == 1
    await side.mail(3)


async def test_an_acknowledgement_on_an_earlier_connection_reaches_the_disk(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path) as stand:
        mesh, bob, _, sent = await filled(stand, ["next"] * 3)
        side = await stand.enter(mesh, bob)
        await side.resume(mesh)
        await side.mail(3)
        await side.call(MailAck(mesh=mesh.id, acked=2), Done)
    async with open_memory_stand(tmp_path) as stand:
        side = await stand.enter(mesh, bob)
        assert (await side.resume(mesh)).next_mseq == 4
        assert await side.mail(1) == [(3, sent[2])]


async def test_resuming_again_starts_the_stream_again(memory_stand: Stand) -> None:
    mesh, bob, ann, sent = await filled(memory_stand, ["next"] * 2)
    side = await memory_stand.enter(mesh, bob)
    await side.resume(mesh)
    await side.mail(2)
    await side.resume(mesh)
    assert await side.mail(2) == list(enumerate(sent, 1))
    await ann.call(MailSend(mesh=mesh.id, again=True), AcceptAnswer, envelope(mesh, mesh.owner, bob, 99))
    assert [mseq for mseq, _ in await side.mail(1)] == [3]
    await side.call(Stats(mesh=mesh.id), StatsAnswer)
    assert side.waiting("mail") == 0


async def test_a_range_that_ends_before_it_begins_is_a_bad_request(memory_stand: Stand) -> None:
    mesh, bob, _, _ = await filled(memory_stand, [])
    side = await memory_stand.enter(mesh, bob)
    assert await side.refusal(MailResume(mesh=mesh.id, acked=0, sacks=[[5, 4]])) == "bad_request"
    assert await side.refusal(MailAck(mesh=mesh.id, acked=0, sacks=[[5, 4]])) == "bad_request"


async def test_more_ranges_than_allowed_are_a_bad_request(memory_stand: Stand) -> None:
    mesh, bob, _, _ = await filled(memory_stand, [])
    side = await memory_stand.enter(mesh, bob)
    sacks = [[n, n] for n in range(65)]
    assert await side.refusal(MailAck(mesh=mesh.id, acked=0, sacks=sacks)) == "bad_request"


async def test_a_reader_that_stops_holds_up_nobody_else(memory_stand: Stand) -> None:
    mesh, bob, ann, _ = await filled(memory_stand, ["next"] * 120, size=3000)
    cid = Device("cid")
    await ann.append(mesh, mesh.add_member(cid))
    stopped = await memory_stand.enter(mesh, bob)
    reading = await memory_stand.enter(mesh, cid)
    await reading.resume(mesh)
    stopped.stop_reading()
    await stopped.connection.begin("mail.resume", {"mesh": mesh.id, "acked": 0})
    sent = [envelope(mesh, mesh.owner, cid, 1000 + n) for n in range(50)]
    for body in sent:
        await ann.call(MailSend(mesh=mesh.id, again=True), AcceptAnswer, body)
    assert await reading.mail(50) == list(enumerate(sent, 1))
    pushed = memory_stand.broker.metrics.value("mail_pushed_total") - 50
    assert 0 < pushed < 120, "the reader that stopped was handed more than fits its link"


async def test_every_envelope_of_several_senders_arrives_once_and_in_the_order_of_its_sender(stand: Stand) -> None:
    mesh, ann = await stand.create()
    people = [mesh.owner, *(Device(f"sender {n}") for n in range(3))]
    bob = Device("bob")
    for person in (*people[1:], bob):
        await ann.append(mesh, mesh.add_member(person))
    bob_side = await stand.enter(mesh, bob)
    await bob_side.resume(mesh)
    sides = [ann, *[await stand.enter(mesh, person) for person in people[1:]]]
    sent = {person.id: [envelope(mesh, person, bob, n) for n in range(25)] for person in people}
    calls = [
        await side.connection.begin("mail.send", {"mesh": mesh.id}, sent[person.id][n])
        for n in range(25)
        for person, side in zip(people, sides, strict=True)
    ]
    for call in calls:
        await call.reply(5)
    arrived = await bob_side.mail(100)
    assert [mseq for mseq, _ in arrived] == list(range(1, 101))
    for person in people:
        assert [body for _, body in arrived if parse_outer(body).from_device == person.id] == sent[person.id]
