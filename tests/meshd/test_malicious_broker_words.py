"""A broker that lies about mail, receipts and presence, or breaks the protocol: never believed, never fatal."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from broker_kit.people import seeded
from core_kit.core import Core, until, virtual_ms
from core_kit.forgery import Impostor, own_envelope, seal_for, write_message
from core_kit.liar import RESPONSE, Said, honest
from core_kit.soundness import require_sound
from core_kit.town import Town
from mesh_protocol.ids import MsgId
from mesh_protocol.receipt import ReceiptRow, encode_receipts
from meshd.store.outbox import read_deliveries

FIRST = 5_000
DAY_MS = 24 * 3600 * 1000


# Accepting.


async def test_a_lie_about_accepting_never_becomes_stored(town: Town, autojump_clock: MockClock) -> None:
    alice, bob, liar = town.cores["alice"], town.cores["bob"], town.liars["alice"]

    def discard(said: Said) -> list[Said]:
        return [] if said.is_call("mail.send") else [said]

    def take(said: Said) -> list[Said]:
        if said.is_call("mail.send"):
            answer = Said(RESPONSE, "", {"accept_seq": 1, "accepted_ms": virtual_ms()}, id=said.id)
            town.nursery.start_soon(liar.say, answer)
        return discard(said)

    liar.up = take
    sent = await alice.call("message.send", "into the void", to="bob", mesh="team", wait="accepted", timeout=10)
    assert sent["state"] == "accepted"
    waited = await alice.call("message.send", "into the void", to="bob", mesh="team", wait="stored", timeout=100)
    assert not waited["reached"]
    assert await alice.state_of(sent["id"]) == "accepted"
    (row,) = (await alice.call("message.status", id=sent["id"]))["recipients"]
    assert row["stored_ms"] == 0
    await require_sound(town)
    assert "into the void" not in await bob.texts()


async def test_an_accepted_message_that_no_receipt_confirms_ends_as_expired(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, liar = town.cores["alice"], town.liars["bob"]
    liar.down = lambda said: [] if said.is_news("mail") else [said]
    sent = await alice.call("message.send", "swallowed", to="bob", mesh="team", wait="accepted")
    for stand in town.stands.values():
        stand.clock.ms += 31 * DAY_MS
    alice.ahead_ms = 31 * DAY_MS
    await town.liars["alice"].cut()
    await trio.sleep(130)
    assert await alice.state_of(sent["id"]) == "expired"


@pytest.mark.parametrize(
    ("code", "state"), [("rate_limited", "queued"), ("storage_full", "queued"), ("mailbox_full", "queued")]
)
async def test_a_refusal_that_may_pass_keeps_the_message(
    town: Town, autojump_clock: MockClock, code: str, state: str
) -> None:
    alice, liar = town.cores["alice"], town.liars["alice"]
    error = {"code": code, "message": "no", "data": {"retry_after": 10**12}}

    def refuse(said: Said) -> list[Said]:
        if not said.is_call("mail.send"):
            return [said]
        town.nursery.start_soon(liar.say, Said(RESPONSE, "", None, id=said.id, error=error))
        return []

    liar.up = refuse
    sent = await alice.call("message.send", "patience", to="bob", mesh="team")
    await trio.sleep(120)
    assert await alice.state_of(sent["id"]) == state
    liar.up = honest
    await until(lambda: _stored(alice, sent["id"]), "the message to arrive")
    await require_sound(town)


def _stored(core: Core, msg_id: str) -> bool:
    return all(row.stored_ms for row in read_deliveries(core.app.node.db.reader, bytes.fromhex(msg_id)))


# Receipts.


async def _unreceipted(town: Town) -> tuple[str, bytes]:
    """A message of alice that bob never hears of: its id, and the hash that a true receipt would name."""
    alice = town.cores["alice"]
    town.liars["bob"].down = lambda said: [] if said.is_news("mail") else [said]
    sent = await alice.call("message.send", "did you get this?", to="bob", mesh="team", wait="accepted")
    (row,) = read_deliveries(alice.app.node.db.reader, bytes.fromhex(sent["id"]))
    assert row.message_hash is not None
    return str(sent["id"]), row.message_hash


def _receipt(msg_id: str, message_hash: bytes, state: str = "shown", n: int = 1, **changes: Any) -> bytes:
    row: dict[str, Any] = {
        "msg_id": MsgId(bytes.fromhex(msg_id)),
        "attempt": 1,
        "message_hash": message_hash,
        "state": state,
        "reason": "",
        "session": "",
        "evidence": "inbox",
        "at_ms": virtual_ms(),
        "n": n,
    }
    return encode_receipts([ReceiptRow(**{**row, **changes})])


async def _hand(town: Town, sender: Core, content: bytes, number: int = 0, key: Impostor | None = None) -> None:
    """Push to alice a receipt that `sender` signed, or that `key` signed in its name."""
    alice = town.cores["alice"]
    message = write_message(sender, alice, "", number, kind="receipt", content=content, stream_seq=0, content_type="")
    envelope = seal_for(alice, message, key or sender.app.node.key)
    await town.liars["alice"].news("mail", envelope, mesh=alice.mesh().id, mseq=FIRST + number)
    await wait_all_tasks_blocked()


async def test_a_receipt_that_the_recipient_did_not_sign_counts_for_nothing(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    msg_id, true_hash = await _unreceipted(town)
    await _hand(town, bob, _receipt(msg_id, true_hash), key=Impostor(bob.app.node.device))
    assert await alice.state_of(msg_id) == "accepted"


async def test_a_receipt_of_a_device_the_message_was_not_sealed_to_counts_for_nothing(
    town: Town, autojump_clock: MockClock
) -> None:
    alice = town.cores["alice"]
    carol = await town.settle("carol")
    await town.join(alice, carol, "team")
    msg_id, true_hash = await _unreceipted(town)
    await _hand(town, carol, _receipt(msg_id, true_hash))
    assert await alice.state_of(msg_id) == "accepted"


async def test_a_receipt_for_another_hash_counts_for_nothing(town: Town, autojump_clock: MockClock) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    msg_id, _ = await _unreceipted(town)
    await _hand(town, bob, _receipt(msg_id, seeded("another hash")))
    assert await alice.state_of(msg_id) == "accepted"


async def test_a_later_receipt_is_not_undone_by_an_older_or_replayed_one(town: Town, autojump_clock: MockClock) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    msg_id, true_hash = await _unreceipted(town)
    await _hand(town, bob, _receipt(msg_id, true_hash, "stored", 1), 1)
    await _hand(town, bob, _receipt(msg_id, true_hash, "shown", 2), 2)
    for number, (state, n) in enumerate([("held", 1), ("refused", 2), ("expired", 0), ("no_such_session", 2)], 3):
        await _hand(town, bob, _receipt(msg_id, true_hash, state, n), number)
        assert await alice.state_of(msg_id) == "shown"
    await require_sound(town)


@pytest.mark.parametrize("field", ["at_ms", "n"])
async def test_a_receipt_with_the_largest_numbers_harms_nobody(
    town: Town, autojump_clock: MockClock, field: str
) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    msg_id, true_hash = await _unreceipted(town)
    await _hand(town, bob, _receipt(msg_id, true_hash, **{field: 2**63 - 1}))
    assert await alice.state_of(msg_id) == "shown"
    await require_sound(town)


@pytest.mark.parametrize("field", ["created_ms", "expires_ms", "stream_seq"])
async def test_a_message_with_the_largest_numbers_harms_nobody(
    town: Town, autojump_clock: MockClock, field: str
) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    envelope = own_envelope(alice, bob, "from the end of time", **{field: 2**63 - 1})
    await town.liars["bob"].news("mail", envelope, mesh=bob.mesh().id, mseq=FIRST)
    await wait_all_tasks_blocked()
    assert await bob.texts() == ["from the end of time"]
    await require_sound(town)
    await bob.restart()
    await bob.until_online()
    await require_sound(town)


async def test_a_message_of_a_kind_of_tomorrow_and_one_of_garbage_are_noted_and_not_shown(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    kinds = [("hologram", b"x"), ("receipt", b"garbage"), ("bounce", b"garbage"), ("bounce", b""), ("profile", b"\xc1")]
    for number, (kind, content) in enumerate(kinds):
        envelope = own_envelope(alice, bob, "", number, kind=kind, content=content)
        await town.liars["bob"].news("mail", envelope, mesh=bob.mesh().id, mseq=FIRST + number)
    envelope = own_envelope(alice, bob, "", 99, content=b"\xff\xfe not text \x00\x1b[31m", from_session="a" * 128)
    await town.liars["bob"].news("mail", envelope, mesh=bob.mesh().id, mseq=FIRST + 99)
    await wait_all_tasks_blocked()
    assert (
        len(await bob.texts()) == 1
    )  # bytes that are no text are shown as replaced characters, not dropped in silence
    await require_sound(town)


# Presence.


async def test_presence_that_is_altered_replayed_or_another_meshs_changes_nothing(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, bob, liar = town.cores["alice"], town.cores["bob"], town.liars["alice"]
    await trio.sleep(65)
    frames = [said for said in liar.heard if said.is_news("live")]
    assert len(frames) >= 2
    liar.down = lambda said: [] if said.is_news("live") else [said]
    board, mesh, device = alice.app.board, alice.mesh(), bob.app.node.device
    heard = board.of(mesh.id, device)
    for frame in frames:
        await liar.say(frame)
    for place in range(0, len(frames[-1].body), 7):
        body = bytearray(frames[-1].body)
        body[place] ^= 1
        await liar.say(frames[-1].changed(body=bytes(body)))
    await liar.say(frames[-1].with_value(mesh=alice.mesh("safe").id))
    await wait_all_tasks_blocked()
    assert board.of(mesh.id, device) is heard
    await trio.sleep(100)
    assert not board.is_online(mesh.id, device), "a replayed sign of life counts as one"
    for frame in frames:
        await liar.say(frame)
    await wait_all_tasks_blocked()
    assert not board.is_online(mesh.id, device)
    await require_sound(town)


async def test_presence_replayed_after_a_restart_changes_nothing(town: Town, autojump_clock: MockClock) -> None:
    alice, bob, liar = town.cores["alice"], town.cores["bob"], town.liars["alice"]
    await trio.sleep(65)
    frames = [said for said in liar.heard if said.is_news("live")]
    await trio.sleep(35)
    liar.down = lambda said: [] if said.is_news("live") else [said]
    await alice.restart()
    await alice.until_online()
    for frame in frames:
        await liar.say(frame)
    await wait_all_tasks_blocked()
    assert alice.app.board.of(alice.mesh().id, bob.app.node.device) is None
