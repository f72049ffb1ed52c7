"""Receipts: signed facts that merge upwards, count from one device for one signed message, and are never lost."""

from collections.abc import Sequence
from typing import Final

import apsw
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol.ids import DeviceId, MemberId, MeshId, MsgId
from mesh_protocol.receipt import ReceiptRow, encode_receipts
from mesh_protocol.wire.codec import decode
from mesh_protocol.wire.framing import split_message
from meshd.receipts import MAX_ROWS, gather
from meshd.store.inbox import ReceiptDue
from meshd.store.outbox import (
    DeliveryRow,
    MessageRow,
    ReceiptFact,
    add_message,
    apply_receipt,
    expire_deliveries,
    read_delivery,
    set_ended,
)
from meshd.store.schema import MIGRATIONS
from world.letters import judge, letter, post, seal
from world.machine import Machine
from world.network import Change
from world.talk import Answer
from world.world import World

MESH, MSG, HASH = MeshId(b"m" * 32), MsgId(b"i" * 16), b"h" * 32
BOB, EVE = DeviceId(b"b" * 32), DeviceId(b"e" * 32)
RISING: Final = ("stored", "shown", "turn_started")


def outbox() -> apsw.Connection:
    """A database with one message that the broker has accepted."""
    db = apsw.Connection(":memory:")
    for script in MIGRATIONS:
        db.execute(script)
    message = MessageRow(
        MSG, MESH, "text", "user", None, b"", "", "human", "next", b"", bytes(16), 1, 10_000, b"sealed"
    )
    row = DeliveryRow(MSG, BOB, MESH, MemberId(b"p" * 16), "", "mesh", 1, 1, 1, b"env", HASH, b"o" * 32, 10_000, 1, 5)
    add_message(db, message, [row])
    return db


def fact(state: str, n: int, *, reason: str = "", session: str = "", message_hash: bytes = HASH) -> ReceiptFact:
    return ReceiptFact(MSG, message_hash, state, reason, session, f"by-{state}", 100 * n, n)


def row_of(db: apsw.Connection) -> DeliveryRow:
    row = read_delivery(db, MSG, BOB)
    assert row is not None
    return row


def after(*facts: ReceiptFact) -> DeliveryRow:
    db = outbox()
    for each in facts:
        apply_receipt(db, BOB, each)
    return row_of(db)


def test_each_fact_is_kept_with_its_time() -> None:
    row = after(fact("stored", 1), fact("shown", 2, session="web"), fact("turn_started", 3))
    assert (row.state, row.stored_ms, row.shown_ms, row.turn_ms) == ("turn_started", 100, 200, 300)
    assert (row.session, row.evidence, row.n, row.envelope) == ("web", "by-turn_started", 3, None)


def test_a_later_fact_implies_the_earlier_ones() -> None:
    row = after(fact("turn_started", 3))
    assert (row.state, row.stored_ms, row.shown_ms, row.turn_ms) == ("turn_started", 300, 300, 300)


@given(st.permutations([fact("stored", 1), fact("shown", 2), fact("turn_started", 3)]), st.lists(st.integers(0, 2)))
def test_facts_merge_in_any_order_and_any_number(facts: list[ReceiptFact], again: list[int]) -> None:
    facts = [*facts, *(facts[i] for i in again)]
    row = after(*facts)
    assert row.state == "turn_started"
    assert row.stored_ms <= row.shown_ms <= row.turn_ms or 0 in (row.stored_ms, row.shown_ms)
    assert row.n == 3


@given(
    st.lists(st.tuples(st.sampled_from([*RISING, "held", "refused", "no_such_session"]), st.integers(1, 8)), max_size=8)
)
def test_a_state_never_falls(steps: list[tuple[str, int]]) -> None:
    db = outbox()
    rank = {"accepted": 0, "held": 0, "refused": 0, "no_such_session": 0, "stored": 1, "shown": 2, "turn_started": 3}
    highest, n = 0, 0
    for state, number in steps:
        applied = apply_receipt(db, BOB, fact(state, number))
        assert applied == (number > n)
        if applied:
            n = number
            highest = max(highest, rank[state])
        row = row_of(db)
        assert row.n == n
        reached = 3 if row.turn_ms else 2 if row.shown_ms else 1 if row.stored_ms else 0
        assert reached == highest


def test_a_lower_or_equal_number_is_old_news() -> None:
    db = outbox()
    assert apply_receipt(db, BOB, fact("shown", 2))
    for n in (0, 1, 2):
        assert not apply_receipt(db, BOB, fact("turn_started", n))
    assert row_of(db).state == "shown"


def test_another_message_than_the_one_sent_is_not_acknowledged() -> None:
    db = outbox()
    assert not apply_receipt(db, BOB, fact("stored", 1, message_hash=b"x" * 32))
    assert row_of(db).state == "accepted"


def test_another_device_cannot_speak_for_the_recipient() -> None:
    db = outbox()
    assert not apply_receipt(db, EVE, fact("stored", 1))
    assert row_of(db).state == "accepted"


def test_expired_means_no_receipt_came_and_a_later_one_replaces_it() -> None:
    db = outbox()
    assert expire_deliveries(db, 9_999) == []
    assert expire_deliveries(db, 10_000) == [MSG]
    assert row_of(db).state == "expired"
    assert expire_deliveries(db, 20_000) == []
    assert apply_receipt(db, BOB, fact("stored", 1))
    assert row_of(db).state == "stored"
    assert expire_deliveries(db, 20_000) == [], "what was stored does not expire"


def test_what_is_held_may_be_released() -> None:
    assert after(fact("held", 1, reason="asks first")).state == "held"
    assert after(fact("held", 1, reason="asks first"), fact("stored", 2)).state == "stored"


def test_a_session_that_is_not_there_stays_said_until_somebody_reads_it() -> None:
    nobody = fact("no_such_session", 1, reason="no session of that name")
    assert (after(nobody).state, after(nobody).reason) == ("no_such_session", "no session of that name")
    assert after(nobody, fact("shown", 2)).state == "shown"


def test_an_end_of_our_own_does_not_override_a_receipt() -> None:
    db = outbox()
    apply_receipt(db, BOB, fact("stored", 1))
    set_ended(db, MSG, BOB, "removed", "late")
    assert row_of(db).state == "stored"


def due(number: int, device: DeviceId) -> ReceiptDue:
    return ReceiptDue(number, MESH, device, MSG, 1, HASH, "stored", "", "", "commit", 1, 1, 10_000)


def test_receipts_are_gathered_by_device_in_order_and_at_most_64_together() -> None:
    rows = [due(number, BOB if number % 2 else EVE) for number in range(300)]
    groups = gather(rows)
    assert all(1 <= len(group) <= MAX_ROWS for _, group in groups)
    for device in (BOB, EVE):
        ids = [row.id for to, group in groups if to == device for row in group]
        assert ids == [row.id for row in rows if row.device == device]
    assert gather([]) == []


# In a world.


def swallow(method: str) -> Change:
    """Loses what a machine sends by one method."""

    def change(frame: bytes) -> list[bytes]:
        header = decode(split_message(frame).header)
        return [] if isinstance(header, list) and method in header[1:3] else [frame]

    return change


async def facts_of(machine: Machine, sent: Answer) -> Sequence[int]:
    row = await machine.progress(sent)
    return [row[f"{word}_ms"] for word in ("queued", "accepted", "stored", "shown", "turn_started")]


async def test_the_sender_sees_each_fact_with_the_time_at_which_it_was(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    sent = await ann.send("bob", "hello", wait="stored")
    start = sent["recipients"][0]["queued_ms"]
    await trio.sleep(10)
    assert await bob.read() == ["hello"]
    row = await ann.until_state(sent, "shown")
    assert row["evidence"] == "inbox"
    queued, accepted, stored, shown, turn = await facts_of(ann, sent)
    assert queued == start <= accepted <= stored < start + 1000
    assert start + 10_000 <= shown < start + 11_000
    assert turn == 0


async def test_a_receipt_that_is_owed_survives_the_death_of_its_daemon(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    world.cable(bob).outgoing = swallow("mail.send")
    sent = await ann.send("bob", "hello", wait="accepted")
    await world.settle(5)
    assert (await ann.progress(sent))["state"] == "accepted"
    await bob.crash()
    world.cable(bob).outgoing = None
    await bob.start()
    await ann.until_state(sent, "stored")
    assert bob.app.node.db.reader.execute("SELECT count(*) FROM receipt_out").fetchall() == [(0,)]


async def test_a_receipt_whose_answer_was_lost_is_sent_again_and_merges(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    lost = iter([True])

    def lose_one_answer(frame: bytes) -> list[bytes]:
        header = decode(split_message(frame).header)
        answer = (
            isinstance(header, list) and header[0] == 1 and isinstance(header[3], dict) and "accept_seq" in header[3]
        )
        return [] if answer and next(lost, False) else [frame]

    world.cable(bob).incoming = lose_one_answer
    sent = await ann.send("bob", "hello", wait="stored")
    await world.settle(60)
    assert (await ann.progress(sent))["state"] == "stored"
    assert bob.app.node.db.reader.execute("SELECT count(*) FROM receipt_out").fetchall() == [(0,)]


async def test_receipts_wait_for_a_sender_who_is_away(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    sent = await ann.send("bob", "hello", wait="accepted")
    await ann.crash()
    assert await bob.read(wait_s=10) == ["hello"]
    await world.settle(5)
    await ann.start()
    row = await ann.until_state(sent, "shown")
    assert row["stored_ms"]


async def test_a_burst_of_messages_is_answered_with_few_receipt_envelopes(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    world.network.history = []
    await world.unplug(bob)
    sent = [await ann.send("bob", f"{number}", wait="accepted") for number in range(100)]
    await world.plug(bob)
    for each in sent:
        await ann.until_state(each, "stored")
    envelopes = [line for line in world.network.history if " bob > " in line and "mail.send" in line]
    assert len(envelopes) <= 25


async def test_a_forged_receipt_of_another_member_changes_nothing(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    world.cable(bob).incoming = lambda frame: [] if b"mail" in frame[:24] else [frame]
    sent = await ann.send("bob", "hello", wait="accepted")
    row = read_delivery(ann.app.node.db.reader, bytes.fromhex(sent["id"]), bob.app.node.device)
    assert row is not None
    assert row.message_hash is not None
    forged = ReceiptRow(row.msg_id, 1, row.message_hash, "turn_started", "", "", "trust me", 1, 9)
    message = letter(eve, ann, kind="receipt", content=encode_receipts([forged]), content_type="")
    await post(eve, seal(eve, ann, message))
    await world.until(lambda: judge(ann, seal(eve, ann, message)).kind == "seen", what="it was taken")
    assert (await ann.progress(sent))["state"] == "accepted"


async def test_a_message_that_nobody_took_expires_at_the_sender(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.crash()
    sent = await ann.send("bob", "hello", wait="accepted")
    await ann.crash()
    month = 31 * 24 * 3600 * 1000
    ann.clock.off_ms = bob.clock.off_ms = next(iter(world.network.brokers.values())).clock.off_ms = month
    await ann.start()
    row = await ann.until_state(sent, "expired", 200)
    assert row["reason"] == "no receipt came in time"


async def test_nothing_expires_by_a_clock_that_is_far_from_the_brokers(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.crash()
    sent = await ann.send("bob", "hello", wait="accepted")
    ann.clock.off_ms = 366 * 24 * 3600 * 1000
    await ann.restart()
    await ann.until_online()
    await world.settle(300)
    assert (await ann.progress(sent))["state"] == "accepted"
    await bob.start()
    await ann.until_state(sent, "stored")


async def test_a_clock_that_jumps_while_the_daemon_runs_expires_nothing(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.crash()
    sent = await ann.send("bob", "hello", wait="accepted")
    for jump in (400, -400):
        ann.clock.off_ms = jump * 24 * 3600 * 1000
        await world.settle(130)
        assert (await ann.progress(sent))["state"] == "accepted"
        checks = {check["name"]: check for check in (await ann.call("daemon.doctor"))["checks"]}
        assert checks["clock"]["ok"] == "bad"
    ann.clock.off_ms = 0
    await bob.start()
    await ann.until_state(sent, "stored")
    assert "clock" not in {check["name"] for check in (await ann.call("daemon.doctor"))["checks"]}


@pytest.mark.parametrize("wait", ["stored", "shown"])
async def test_waiting_ends_when_a_recipient_will_never_get_there(world: World, wait: str) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.restart()
    world.cable(ann).down = True
    await world.cable(ann).cut()
    sent = await ann.send("bob/ghost", "hello", wait="queued")
    await world.plug(ann)
    await ann.until_state(sent, "no_such_session")
    before = trio.current_time()
    again = await ann.call("message.status", id=sent["id"])
    assert again["state"] == "no_such_session"
    assert await bob.read() == ["hello"]
    assert (await ann.until_state(sent, "shown"))["state"] == "shown"
    assert trio.current_time() - before < 30
