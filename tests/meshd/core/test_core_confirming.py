"""Which machines hold a removal: by what they signed, and never by what somebody else says of them."""

import pytest

from mesh_protocol.tip import TipRef
from meshd.confirming import Confirmations
from meshd.store.outbox import read_deliveries
from world.letters import letter, post, seal
from world.machine import Machine
from world.talk import Answer
from world.world import World

HASHES = [bytes([number]) * 32 for number in range(1, 6)]


def tip(seq: int, number: int = 0) -> TipRef:
    return TipRef(seq, bytes([number or seq]) * 32 if seq else bytes(32), 0, bytes(32))


@pytest.mark.parametrize(
    ("said", "counts"),
    [(tip(3), True), (tip(5), True), (tip(6), False), (tip(3, 4), False), (tip(0), False)],
    ids=["a record", "the newest", "a later one", "another history", "nothing"],
)
def test_a_tip_counts_when_it_names_a_record_of_our_chain(said: TipRef, counts: bool) -> None:
    confirmations = Confirmations()
    assert confirmations.note(b"d", said, HASHES) is counts  # type: ignore[arg-type]
    assert confirmations.take_news() == ([(b"d", said.chain_seq)] if counts else [])
    assert confirmations.take_news() == []


def test_an_older_tip_takes_nothing_back() -> None:
    confirmations = Confirmations()
    confirmations.restore(b"d", 4)  # type: ignore[arg-type]
    assert not confirmations.note(b"d", tip(3), HASHES)  # type: ignore[arg-type]
    assert confirmations.note(b"d", tip(5), HASHES)  # type: ignore[arg-type]


def test_what_another_history_took_back_confirms_nothing() -> None:
    confirmations = Confirmations()
    confirmations.signed(b"d", 5)  # type: ignore[arg-type]
    assert confirmations.take_news() == [(b"d", 5)]
    confirmations.cut(5)
    assert confirmations.take_news() == []
    confirmations.cut(3)
    assert confirmations.take_news() == [(b"d", 3)]
    assert confirmations.note(b"d", tip(4), HASHES)  # type: ignore[arg-type]


async def removals(machine: Machine) -> list[Answer]:
    return list((await machine.call("member.removals"))["removals"])


async def test_who_is_in_the_dark_is_named_until_he_shows_that_he_holds_it(world: World) -> None:
    ann, bob, cid, eve = await world.mesh("ann", "bob", "cid", "eve")
    await world.unplug(cid)
    gone = await ann.call("member.ban", peer="bob", wait_s=5)
    named = [f"cid {cid.app.node.device.hex()[:8]}"]
    assert (gone["confirmed"], gone["waiting"]) == (1, named)
    for machine in (ann, eve):
        await world.until(lambda m=machine: _waiting(m, named), what=f"{machine.name} says who waits")  # type: ignore[misc]
    await world.settle(60)
    await ann.restart()
    await ann.until_online()
    (row,) = await removals(ann)
    assert (row["member"], row["state"], row["devices"], row["confirmed"]) == ("bob", "banned", 1, 1)
    assert row["waiting"] == named
    await world.plug(cid)
    await world.until(lambda: _waiting(ann, []), what="cid has confirmed it")
    dan = await world.machine("dan")
    await dan.call("mesh.join", url=await world.invite(ann), me="dan")
    assert await _waiting(ann, []), "who comes later began with it"
    assert (await bob.call("member.removals"))["removals"] == []


async def _waiting(machine: Machine, named: list[str]) -> bool:
    return [row["waiting"] for row in await removals(machine)] == [named]


async def test_mail_confirms_as_presence_does_but_only_with_a_tip_of_our_own_chain(world: World) -> None:
    ann, _, cid = await world.mesh("ann", "bob", "cid")
    old = cid.mesh().tip
    device = cid.app.node.device
    published = world.cable(cid)
    published.outgoing = lambda frame: [] if b"live.publish" in frame[:40] else [frame]
    await world.settle(31)
    await ann.call("member.remove", peer="bob", wait_s=0)
    await world.until(lambda: cid.mesh().state.epoch == 2, what="cid holds it")
    seq = ann.mesh().state.seq
    waiting = lambda: device in ann.mesh().confirmations.waiting(ann.mesh().state, seq, ann.app.node.device)  # noqa: E731
    await post(cid, seal(cid, ann, letter(cid, ann, tip=old, content=b"one")))
    await world.until(lambda: ann.read(all=True), what="it came")
    assert waiting()
    await post(cid, seal(cid, ann, letter(cid, ann, content=b"two")))
    await world.until(lambda: not waiting(), what="his message confirms it")


async def test_what_the_broker_had_accepted_for_the_removed_ends_as_removed(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    await world.unplug(bob)
    direct = await cid.send("bob", "never read")
    await cid.until_state(direct, "accepted")
    many = await cid.send("*", "to everybody")
    await world.unplug(cid)
    queued = await cid.send("bob", "never sent")
    await ann.call("member.remove", peer="bob", wait_s=0)
    await world.plug(cid)
    for sent in (direct, queued):
        await cid.until_state(sent, "removed")
    states = (await cid.call("message.status", id=many["id"]))["recipients"]
    assert {row["to"].split("/")[0]: row["state"] for row in states}["bob"] == "removed"
    rows = cid.app.node.db.reader.execute(
        "SELECT count(*) FROM delivery WHERE ended='removed' AND envelope IS NOT NULL"
    )
    assert rows.fetchall() == [(0,)]
    assert bob.app.node.device not in cid.mesh().peer_prekeys


async def test_a_wrap_made_before_the_removal_is_not_sent_after_it(world: World) -> None:
    ann, bob, cid, eve = await world.mesh("ann", "bob", "cid", "eve")
    for machine in (bob, eve):
        await world.unplug(machine)
    sent = await cid.send("*", "to everybody", wait="accepted")
    device = bob.app.node.device
    made = {row.device: row for row in read_deliveries(cid.app.node.db.reader, bytes.fromhex(str(sent["id"])))}
    assert made[device].envelope is not None
    await ann.call("member.remove", peer="bob", wait_s=0)
    await world.until(lambda: not cid.mesh().state.is_active(device), what="cid holds it")
    fans: list[bytes] = []
    world.cable(cid).outgoing = lambda frame: [frame] if not fans.append(frame) else []
    # As if it had waited in the queue beside eve's all the while; hers goes first and takes along who may go with it.
    first = made[eve.app.node.device]._replace(accepted_ms=0, queued_ms=0)
    cid.app.outbox.queue(cid.mesh().id).offer([first, made[device]._replace(accepted_ms=0)])
    await world.until(lambda: [frame for frame in fans if b"mail.fan" in frame[:60]], what="eve's goes out again")
    assert not [frame for frame in fans if device in frame]
