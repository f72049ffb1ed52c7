"""Membership chains: one winner, verified records, markers and seals in one commit, and a tip for everybody."""

from pathlib import Path

import pytest
import trio

from broker_kit.people import START_MS, Device, Mesh, invite_id, join_request, seeded
from broker_kit.side import Side, append_body
from broker_kit.stand import Stand, open_memory_stand
from mesh_broker.chain import START
from mesh_broker.limits import Limits
from mesh_protocol.broker_api import Done, JoinAnswer, JoinAsk, JoinList, JoinListAnswer, TipAnswer
from mesh_protocol.broker_chain import ChainAnswer, ChainAppend, ChainRead, SealsAck, SealsAnswer, SealsRead
from mesh_protocol.chain import Record
from mesh_protocol.invite import invite_key
from mesh_protocol.members import extend
from mesh_protocol.pae import unlst
from mesh_protocol.tip import Tip, log_head, marker, verify_tip

SECRET = seeded("secret")


def tip_of(stand: Stand, mesh: Mesh, encoded: object) -> Tip:
    assert isinstance(encoded, bytes)
    tip = Tip.decode(encoded)
    verify_tip(tip, mesh.id, stand.broker.public_key)
    return tip


async def test_an_append_is_kept_and_its_tip_is_pushed_to_every_connection_of_the_mesh(stand: Stand) -> None:
    mesh, ann = await stand.create()
    bob = Device("bob")
    await ann.append(mesh, mesh.add_member(bob))
    side = await stand.enter(mesh, bob)
    answer = await ann.append(mesh, mesh.add_member(Device("cid")))
    for pushed in ((await side.heard("tip")).params["tip"], answer.tip):
        assert tip_of(stand, mesh, pushed).ref.chain_hash == mesh.head
    assert [
        Record.decode(item) for item in await side.items(ChainRead(mesh=mesh.id, after=0), ChainAnswer)
    ] == mesh.records


async def test_a_tip_stays_within_its_mesh(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create("ann", "one")
    _, other = await memory_stand.create("bob", "two")
    await ann.append(mesh, mesh.add_member(Device("cid")))
    await ann.heard("tip")
    assert not other.waiting("tip")


async def test_each_record_puts_its_marker_into_the_log_whose_head_the_tip_signs(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    answer = await ann.append(mesh, mesh.add_member(Device("bob")))
    head = START.log_head
    for n, record in enumerate(mesh.records, 1):
        head = log_head(mesh.id, n, head, marker(record.seq, record.hash))
    ref = tip_of(memory_stand, mesh, answer.tip).ref
    assert (ref.log_seq, ref.log_head) == (3, head)
    rows = memory_stand.database.reader.execute("SELECT n, head, data FROM log ORDER BY n").fetchall()
    assert rows[-1] == (3, head, marker(3, mesh.head))


async def test_of_appends_at_the_same_time_exactly_one_wins(stand: Stand) -> None:
    mesh, ann = await stand.create()
    bob = Device("bob")
    await ann.append(mesh, mesh.add_member(bob, role="owner"))
    sides = [ann, await stand.enter(mesh, bob)]
    rivals = [mesh.add_member(Device(f"new {n}")) for n in range(8)]
    outcomes: list[str] = []

    async def attempt(side: Side, record: Record) -> None:
        try:
            await side.call(ChainAppend(mesh=mesh.id, previous=mesh.head), TipAnswer, append_body([record]))
            outcomes.append("won")
        except Exception as error:
            outcomes.append(getattr(error, "code", repr(error)))

    async with trio.open_nursery() as nursery:
        for n, record in enumerate(rivals):
            nursery.start_soon(attempt, sides[n % len(sides)], record)
    assert sorted(outcomes) == ["chain_conflict"] * 7 + ["won"]
    end = stand.broker.store.chain_end(mesh.id)
    assert end is not None
    assert end.seq == 4


async def test_an_append_on_an_old_head_conflicts(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    old, record = mesh.head, mesh.add_member(Device("bob"))
    await ann.append(mesh, mesh.add_member(Device("cid")))
    assert await ann.refusal(ChainAppend(mesh=mesh.id, previous=old), append_body([record])) == "chain_conflict"


@pytest.mark.parametrize("wrong", ["signer", "sequence", "type", "empty", "body", "parts", "seal"])
async def test_an_append_that_breaks_a_rule_changes_nothing(memory_stand: Stand, wrong: str) -> None:
    mesh, ann = await memory_stand.create()
    bob = Device("bob")
    good = mesh.add_member(bob)
    bodies = {
        "signer": append_body([mesh.signed("add_member", good.body, signer=bob)]),
        "sequence": append_body([mesh.signed("add_member", good.body, after=good)]),
        "type": append_body([mesh.signed("remove_member", good.body)]),
        "empty": append_body([]),
        "body": append_body([good])[:-1],
        "parts": append_body([good])[8:],
        "seal": append_body([good], [mesh.seal_for(Device("nobody"))]),
    }
    request = ChainAppend(mesh=mesh.id, previous=mesh.head)
    assert await ann.refusal(request, bodies[wrong]) == "chain_invalid"
    end = memory_stand.broker.store.chain_end(mesh.id)
    assert end is not None
    assert (end.seq, end.head) == (2, mesh.head)
    await ann.append(mesh, good)


async def test_a_plain_member_cannot_admit_anybody(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    bob = Device("bob")
    await ann.append(mesh, mesh.add_member(bob))
    side = await memory_stand.enter(mesh, bob)
    record = mesh.signed("add_member", mesh.add_member(Device("cid")).body, signer=bob)
    assert await side.refusal(ChainAppend(mesh=mesh.id, previous=mesh.head), append_body([record])) == "chain_invalid"


async def test_an_invites_key_appends_nothing(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    await ann.invite(mesh, SECRET)
    side = await memory_stand.connect()
    await side.hello(mesh.id, invite_key(SECRET), invite=True)
    body = append_body([mesh.add_member(Device("bob"))])
    assert await side.refusal(ChainAppend(mesh=mesh.id, previous=mesh.head), body) == "not_allowed"


async def test_a_chain_is_read_in_pages_that_join_up(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    for first in range(0, 300, 60):
        records: list[Record] = []
        for n in range(first, first + 60):
            body = mesh.open_invite(seeded("invite", n)).body
            records.append(mesh.signed("invite_open", body, after=records[-1] if records else None))
        await ann.append(mesh, *records)
    read: list[bytes] = []
    while True:
        answer, body = await ann.call_with_body(ChainRead(mesh=mesh.id, after=len(read)), ChainAnswer)
        read += unlst(body, max_items=4096)
        if not answer.more:
            break
    assert read == [record.encode() for record in mesh.records]


async def test_reading_beyond_the_end_gives_nothing(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    answer, body = await ann.call_with_body(ChainRead(mesh=mesh.id, after=999), ChainAnswer)
    assert (answer.more, body) == (False, bytes(8))


async def test_seals_lie_beside_the_epoch_until_their_device_has_them(stand: Stand) -> None:
    mesh, ann = await stand.create()
    bob = Device("bob")
    seal = mesh.seal_for(bob)
    await ann.append(mesh, mesh.add_member(bob), seals=[seal])
    side = await stand.enter(mesh, bob)
    assert await side.items(SealsRead(mesh=mesh.id), SealsAnswer) == [seal.encode()]
    assert await ann.items(SealsRead(mesh=mesh.id), SealsAnswer) == []
    await side.call(SealsAck(mesh=mesh.id, epoch=0), Done)
    assert await side.items(SealsRead(mesh=mesh.id), SealsAnswer) == [seal.encode()]
    await side.call(SealsAck(mesh=mesh.id, epoch=1), Done)
    assert await side.items(SealsRead(mesh=mesh.id), SealsAnswer) == []


async def test_a_conflicting_append_leaves_no_seal(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    bob = Device("bob")
    await ann.append(mesh, mesh.add_member(bob))
    body = append_body([mesh.add_member(Device("cid"))], [mesh.seal_for(bob)])
    assert await ann.refusal(ChainAppend(mesh=mesh.id, previous=seeded("old")), body) == "chain_conflict"
    side = await memory_stand.enter(mesh, bob)
    assert await side.items(SealsRead(mesh=mesh.id), SealsAnswer) == []


async def test_a_new_device_and_its_epoch_come_in_one_append(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    laptop = Device("ann's laptop")
    laptop.member_id = mesh.owner.member_id
    records = mesh.add_device(mesh.owner, laptop)
    request = ChainAppend(mesh=mesh.id, previous=mesh.head)
    assert await ann.refusal(request, append_body(records[:1])) == "chain_invalid"
    await ann.append(mesh, *records)
    await memory_stand.enter(mesh, laptop)


async def test_admitting_under_an_invite_answers_its_join_request(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    record = await ann.invite(mesh, SECRET, uses=2)
    for name in ("bob", "cid", "dan"):
        side = await memory_stand.connect()
        await side.hello(mesh.id, invite_key(SECRET), invite=True)
        request = JoinAsk(mesh=mesh.id, invite=invite_id(record))
        await side.call(request, JoinAnswer, join_request(mesh, record, SECRET, Device(name)))
    assert len((await ann.call(JoinList(mesh=mesh.id), JoinListAnswer)).ids) == 3
    await ann.append(mesh, mesh.add_member(Device("bob"), invite=invite_id(record)))
    assert len((await ann.call(JoinList(mesh=mesh.id), JoinListAnswer)).ids) == 2
    await ann.append(mesh, mesh.add_member(Device("cid"), invite=invite_id(record)))
    assert (await ann.call(JoinList(mesh=mesh.id), JoinListAnswer)).ids == []


async def test_a_restarted_broker_verifies_its_chains_and_goes_on(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path) as stand:
        mesh, ann = await stand.create()
        await ann.append(mesh, *mesh.add_device(mesh.owner, Device("laptop")))
        for n in range(70):
            await ann.append(mesh, mesh.open_invite(seeded("invite", n)))
    async with open_memory_stand(tmp_path) as stand:
        ann = await stand.enter(mesh, mesh.owner)
        await ann.append(mesh, mesh.add_member(Device("bob")))
        read = await ann.items(ChainRead(mesh=mesh.id, after=0), ChainAnswer)
        assert extend(None, [Record.decode(item) for item in read]).head == mesh.head


async def test_a_chain_has_an_end(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(chain_records=3)) as stand:
        mesh, ann = await stand.create()
        await ann.append(mesh, mesh.add_member(Device("bob")))
        body = append_body([mesh.add_member(Device("cid"))])
        assert await ann.refusal(ChainAppend(mesh=mesh.id, previous=mesh.head), body) == "too_large"


async def test_a_device_that_appends_without_end_is_slowed_down(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(append_burst=2)) as stand:
        mesh, ann = await stand.create()
        for n in range(2):
            await ann.append(mesh, mesh.open_invite(seeded("invite", n)))
        body = append_body([mesh.open_invite(SECRET)])
        assert await ann.refusal(ChainAppend(mesh=mesh.id, previous=mesh.head), body) == "rate_limited"


async def test_who_goes_away_in_the_middle_of_an_append_leaves_the_broker_knowing_it(stand: Stand) -> None:
    mesh, ann = await stand.create()
    other = await stand.connect()
    record = await ann.invite(mesh, SECRET)
    await other.hello(mesh.id, invite_key(SECRET), invite=True)
    assert record.seq == 3
    new = mesh.add_member(Device("bob"))
    await ann.connection.begin("chain.append", {"mesh": mesh.id, "previous": mesh.head}, append_body([new]))
    await ann.connection.aclose()
    tip = tip_of(stand, mesh, (await other.heard("tip")).params["tip"])
    assert (tip.ref.chain_seq, tip.ref.chain_hash) == (4, new.hash)
    assert stand.clock() == START_MS
