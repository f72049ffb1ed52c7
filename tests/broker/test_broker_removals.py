"""A device that the chain has taken out: it is served nothing more, and the open invites end with it."""

from pathlib import Path

from broker_kit.people import Device, Mesh, envelope, invite_id, join_request, seeded
from broker_kit.side import Side
from broker_kit.stand import Stand, open_memory_stand
from mesh_protocol.broker_api import (
    AcceptAnswer,
    Done,
    JoinAnswer,
    JoinAsk,
    JoinList,
    JoinListAnswer,
    LivePublish,
    LiveSubscribe,
    MailSend,
    PrekeyAnswer,
    PrekeyPut,
    PrekeyTake,
)
from mesh_protocol.broker_chain import ChainAnswer, ChainRead, SealsRead
from mesh_protocol.ids import MemberId
from mesh_protocol.invite import invite_key
from mesh_protocol.members import extend
from mesh_protocol.tip import Tip

CHANNEL = bytes(range(16))
SECRET = seeded("secret")


async def pair(stand: Stand) -> tuple[Mesh, Side, Device, Side]:
    mesh, ann = await stand.create()
    bob = Device("bob")
    await ann.append(mesh, mesh.add_member(bob))
    return mesh, ann, bob, await stand.enter(mesh, bob)


async def test_a_removed_device_is_told_the_tip_and_served_nothing(stand: Stand) -> None:
    mesh, ann, bob, side = await pair(stand)
    await side.resume(mesh)
    await ann.append(mesh, *mesh.remove(bob))
    while True:
        encoded = (await side.heard("tip")).params["tip"]
        assert isinstance(encoded, bytes)
        if Tip.decode(encoded).ref.chain_hash == mesh.head:
            break
    for request in (ChainRead(mesh=mesh.id, after=0), SealsRead(mesh=mesh.id), JoinList(mesh=mesh.id)):
        assert await side.refusal(request) == "not_allowed"
    assert await side.refusal(MailSend(mesh=mesh.id), envelope(mesh, bob, mesh.owner, 1)) == "not_allowed"
    again = await stand.connect()
    request, _ = again.hello_request(mesh.id, bob.key, generation=2)
    assert await again.refusal(request) == "broker_refused"


async def test_no_mail_and_no_live_frame_reaches_it_any_more(memory_stand: Stand) -> None:
    mesh, ann, bob, side = await pair(memory_stand)
    cid = Device("cid")
    await ann.append(mesh, mesh.add_member(cid))
    cid_side = await memory_stand.enter(mesh, cid)
    await side.resume(mesh)
    for each in (side, cid_side):
        await each.call(LiveSubscribe(mesh=mesh.id, channels=[CHANNEL]), Done)
    await ann.call(MailSend(mesh=mesh.id, again=True), AcceptAnswer, envelope(mesh, mesh.owner, bob, 1))
    await side.mail(1)
    await ann.append(mesh, *mesh.remove(bob))
    assert await ann.refusal(MailSend(mesh=mesh.id), envelope(mesh, mesh.owner, bob, 2)) == "unknown_device"
    await ann.call(LivePublish(mesh=mesh.id, channel=CHANNEL), Done, b"frame")
    await cid_side.heard("live")
    # Its connection still carries answers, so a frame for it would have come before this one.
    assert await side.refusal(ChainRead(mesh=mesh.id, after=0)) == "not_allowed"
    assert (side.waiting("live"), side.waiting("mail")) == (0, 0)


async def test_a_removal_ends_the_open_invites_and_the_requests_under_them(memory_stand: Stand) -> None:
    mesh, ann, bob, _ = await pair(memory_stand)
    record = await ann.invite(mesh, SECRET, 5)
    joiner = await memory_stand.connect()
    await joiner.hello(mesh.id, invite_key(SECRET), invite=True)
    ask = JoinAsk(mesh=mesh.id, invite=invite_id(record))
    await joiner.call(ask, JoinAnswer, join_request(mesh, record, SECRET, Device("cid")))
    assert len((await ann.call(JoinList(mesh=mesh.id), JoinListAnswer)).ids) == 1
    await ann.append(mesh, *mesh.remove(bob))
    assert (await ann.call(JoinList(mesh=mesh.id), JoinListAnswer)).ids == []
    assert await joiner.refusal(ask, join_request(mesh, record, SECRET, Device("cid"))) == "not_allowed"
    late = await memory_stand.connect()
    request, _ = late.hello_request(mesh.id, invite_key(SECRET), invite=True)
    assert await late.refusal(request) == "invite_closed"


async def test_a_chain_with_a_removal_is_taken_up_again_after_a_restart(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path) as stand:
        mesh, ann, bob, _ = await pair(stand)
        await ann.append(mesh, *mesh.remove(bob))
    async with open_memory_stand(tmp_path) as stand:
        side = await stand.connect()
        request, _ = side.hello_request(mesh.id, bob.key, generation=2)
        assert await side.refusal(request) == "broker_refused"
        ann = await stand.enter(mesh, mesh.owner)
        assert len(await ann.items(ChainRead(mesh=mesh.id, after=0), ChainAnswer)) == len(mesh.records)


async def test_a_removed_device_that_is_admitted_anew_has_its_old_mailbox(memory_stand: Stand) -> None:
    mesh, ann, bob, side = await pair(memory_stand)
    await side.resume(mesh)
    await ann.append(mesh, *mesh.remove(bob))
    bob.member_id = MemberId(seeded("bob again")[:16])
    await ann.append(mesh, mesh.add_member(bob))
    assert extend(None, mesh.records).is_active(bob.id)
    again = await memory_stand.connect()
    await again.hello(mesh.id, bob.key, generation=2)
    await again.resume(mesh)
    await ann.call(MailSend(mesh=mesh.id, again=True), AcceptAnswer, envelope(mesh, mesh.owner, bob, 9))
    await again.mail(1)


async def test_the_prekeys_and_seals_of_a_removed_device_are_given_to_nobody_also_when_it_is_back(
    memory_stand: Stand,
) -> None:
    mesh, ann, bob, side = await pair(memory_stand)
    await side.call(PrekeyPut(mesh=mesh.id), Done, bob.signed_prekey(mesh.id).encode())
    assert len(await ann.items(PrekeyTake(mesh=mesh.id, devices=[bob.id]), PrekeyAnswer)) == 1
    await ann.append(mesh, *mesh.remove(bob))
    bob.member_id = MemberId(seeded("bob again")[:16])
    await ann.append(mesh, mesh.add_member(bob))
    assert await ann.items(PrekeyTake(mesh=mesh.id, devices=[bob.id]), PrekeyAnswer) == []
