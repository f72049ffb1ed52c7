"""Other histories of a chain at the broker: taken only with its own signature, shown to everybody, ended by a resolve."""

from pathlib import Path

import pytest

import mesh_broker.branches as branches
from broker_kit.people import Device, Mesh, seeded
from broker_kit.side import Side, append_body
from broker_kit.stand import Stand, open_memory_stand
from mesh_protocol.broker_api import TipAnswer
from mesh_protocol.broker_chain import (
    BranchesAnswer,
    ChainAnswer,
    ChainAppend,
    ChainBranch,
    ChainBranches,
    ChainRead,
    SealsAnswer,
    SealsRead,
)
from mesh_protocol.chain import Epoch, Record, Resolve, epoch_kc
from mesh_protocol.invite import invite_key
from mesh_protocol.keys import SigningKey
from mesh_protocol.pae import lst
from mesh_protocol.tip import Tip, TipRef, sign_tip

BOB, CID = Device("bob"), Device("cid")


def signed(stand: Stand, mesh: Mesh, record: Record, key: SigningKey | None = None) -> bytes:
    """The broker's word for `record`, of the days before its backup was put back."""
    ref = TipRef(record.seq, record.hash, record.seq, seeded("log"))
    return sign_tip(key or stand.broker._key, mesh.id, ref).encode()


def offer(stand: Stand, mesh: Mesh, *records: Record, tip: bytes = b"") -> tuple[ChainBranch, bytes]:
    tip = tip or signed(stand, mesh, records[-1])
    return ChainBranch(mesh=mesh.id, tip=tip), lst(*(record.encode() for record in records))


def resolve(mesh: Mesh, on: Record, signer: Device | None = None) -> list[Record]:
    body = Resolve(on.hash, 0, bytes(32)).encode()
    first = mesh.signed("resolve", body, signer, after=on)
    kc = epoch_kc(mesh.id, 2, seeded("gk", 2))
    return [first, mesh.signed("epoch", Epoch(2, kc).encode(), signer, after=first)]


async def read(side: Side, mesh: Mesh) -> list[Record]:
    return [Record.decode(item) for item in await side.items(ChainRead(mesh=mesh.id, after=0), ChainAnswer)]


async def beside(side: Side, mesh: Mesh) -> list[Record]:
    return [Record.decode(item) for item in await side.items(ChainBranches(mesh=mesh.id, after=0), BranchesAnswer)]


async def frozen(stand: Stand) -> tuple[Mesh, Side, Record, Record]:
    """A mesh of ann and bob whose broker serves one record and signed another one in its place."""
    mesh, ann = await stand.create()
    await ann.append(mesh, mesh.add_member(BOB))
    lost, served = mesh.add_member(CID), mesh.open_invite(seeded("secret"))
    await ann.append(mesh, served)
    await ann.call(*_ordered(offer(stand, mesh, lost)))
    return mesh, ann, lost, served


def _ordered(offered: tuple[ChainBranch, bytes]) -> tuple[ChainBranch, type[TipAnswer], bytes]:
    return offered[0], TipAnswer, offered[1]


async def test_a_history_that_the_broker_signed_is_kept_and_everybody_is_told(stand: Stand) -> None:
    mesh, ann = await stand.create()
    await ann.append(mesh, mesh.add_member(BOB))
    bob = await stand.enter(mesh, BOB)
    lost, served = mesh.add_member(CID), mesh.open_invite(seeded("secret"))
    await ann.append(mesh, served)
    await bob.heard("tip")
    await ann.call(*_ordered(offer(stand, mesh, lost)))
    told = (await bob.heard("tip")).params
    assert told["branches"] == 1
    assert Tip.decode(told["tip"]).ref.chain_hash == served.hash  # type: ignore[arg-type]
    assert await beside(bob, mesh) == [lost]
    assert (await read(bob, mesh))[-1] == served
    again = await stand.connect()
    assert (await again.hello(mesh.id, BOB.key)).branches == 1


async def test_only_the_brokers_own_signature_brings_a_history_in(memory_stand: Stand) -> None:
    """A member gone bad signs a record on an old head: it does not freeze the mesh."""
    mesh, ann = await memory_stand.create()
    await ann.append(mesh, mesh.add_member(BOB))
    rival = mesh.add_member(CID)
    await ann.append(mesh, mesh.open_invite(seeded("secret")))
    elsewhere, _ = await memory_stand.create("eve", "other")
    bad = {
        "a member's": signed(memory_stand, mesh, rival, BOB.key),
        "of another record": signed(memory_stand, mesh, mesh.records[-1]),
        "of another mesh": signed(memory_stand, elsewhere, rival),
        "garbage": b"garbage",
        "cut": signed(memory_stand, mesh, rival)[:-1],
    }
    for tip in bad.values():
        assert await ann.refusal(*offer(memory_stand, mesh, rival, tip=tip)) == "chain_invalid"
    assert await beside(ann, mesh) == []
    await ann.append(mesh, mesh.add_member(Device("dan")))


async def test_records_that_do_not_hold_are_not_kept(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    await ann.append(mesh, mesh.add_member(BOB))
    rival = mesh.add_member(CID)
    await ann.append(mesh, mesh.open_invite(seeded("secret")))
    unlinked = mesh.signed("invite_close", b"", after=rival)
    by_bob = mesh.signed("add_member", rival.body, signer=BOB, after=mesh.records[2])
    for records in ((rival, unlinked), (unlinked,), (by_bob,), (unlinked, rival)):
        assert await ann.refusal(*offer(memory_stand, mesh, *records)) == "chain_invalid"
    request, _ = offer(memory_stand, mesh, rival)
    assert await ann.refusal(request, b"") == "chain_invalid"
    assert await ann.refusal(request, lst()) == "chain_invalid"
    assert await beside(ann, mesh) == []


async def test_what_is_known_is_no_news(memory_stand: Stand) -> None:
    mesh, ann, lost, served = await frozen(memory_stand)
    for record in (lost, served):
        tip = (await ann.call(*_ordered(offer(memory_stand, mesh, record)))).tip
        assert Tip.decode(tip).ref.chain_hash == served.hash
    assert await beside(ann, mesh) == [lost]


async def test_more_histories_than_are_kept_are_refused(memory_stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(branches, "MAX_BRANCH_RECORDS", 2)
    mesh, ann, lost, _ = await frozen(memory_stand)
    common = mesh.records[2]
    more = [mesh.signed("add_member", mesh.add_member(Device(name)).body, after=common) for name in ("dan", "eve")]
    await ann.call(*_ordered(offer(memory_stand, mesh, more[0])))
    assert await ann.refusal(*offer(memory_stand, mesh, more[1])) == "too_large"
    assert set(await beside(ann, mesh)) == {lost, more[0]}


async def test_a_frozen_mesh_takes_nothing_but_the_resolve_that_ends_it(memory_stand: Stand) -> None:
    mesh, ann, lost, served = await frozen(memory_stand)
    head = ChainAppend(mesh=mesh.id, previous=served.hash)
    assert await ann.refusal(head, append_body([mesh.add_member(Device("dan"))])) == "chain_conflict"
    by_bob = resolve(mesh, served, BOB)
    assert await ann.refusal(head, append_body(by_bob)) == "chain_invalid"
    foreign = resolve(mesh, mesh.records[1])
    unknown = ChainAppend(mesh=mesh.id, previous=mesh.records[1].hash)
    assert await ann.refusal(unknown, append_body(foreign)) == "chain_conflict"
    ended = resolve(mesh, served)
    await ann.append(mesh, *ended)
    assert (await read(ann, mesh))[-1] == ended[-1]
    assert await beside(ann, mesh) == [lost]
    await ann.append(mesh, mesh.add_member(Device("dan")))


async def test_a_resolve_on_the_other_history_puts_it_in_the_place_of_the_chain(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path) as stand:
        mesh, ann, lost, served = await frozen(stand)
        ended = resolve(mesh, lost)
        seal = mesh.seal_for(BOB, 1)
        request = ChainAppend(mesh=mesh.id, previous=lost.hash)
        answer = await ann.call(request, TipAnswer, append_body(ended, [seal]))
        tip = Tip.decode(answer.tip)
        assert tip.ref.chain_hash == ended[-1].hash
        mesh.records[-1:] = [lost, *ended]
        assert await read(ann, mesh) == mesh.records
        assert await beside(ann, mesh) == [served]
        bob = await stand.enter(mesh, BOB)
        assert await bob.items(SealsRead(mesh=mesh.id), SealsAnswer) == [seal.encode()]
        cid = await stand.enter(mesh, CID)
        assert await beside(cid, mesh) == [served]
        await ann.append(mesh, mesh.add_member(Device("dan")))
        rows = stand.database.reader.execute("SELECT n FROM log ORDER BY n").fetchall()
        assert [row[0] for row in rows] == [record.seq for record in mesh.records]
        # A void history that is offered once more changes nothing.
        await ann.call(*_ordered(offer(stand, mesh, served)))
        assert await read(ann, mesh) == mesh.records


async def test_a_broker_that_starts_anew_is_frozen_as_before(memory_stand: Stand) -> None:
    mesh, _, lost, served = await frozen(memory_stand)
    memory_stand.broker.rooms._rooms.clear()
    ann = await memory_stand.enter(mesh, mesh.owner)
    assert await beside(ann, mesh) == [lost]
    head = ChainAppend(mesh=mesh.id, previous=served.hash)
    assert await ann.refusal(head, append_body([mesh.add_member(Device("dan"))])) == "chain_conflict"
    await ann.append(mesh, *resolve(mesh, served))


async def test_a_restored_broker_is_given_back_the_resolve_it_forgot(memory_stand: Stand) -> None:
    """It was put back to a day before the fork was ended: the history that counts comes with its resolve."""
    mesh, ann, lost, served = await frozen(memory_stand)
    ended = resolve(mesh, lost)
    answer = await ann.call(*_ordered(offer(memory_stand, mesh, lost, *ended)))
    assert Tip.decode(answer.tip).ref.chain_hash == ended[-1].hash
    assert await beside(ann, mesh) == [served]
    assert await read(ann, mesh) == [*mesh.records[:-1], lost, *ended]


async def test_an_invites_key_hears_of_no_other_history(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    await ann.invite(mesh, seeded("secret"))
    guest = await memory_stand.connect()
    await guest.hello(mesh.id, invite_key(seeded("secret")), invite=True, generation=0)
    assert await guest.refusal(ChainBranches(mesh=mesh.id, after=0)) == "not_allowed"
    assert await guest.refusal(*offer(memory_stand, mesh, mesh.records[-1])) == "not_allowed"
