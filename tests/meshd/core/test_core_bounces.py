"""Envelopes that cannot be opened: sealed anew with the key that the bounce brings, three times at most, and counted."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from mesh_protocol.envelope import outer_hash
from mesh_protocol.keys import SignedPrekey
from mesh_protocol.receipt import Bounce
from mesh_protocol.wire.codec import decode
from mesh_protocol.wire.framing import split_message
from meshd.inbox import MAX_BOUNCES
from meshd.store.meshes import put_prekey
from meshd.store.outbox import DeliveryRow, read_delivery
from world.letters import judge, letter, post, seal, stranger_prekey, unseal
from world.machine import Machine
from world.talk import Answer
from world.world import World


def sends(kept: list[bytes]) -> Callable[[bytes], list[bytes]]:
    """Keeps every envelope that a machine sends."""

    def note(frame: bytes) -> list[bytes]:
        parts = split_message(frame)
        header = decode(parts.header)
        if isinstance(header, list) and header[0] == 0 and header[2] == "mail.send":
            kept.append(parts.body)
        return [frame]

    return note


async def rotate(machine: Machine) -> SignedPrekey:
    """A new prekey, and the old private half gone."""
    mesh = machine.mesh()
    row = machine.app.making._new_prekey(mesh, 2)
    await machine.app.node.db.write(lambda tx: put_prekey(tx, mesh.id, row))
    del mesh.prekeys[1]
    assert mesh.prekey is not None
    return mesh.prekey


def delivery(author: Machine, reader: Machine, sent: Answer) -> DeliveryRow:
    row = read_delivery(author.app.node.db.reader, bytes.fromhex(sent["id"]), reader.app.node.device)
    assert row is not None
    return row


async def bounce(reader: Machine, author: Machine, bounced: Bounce) -> None:
    """Send a bounce by hand and wait until its sender's message was looked at."""
    content = bounced.encode()
    message = letter(reader, author, kind="bounce", content=content, content_type="")
    await post(reader, seal(reader, author, message))
    await reader.world.until(
        lambda: judge(author, seal(reader, author, message)).kind == "seen", what="the bounce was taken"
    )


async def queued(world: World) -> tuple[Machine, Machine, Answer, bytes]:
    """A message that the broker holds for bob, who is away, and its envelope."""
    ann, bob = await world.mesh("ann", "bob")
    kept: list[bytes] = []
    world.cable(ann).outgoing = sends(kept)
    world.cable(bob).incoming = lambda frame: [] if b"mail" in frame[:24] else [frame]
    sent = await ann.send("bob", "hello", wait="accepted")
    await world.settle()
    (envelope,) = kept
    return ann, bob, sent, envelope


async def test_a_message_for_a_prekey_that_is_gone_is_sealed_to_the_new_one_and_arrives(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    kept: list[bytes] = []
    world.cable(ann).outgoing = sends(kept)
    await ann.send("bob", "before", wait="stored")
    await rotate(bob)
    ann.mesh().shelf.clear()
    sent = await ann.send("bob", "after", wait="stored")
    assert sent["state"] == "stored"
    assert await bob.read() == ["before", "after"]
    assert delivery(ann, bob, sent).attempt == 2
    again = await ann.send("bob", "again", wait="stored")
    assert delivery(ann, bob, again).attempt == 1, "the new prekey is kept"
    assert unseal(bob, kept[-1]).message.content == b"again"


async def test_it_arrives_also_when_the_sender_was_restarted_in_between(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.send("bob", "before", wait="stored")
    await rotate(bob)
    world.cable(ann).incoming = lambda frame: [] if b"mail" in frame[:24] else [frame]
    sent = await ann.send("bob", "after", wait="accepted")
    await world.settle()
    await ann.restart()
    world.cable(ann).incoming = None
    await world.cable(ann).cut()
    await ann.until_state(sent, "stored")
    assert await bob.read() == ["before", "after"]


async def test_what_stays_unreadable_is_given_up_after_three_attempts(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    kept: list[bytes] = []
    note = sends(kept)
    world.cable(ann).outgoing = lambda frame: [] if b"prekey.take" in frame else note(frame)
    ann.mesh().shelf.clear()
    ann.mesh().peer_prekeys[bob.app.node.device] = stranger_prekey(bob, 1)
    sent = await ann.send("bob", "never read", wait="stored")
    assert (sent["state"], sent["reached"]) == ("unreadable", False)
    row = await ann.progress(sent)
    assert row["reason"] == "bounced by the recipient"
    assert len(kept) == 3
    await world.settle(120)
    assert len(kept) == 3
    assert await bob.read(all=True) == []


async def test_a_resealed_envelope_is_kept_before_it_is_sent(world: World) -> None:
    ann, bob, sent, envelope = await queued(world)
    spk = await rotate(bob)
    kept: list[bytes] = []
    world.cable(ann).outgoing = sends(kept)
    ann.disk.hold()
    message = letter(bob, ann, kind="bounce", content_type="")
    gone = Bounce(bytes.fromhex(sent["id"]), 1, outer_hash(envelope), "prekey_gone", spk)  # type: ignore[arg-type]
    await post(bob, seal(bob, ann, replace(message, content=gone.encode())))
    await world.settle(5)
    assert kept == []
    ann.disk.release()
    await world.until(lambda: kept, what="it was sent")
    assert delivery(ann, bob, sent).envelope == kept[0]


@pytest.mark.parametrize("reason", ["removed", "too_large"])
async def test_some_bounces_are_final_at_once(world: World, reason: str) -> None:
    ann, bob, sent, envelope = await queued(world)
    await bounce(bob, ann, Bounce(delivery(ann, bob, sent).msg_id, 1, outer_hash(envelope), reason, None))
    assert (await ann.progress(sent))["state"] == reason


async def test_a_bounce_counts_only_for_the_very_bytes_that_were_sent(world: World) -> None:
    ann, bob, sent, envelope = await queued(world)
    msg_id, real = delivery(ann, bob, sent).msg_id, outer_hash(envelope)
    spk = bob.mesh().prekey
    before = delivery(ann, bob, sent)
    for odd in (
        Bounce(msg_id, 1, bytes(32), "removed", None),
        Bounce(msg_id, 2, real, "removed", None),
        Bounce(type(msg_id)(bytes(16)), 1, real, "removed", None),
        Bounce(msg_id, 1, bytes(32), "prekey_gone", spk),
    ):
        await bounce(bob, ann, odd)
        assert delivery(ann, bob, sent) == before


async def test_a_bounce_of_another_device_counts_for_nothing(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    world.cable(bob).incoming = lambda frame: [] if b"mail" in frame[:24] else [frame]
    sent = await ann.send("bob", "hello", wait="accepted")
    row = delivery(ann, bob, sent)
    assert row.outer_hash is not None
    await bounce(eve, ann, Bounce(row.msg_id, 1, row.outer_hash, "removed", None))
    assert (await ann.progress(sent))["state"] == "accepted"


async def test_a_bounce_with_a_prekey_that_is_not_its_senders_counts_for_nothing(world: World) -> None:
    ann, bob, sent, envelope = await queued(world)
    foreign = ann.mesh().prekey
    await bounce(bob, ann, Bounce(delivery(ann, bob, sent).msg_id, 1, outer_hash(envelope), "prekey_gone", foreign))
    assert delivery(ann, bob, sent).attempt == 1
    forged = replace(stranger_prekey(bob, 7), made_ms=1)
    await bounce(bob, ann, Bounce(delivery(ann, bob, sent).msg_id, 1, outer_hash(envelope), "prekey_gone", forged))
    assert delivery(ann, bob, sent).attempt == 1


async def test_garbage_in_a_bounce_is_noted_and_changes_nothing(world: World) -> None:
    ann, bob, sent, _ = await queued(world)
    message = letter(bob, ann, kind="bounce", content=b"garbage", content_type="")
    await post(bob, seal(bob, ann, message))
    await world.until(lambda: judge(ann, seal(bob, ann, message)).kind == "seen", what="it was taken")
    assert (await ann.progress(sent))["state"] == "accepted"


async def test_a_bounce_after_the_receipt_changes_nothing(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    kept: list[bytes] = []
    world.cable(ann).outgoing = sends(kept)
    sent = await ann.send("bob", "hello", wait="stored")
    await bounce(bob, ann, Bounce(delivery(ann, bob, sent).msg_id, 1, outer_hash(kept[0]), "removed", None))
    assert (await ann.progress(sent))["state"] == "stored"


async def test_a_flood_of_unreadable_envelopes_is_answered_a_bounded_number_of_times(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    kept: list[bytes] = []
    world.cable(bob).outgoing = sends(kept)
    for _ in range(MAX_BOUNCES + 20):
        await post(ann, seal(ann, bob, letter(ann, bob), to=stranger_prekey(bob, 99)))
    await world.settle(30)
    assert len(kept) == MAX_BOUNCES
    sent = await ann.send("bob", "still heard", wait="stored")
    assert sent["state"] == "stored"
    rows = bob.app.node.db.reader.execute("SELECT count(*) FROM seen").fetchall()
    assert rows == [(1,)], "what could not be opened leaves no mark: it may come again, sealed anew"
    await world.settle(120)
    rows = bob.app.node.db.reader.execute("SELECT count(*) FROM message").fetchall()
    assert rows == [(0,)], "bounces are forgotten once the broker has them"


async def test_bounces_that_cannot_be_opened_do_not_bounce_for_ever(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    kept: list[bytes] = []
    for machine, other in ((ann, bob), (bob, ann)):
        world.cable(machine).outgoing = sends(kept)
        machine.mesh().peer_prekeys[other.app.node.device] = stranger_prekey(other, 1)
    await ann.send("bob", "hello", wait="accepted")
    await world.settle(300)
    assert len(kept) < 4 * MAX_BOUNCES
    count = len(kept)
    await world.settle(300)
    assert len(kept) == count
