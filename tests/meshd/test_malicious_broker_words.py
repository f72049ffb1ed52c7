"""A broker that lies about mail, receipts and presence, or breaks the protocol: never believed, never fatal."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from broker_kit.people import seeded
from core_kit.core import Core, until, virtual_ms
from core_kit.forgery import MALLORY, Impostor, own_envelope, seal_for, write_message
from core_kit.liar import NOTIFICATION, REQUEST, RESPONSE, Said, honest
from core_kit.town import Town
from mesh_protocol.ids import MsgId
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.receipt import ReceiptRow, encode_receipts
from mesh_protocol.wire.codec import encode
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.framing import encode_frame
from mesh_protocol.wire.items import pack_items
from meshd.store.outbox import read_deliveries

FIRST = 5_000
DAY_MS = 24 * 3600 * 1000


async def _require_sound(town: Town) -> None:
    """Honest again: everybody is online and heard, the other mesh never stopped, nobody met a bug."""
    alice, bob = town.cores["alice"], town.cores["bob"]
    for liar in town.liars.values():
        liar.down = liar.up = honest
        await liar.cut()
    await town.require_safe_mesh_works()
    for core in (alice, bob):
        await core.until_online()
    text = f"sound at {trio.current_time()}"
    await alice.send("bob", text)
    await bob.send("alice", text)
    assert text in await bob.texts()
    assert text in await alice.texts()
    for core in town.cores.values():
        assert not core.failures, core.failures


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
    await _require_sound(town)
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
    await _require_sound(town)


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
    await _require_sound(town)


@pytest.mark.parametrize("field", ["at_ms", "n"])
async def test_a_receipt_with_the_largest_numbers_harms_nobody(
    town: Town, autojump_clock: MockClock, field: str
) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    msg_id, true_hash = await _unreceipted(town)
    await _hand(town, bob, _receipt(msg_id, true_hash, **{field: 2**63 - 1}))
    assert await alice.state_of(msg_id) == "shown"
    await _require_sound(town)


@pytest.mark.parametrize("field", ["created_ms", "expires_ms", "stream_seq"])
async def test_a_message_with_the_largest_numbers_harms_nobody(
    town: Town, autojump_clock: MockClock, field: str
) -> None:
    alice, bob = town.cores["alice"], town.cores["bob"]
    envelope = own_envelope(alice, bob, "from the end of time", **{field: 2**63 - 1})
    await town.liars["bob"].news("mail", envelope, mesh=bob.mesh().id, mseq=FIRST)
    await until(lambda: town.liars["bob"], "it")
    await wait_all_tasks_blocked()
    assert await bob.texts() == ["from the end of time"]
    await _require_sound(town)
    await bob.restart()
    await bob.until_online()
    await _require_sound(town)


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
    await _require_sound(town)


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
    await _require_sound(town)


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


# Breaking the protocol.

METHODS = (
    "hello",
    "seals.read",
    "prekey.put",
    "prekey.take",
    "mail.resume",
    "mail.send",
    "live.subscribe",
    "join.list",
    "chain.read",
    "chain.append",
)
GARBAGE: tuple[Any, ...] = (
    None,
    True,
    7,
    -1,
    2**64 - 1,
    "x",
    b"x",
    [],
    {},
    {"x": 1},
    [[[[]]]],
    {"tip": 1},
    {"more": 1},
)

BODIES = (
    b"",
    b"garbage",
    b"\xff" * 64,
    bytes(8) + b"\x00",
    (2**63).to_bytes(8, "little"),
    pack_items([b"x"]),
    pack_items([b""] * 4096),
    pack_items([b"\xff" * 5000] * 100),
)


async def _provoke(town: Town) -> None:
    """Make alice use every method: a new connection, an invite, a message to one whose prekey she forgot."""
    alice = town.cores["alice"]
    alice.mesh().peer_prekeys.clear()
    await town.liars["alice"].cut()
    await alice.call("message.send", "provoked", to="bob", mesh="team")
    with trio.move_on_after(20):
        await alice.until_online()
    town.nursery.start_soon(_try_invite, alice)
    await trio.sleep(20)


async def _try_invite(core: Core) -> None:
    try:
        await core.call("mesh.invite", mesh="team")
    except MeshError:
        return  # of which kind, and in which words, is test_malicious_broker_visits.py's question


@pytest.mark.parametrize("method", METHODS)
async def test_answers_of_the_wrong_shape_are_refused_and_do_no_harm(
    town: Town, autojump_clock: MockClock, method: str
) -> None:
    liar = town.liars["alice"]
    for value in GARBAGE:
        liar.down = _answering(method, lambda said, value=value: said.changed(value=value))
        await _provoke(town)
    for body in BODIES:
        liar.down = _answering(method, lambda said, body=body: said.changed(body=body))
        await _provoke(town)
    for error in (
        {"code": "no such code", "message": "\x1b[2J", "data": {}},
        {"code": "internal", "message": "", "data": {}},
    ):
        liar.down = _answering(method, lambda said, error=error: said.changed(error=error, value=None))
        await _provoke(town)
    await _require_sound(town)


def _answering(method: str, change: Callable[[Said], Said]) -> Callable[[Said], list[Said]]:
    return lambda said: [change(said) if said.kind == RESPONSE and said.method == method else said]


@pytest.mark.parametrize("method", METHODS)
async def test_an_answer_that_never_comes_does_no_harm(town: Town, autojump_clock: MockClock, method: str) -> None:
    town.liars["alice"].down = lambda said: [] if said.kind == RESPONSE and said.method == method else [said]
    await _provoke(town)
    await trio.sleep(60)
    assert (await town.cores["alice"].finding("mesh team"))["text"]
    await _require_sound(town)


async def test_a_broker_that_says_nothing_at_all_is_left_and_told(town: Town, autojump_clock: MockClock) -> None:
    alice, liar = town.cores["alice"], town.liars["alice"]
    liar.down = lambda said: []
    await liar.cut()
    await trio.sleep(120)
    finding = await alice.finding("mesh team")
    assert finding["ok"] == "bad"
    assert "challenge" in finding["text"]
    assert liar.connections < 40, "it hammers a broker that does not answer"
    await _require_sound(town)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00" * 8,
        b"\xff" * 8,
        b"\x00\x00\x00\x01\x00\x00\x00\x00\xc1",
        bytes(range(256)),
        b"\x00\x00\x00\x05\x00\x00\x00\x00abc",
        encode_frame(encode([REQUEST, 1, "x" * 65, {}])),
        encode_frame(encode([RESPONSE, 4_000_000, None, {}])),
        encode_frame(encode([9, 1])),
        encode_frame(encode({"a": 1})),
        encode_frame(encode([NOTIFICATION, "mail", []])),
        (2**31).to_bytes(4, "big") * 2 + bytes(100),
    ],
)
async def test_frames_that_are_none_end_the_connection_and_nothing_else(
    town: Town, autojump_clock: MockClock, frame: bytes
) -> None:
    liar = town.liars["alice"]
    before = liar.connections
    await liar.say(frame)
    await until(lambda: liar.connections > before, "a new connection")
    await _require_sound(town)


@pytest.mark.parametrize("method", ["mail", "tip", "live", "join_request", "challenge"])
async def test_news_of_the_wrong_shape_does_no_harm(town: Town, autojump_clock: MockClock, method: str) -> None:
    alice, liar = town.cores["alice"], town.liars["alice"]
    mesh = alice.mesh().id
    shapes: list[dict[str, Any]] = [
        {},
        {"mesh": mesh},
        {"mesh": mesh, "mseq": -1, "tip": 1, "channel": b"", "id": "x"},
        {"mesh": mesh, "mseq": "1"},
        {"mesh": mesh, "tip": b"garbage"},
        {"mesh": mesh, "channel": bytes(16)},
        {"mesh": mesh, "id": 1},
        {"mesh": bytes(32), "mseq": 1},
        {"mesh": 7},
        {"mesh": mesh, "mseq": 2**64 - 1},
    ]
    for shape in shapes:
        for body in (b"", b"garbage", b"\xff" * 5000):
            try:
                await liar.say(Said(NOTIFICATION, method, shape, body))
            except LinkClosed:
                await alice.until_online()
            await wait_all_tasks_blocked()
    await _require_sound(town)


async def test_calls_from_the_broker_are_answered_with_a_refusal_and_a_flood_of_them_ends_the_connection(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, liar = town.cores["alice"], town.liars["alice"]
    heard: list[Said] = []
    liar.up = lambda said: (heard.append(said) or []) if said.kind == RESPONSE else [said]
    await liar.say(Said(REQUEST, "message.send", {"to": "bob"}, b"from the broker", id=1))
    await until(lambda: heard, "the refusal")
    assert heard[0].error["code"] == "unknown_method"
    assert alice.mesh().link.value == "online"
    await _require_sound(town)


async def test_requests_to_join_do_not_pile_up(town: Town, autojump_clock: MockClock) -> None:
    alice, liar = town.cores["alice"], town.liars["alice"]
    liar.down = lambda said: [] if said.method == "join.drop" else [said]
    before = liar.connections
    for number in range(1000):
        try:
            await liar.news("join_request", bytes(60_000), mesh=alice.mesh().id, id=number)
        except LinkClosed:
            break
        await wait_all_tasks_blocked()
    else:
        raise AssertionError("a thousand requests were taken")
    await until(lambda: liar.connections > before, "a new connection")
    await _require_sound(town)


async def test_the_broker_cannot_speak_for_mallory(town: Town, autojump_clock: MockClock) -> None:
    """A request to join that no invite stands behind is dropped, and nobody new is in the mesh."""
    alice, liar = town.cores["alice"], town.liars["alice"]
    for number, data in enumerate([b"", b"garbage", MALLORY.public * 20]):
        await liar.news("join_request", data, mesh=alice.mesh().id, id=number)
    await wait_all_tasks_blocked()
    await trio.sleep(5)
    assert len(alice.mesh().state.members) == 2
    await _require_sound(town)


async def test_a_broker_that_serves_and_hangs_up_is_not_hammered(town: Town, autojump_clock: MockClock) -> None:
    liar = town.liars["alice"]
    before = liar.connections

    async def hang_up() -> None:
        while True:
            await town.cores["alice"].until_online()
            await liar.cut()

    with trio.move_on_after(120):
        await hang_up()
    assert 20 < liar.connections - before < 100
    await _require_sound(town)
