"""A broker that breaks the protocol itself: answers, news and calls of the wrong shape, or none at all."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from core_kit.core import Core, until
from core_kit.forgery import MALLORY
from core_kit.liar import NOTIFICATION, REQUEST, RESPONSE, Said
from core_kit.soundness import require_sound
from core_kit.town import Town
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.wire.codec import encode
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.framing import encode_frame
from mesh_protocol.wire.items import pack_items

FIRST = 5_000
DAY_MS = 24 * 3600 * 1000


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
    await require_sound(town)


def _answering(method: str, change: Callable[[Said], Said]) -> Callable[[Said], list[Said]]:
    return lambda said: [change(said) if said.kind == RESPONSE and said.method == method else said]


@pytest.mark.parametrize("method", METHODS)
async def test_an_answer_that_never_comes_does_no_harm(town: Town, autojump_clock: MockClock, method: str) -> None:
    town.liars["alice"].down = lambda said: [] if said.kind == RESPONSE and said.method == method else [said]
    await _provoke(town)
    await trio.sleep(60)
    assert (await town.cores["alice"].finding("mesh team"))["text"]
    await require_sound(town)


async def test_a_broker_that_says_nothing_at_all_is_left_and_told(town: Town, autojump_clock: MockClock) -> None:
    alice, liar = town.cores["alice"], town.liars["alice"]
    liar.down = lambda said: []
    await liar.cut()
    await trio.sleep(120)
    finding = await alice.finding("mesh team")
    assert finding["ok"] == "bad"
    assert "challenge" in finding["text"]
    assert liar.connections < 40, "it hammers a broker that does not answer"
    await require_sound(town)


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
    await require_sound(town)


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
    await require_sound(town)


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
    await require_sound(town)


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
    await require_sound(town)


async def test_the_broker_cannot_speak_for_mallory(town: Town, autojump_clock: MockClock) -> None:
    """A request to join that no invite stands behind is dropped, and nobody new is in the mesh."""
    alice, liar = town.cores["alice"], town.liars["alice"]
    for number, data in enumerate([b"", b"garbage", MALLORY.public * 20]):
        await liar.news("join_request", data, mesh=alice.mesh().id, id=number)
    await wait_all_tasks_blocked()
    await trio.sleep(5)
    assert len(alice.mesh().state.members) == 2
    await require_sound(town)
