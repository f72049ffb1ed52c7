"""Prekeys in their time: a one-time one goes with its message, a signed one is replaced daily and deleted in the end."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mesh_protocol.envelope import parse_outer
from mesh_protocol.keys import sign_prekey
from mesh_protocol.prekeys import FIRST_ONETIME, LOW, MAX_AGE_MS, MAX_BATCH
from mesh_protocol.wire.codec import decode
from mesh_protocol.wire.framing import split_message
from meshd.link.prekeys import PEERS_MS
from meshd.link.table import LinkState
from meshd.prekeys import KEEP_CONNECTED_MS, ROTATE_MS, make_batch, make_prekey, retire, rotate, too_old
from meshd.store.prekeys import Age, read_ages, read_onetime, read_use
from world.letters import judge, letter, seal, stranger_prekey
from world.machine import Machine
from world.world import World

PAUSE_S = 15
"""Until a one-time prekey of the same device is at hand again."""


def ids_of(kept: list[bytes]) -> list[int]:
    return [parse_outer(envelope).prekey_id for envelope in kept]


def texts_to(kept: list[bytes]) -> Callable[[bytes], list[bytes]]:
    """Keeps every envelope in the lane of people's messages."""

    def note(frame: bytes) -> list[bytes]:
        header, body = split_message(frame)
        said = decode(header)
        if isinstance(said, list) and said[0] == 0 and said[2] == "mail.send" and parse_outer(body).lane == "next":
            kept.append(body)
        return [frame]

    return note


async def acquainted(world: World) -> tuple[Machine, Machine, list[bytes]]:
    """Ann holds a one-time prekey of bob; and the envelopes she sends from now on."""
    ann, bob = await world.mesh("ann", "bob")
    await ann.send("bob", "hello", wait="stored")
    await world.until(lambda: ann.mesh().shelf.held(), what="a one-time prekey of bob")
    kept: list[bytes] = []
    world.cable(ann).outgoing = texts_to(kept)
    return ann, bob, kept


def stock(world: World, machine: Machine) -> int:
    """One-time prekeys that the broker can hand out."""
    (house,) = world.network.brokers.values()
    sql = "SELECT total(size - given) FROM onetime WHERE device = (SELECT no FROM device WHERE id = ?)"
    return int(house.database.reader.execute(sql, (machine.app.node.device,)).fetchall()[0][0])


async def test_a_message_is_sealed_to_a_one_time_prekey_which_is_gone_with_it(world: World) -> None:
    ann, bob, kept = await acquainted(world)
    (key,) = ann.mesh().shelf.held()
    reader, mesh = bob.app.node.db.reader, bob.mesh()
    assert read_onetime(reader, mesh.id, key.prekey_id) is not None
    sent = await ann.send("bob", "for once", wait="stored")
    assert ids_of(kept) == [key.prekey_id]
    assert read_onetime(reader, mesh.id, key.prekey_id) is None
    assert read_use(reader, mesh.id, key.prekey_id) == (ann.app.node.device, bytes.fromhex(sent["id"]))
    assert await bob.read() == ["hello", "for once"]
    assert judge(bob, kept[0]).kind == "seen"


async def test_the_next_ones_in_a_row_go_to_the_signed_prekey_until_there_is_another(world: World) -> None:
    ann, bob, kept = await acquainted(world)
    for text in ("one", "two", "three"):
        await ann.send("bob", text, wait="stored")
    await world.settle(PAUSE_S)
    await ann.send("bob", "four", wait="stored")
    newest = bob.mesh().prekey
    assert newest is not None
    signed = [prekey_id == newest.prekey_id for prekey_id in ids_of(kept)]
    assert signed == [False, True, True, False]
    assert len(set(ids_of(kept))) == 3
    assert await bob.read() == ["hello", "one", "two", "three", "four"]


async def test_without_one_time_prekeys_at_the_broker_messages_go_to_the_signed_one(world: World) -> None:
    ann, bob, kept = await acquainted(world)
    (house,) = world.network.brokers.values()
    await world.unplug(bob)
    await house.database.write(lambda tx: tx.execute("DELETE FROM onetime") and None)
    for text in ("the last", "one", "two"):
        await ann.send("bob", text, wait="accepted")
        await world.settle(PAUSE_S)
    assert [prekey_id >= FIRST_ONETIME for prekey_id in ids_of(kept)] == [True, False, False]
    await world.plug(bob)
    await world.until(lambda: stock(world, bob) == MAX_BATCH, what="bob has added a batch")
    await world.settle(PAUSE_S)
    assert await bob.read() == ["hello", "the last", "one", "two"]


async def test_a_batch_is_added_as_soon_as_few_are_left(world: World) -> None:
    ann, bob, _ = await acquainted(world)
    (house,) = world.network.brokers.values()
    no = house.database.reader.execute("SELECT no FROM device WHERE id = ?", (bob.app.node.device,)).fetchall()[0][0]
    used = MAX_BATCH - LOW
    await house.database.write(
        lambda tx: tx.execute("UPDATE onetime SET given = ? WHERE device = ?", (used, no)) and None
    )
    await ann.send("bob", "takes one more", wait="stored")
    await world.until(lambda: stock(world, bob) == LOW - 1 + MAX_BATCH, what="another batch")


async def test_a_restored_broker_hands_no_one_time_prekey_out_again_once_its_owner_is_back(world: World) -> None:
    ann, bob, kept = await acquainted(world)
    (house,) = world.network.brokers.values()
    await ann.send("bob", "uses one", wait="stored")
    await world.settle(PAUSE_S)
    await world.unplug(bob)
    ann.mesh().shelf.clear()
    await house.database.write(lambda tx: tx.execute("UPDATE onetime SET given = 0") and None)
    await world.plug(bob)
    await world.until(lambda: bob.mesh().link is LinkState.ONLINE, what="bob is back")
    await world.settle(PAUSE_S)
    await ann.send("bob", "asks for another", wait="stored")
    await world.settle(PAUSE_S)
    await ann.send("bob", "uses it", wait="stored")
    onetime = [prekey_id for prekey_id in ids_of(kept) if prekey_id >= FIRST_ONETIME]
    assert len(set(onetime)) == len(onetime) == 2
    assert await bob.read() == ["hello", "uses one", "asks for another", "uses it"]


async def test_each_machine_leaves_a_stock_whose_private_halves_it_has(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    await world.until(lambda: stock(world, bob) == MAX_BATCH, what="a batch")
    rows = bob.app.node.db.reader.execute("SELECT count(*) FROM onetime").fetchall()
    assert rows == [(MAX_BATCH,)]


async def test_a_second_message_under_one_key_is_not_opened_arrives_all_the_same_and_doctor_names_the_broker(
    world: World,
) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    (house,) = world.network.brokers.values()
    for machine in (ann, eve):
        await machine.send("bob", f"hello of {machine.name}", wait="stored")
    await world.until(lambda: ann.mesh().shelf.held() and eve.mesh().shelf.held(), what="both have a key")
    (key,) = ann.mesh().shelf.held()
    eve.mesh().shelf.put(key)  # as if the broker had given it to her too
    await ann.send("bob", "mine", wait="stored")
    sent = await eve.send("bob", "mine too", wait="stored")
    assert sent["state"] == "stored"
    assert await bob.read() == ["hello of ann", "hello of eve", "mine", "mine too"]
    found = {check["name"]: check for check in (await bob.call("daemon.doctor"))["checks"]}
    assert found["prekeys team"]["ok"] == "warn"
    assert f"messages of ann and eve came under one key that is given out once: the broker {house.url}" in str(
        found["prekeys team"]["text"]
    )
    before = house.database.reader.execute("SELECT first FROM onetime").fetchall()
    await world.settle(310)
    after = house.database.reader.execute("SELECT first FROM onetime").fetchall()
    assert len([each for each in before if each not in after]) == 1, "bob has put new ones in the place of his"


async def test_of_two_that_arrive_at_once_under_one_key_only_one_is_taken(world: World) -> None:
    ann, bob, _ = await acquainted(world)
    (key,) = ann.mesh().shelf.held()
    first, second = (seal(ann, bob, letter(ann, bob, msg_id=bytes([each]) * 16), to=key) for each in (1, 2))  # type: ignore[arg-type]
    verdict = judge(bob, first)
    assert (verdict.kind, judge(bob, second).kind) == ("take", "take")
    assert verdict.outer is not None
    assert verdict.signed is not None
    seen: list[tuple[str, str]] = []

    def while_it_commits(point: str) -> None:
        if point == "FP-12":
            seen.append(judge(bob, second)[:2])

    pending = bob.app.inbox.commit(bob.mesh(), verdict.outer, verdict.signed)
    while_it_commits("FP-12")
    await pending.wait()
    while_it_commits("FP-12")
    assert seen == [("bounce", "prekey_gone")] * 2
    assert bob.mesh().claims == {}


async def test_a_daemons_own_mail_is_refused_under_a_one_time_prekey(world: World) -> None:
    ann, bob, _ = await acquainted(world)
    (key,) = ann.mesh().shelf.held()
    envelope = seal(ann, bob, letter(ann, bob, kind="receipt", content_type=""), to=key)  # type: ignore[arg-type]
    assert judge(bob, envelope).kind == "drop"


async def test_a_signed_prekey_is_replaced_every_day_and_messages_go_on(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    node, mesh = bob.app.node, bob.mesh()
    first = mesh.prekey = sign_prekey(node.key, mesh.id, 1, mesh.prekeys[1].public, node.now() - ROTATE_MS + 400_000)
    await world.settle(310)
    assert mesh.prekey == first, "not a minute earlier"
    await world.settle(310)
    second = mesh.prekey
    assert second.prekey_id > first.prekey_id
    assert second.made_ms - first.made_ms >= ROTATE_MS
    assert set(mesh.prekeys) == {first.prekey_id, second.prekey_id}
    assert ann.mesh().peer_prekeys.get(node.device) != second
    ann.mesh().peers_asked_ms -= PEERS_MS
    await world.settle(310)
    assert ann.mesh().peer_prekeys[node.device] == second, "after twelve hours it is fetched anew"
    await bob.restart()
    assert bob.mesh().prekey == second
    sent = await ann.send("bob", "a day later", wait="stored")
    assert sent["state"] == "stored"


async def test_a_clock_that_is_off_makes_no_prekey_and_deletes_none(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    bob.clock.off_ms = 100 * ROTATE_MS
    await world.settle(310)
    assert bob.app.node.clock_is_off
    assert set(bob.mesh().prekeys) == {1}
    rows = bob.app.node.db.reader.execute("SELECT count(*) FROM onetime").fetchall()
    assert rows == [(MAX_BATCH,)]


async def test_two_days_of_connection_end_a_signed_prekey_on_the_disk_too(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    node, mesh = bob.app.node, bob.mesh()
    (row,) = node.db.reader.execute("SELECT prekey_id, sealed FROM prekey").fetchall()
    old, secret = int(str(row[0])), bytes(row[1])  # type: ignore[arg-type]
    ann.mesh().peer_prekeys[node.device] = mesh.prekey  # type: ignore[assignment]
    await rotate(node, mesh)
    await retire(node, mesh, KEEP_CONNECTED_MS - 1)
    assert old in mesh.prekeys
    assert secret in on_disk(node.db.path)
    await retire(node, mesh, 1)
    assert old not in mesh.prekeys
    assert mesh.prekey is not None
    assert [age.prekey_id for age in read_ages(node.db.reader, mesh.id)] == [mesh.prekey.prekey_id]
    assert secret not in on_disk(node.db.path), "not in the database, and not in its log"
    sent = await ann.send("bob", "to the old one", wait="stored")
    assert sent["state"] == "stored", "it bounced and was sealed anew"


def on_disk(path: Path) -> bytes:
    files = [path, Path(f"{path}-wal")]
    return b"".join(file.read_bytes() for file in files if file.exists())


@pytest.mark.parametrize(
    ("age", "by_clock", "gone"),
    [
        (Age(1, 0, KEEP_CONNECTED_MS - 1), True, False),
        (Age(1, 0, KEEP_CONNECTED_MS), False, True),
        (Age(1, -MAX_AGE_MS, 0), True, False),
        (Age(1, -MAX_AGE_MS - 1, 0), True, True),
        (Age(1, -MAX_AGE_MS - 1, 0), False, False),
        (Age(2, -MAX_AGE_MS - 1, KEEP_CONNECTED_MS), True, False),
    ],
)
def test_a_signed_prekey_ends_after_its_time_unless_it_is_the_newest(age: Age, *, by_clock: bool, gone: bool) -> None:
    assert too_old([age], 2, 0, by_clock=by_clock) == ([1] if gone else [])


async def test_a_prekey_older_than_45_days_is_not_sealed_to(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    node, mesh = bob.app.node, bob.mesh()
    made_ms = node.now() - MAX_AGE_MS - 60_000
    (house,) = world.network.brokers.values()
    mesh.prekey = sign_prekey(node.key, mesh.id, 1, mesh.prekeys[1].public, made_ms)
    old = mesh.prekey.encode()
    await house.database.write(
        lambda tx: tx.execute("UPDATE device SET prekey = ? WHERE id = ?", (old, node.device)) and None
    )
    await house.database.write(lambda tx: tx.execute("DELETE FROM onetime") and None)
    ann.mesh().peer_prekeys.clear()
    ann.mesh().shelf.clear()
    sent = await ann.send("bob", "not to an old one")
    await world.settle(30)
    assert bob.app.node.device not in ann.mesh().peer_prekeys
    assert await bob.read() == []
    await world.unplug(bob)
    await world.plug(bob)  # he makes a new one as he comes
    await ann.until_state(sent, "stored")


async def test_nothing_is_sealed_while_the_broker_is_away(world: World) -> None:
    """A prekey that is here now may have had its time when the broker is back."""
    ann, bob = await world.mesh("ann", "bob")
    await ann.send("bob", "hello", wait="stored")
    await world.unplug(ann)
    await ann.send("bob", "later")
    rows = ann.app.node.db.reader.execute(
        "SELECT count(*) FROM delivery WHERE envelope IS NOT NULL AND accepted_ms = 0"
    )
    assert rows.fetchall() == [(0,)]
    await world.plug(ann)
    await world.until(lambda: bob.read(all=True), what="it arrives")


async def test_a_bounce_that_finds_no_prekey_here_is_sealed_when_there_is_one(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    device = bob.app.node.device
    ann.mesh().peer_prekeys[device] = stranger_prekey(bob, 1)
    world.cable(ann).incoming = lambda frame: [] if b"mail" in frame[:24] else [frame]
    sent = await ann.send("bob", "twice sealed", wait="accepted")
    await world.settle(1)
    ann.mesh().peer_prekeys.clear()
    world.cable(ann).incoming = None
    await world.cable(ann).cut()
    await ann.until_state(sent, "stored")
    assert await bob.read() == ["twice sealed"]


async def test_the_ids_of_one_time_prekeys_lie_above_those_of_signed_ones(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    batch = await make_batch(ann.app.node, ann.mesh())
    assert batch.first_id >= FIRST_ONETIME
    assert make_prekey(ann.app.node, ann.mesh(), ann.app.node.now()).row.prekey_id < FIRST_ONETIME
