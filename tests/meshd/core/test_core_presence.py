"""Presence: heard with a lease, sealed, signed, never replayed, small, and silent about hidden sessions."""

from dataclasses import replace

import msgspec
import pytest
import trio

from mesh_protocol.live import LiveFrame, channel_id, open_live, seal_live
from mesh_protocol.wire.codec import decode
from mesh_protocol.wire.framing import split_message
from meshd.link.meshlink import PRESENCE_MIN_S
from meshd.presence import CHANNEL, INTERVAL_S, LEASE_MS, MAX_SKEW_MS, Presence, SessionView
from world.machine import Machine
from world.network import Change
from world.world import World

LEASE_S = LEASE_MS / 1000


def kept(frames: list[bytes], *, lose: bool = False) -> Change:
    """Keeps the live frames that a machine is sent."""

    def change(frame: bytes) -> list[bytes]:
        parts = split_message(frame)
        header = decode(parts.header)
        if isinstance(header, list) and header[:2] == [2, "live"]:
            frames.append(parts.body)
            return [] if lose else [frame]
        return [frame]

    return change


def view(name: str = "web", **changes: object) -> SessionView:
    return msgspec.structs.replace(SessionView(name, "idle", 1, "at work"), **changes)


def opened(machine: Machine, data: bytes) -> Presence:
    mesh = machine.mesh()
    assert mesh.keys is not None
    return msgspec.msgpack.decode(open_live(data, mesh.keys.epochs[1]).content, type=Presence)


def frame_of(machine: Machine, *sessions: SessionView, **changes: object) -> bytes:
    """A frame that a machine signs, changed as told."""
    mesh, node = machine.mesh(), machine.app.node
    assert mesh.keys is not None
    key = mesh.keys.epochs[mesh.state.epoch]
    frame = LiveFrame(
        mesh_id=mesh.id,
        device=node.device,
        epoch=mesh.state.epoch,
        generation=node.generation,
        n=10_000,
        channel=channel_id(key, CHANNEL),
        kind=CHANNEL,
        created_ms=node.now(),
        tip=mesh.tip,
        content=msgspec.msgpack.encode(Presence(True, list(sessions))),
    )
    return seal_live(replace(frame, **changes), key, node.key, machine.rng(24))  # type: ignore[arg-type]


def online(machine: Machine, other: Machine) -> bool:
    return machine.app.board.is_online(machine.mesh().id, other.app.node.device)


async def test_two_machines_know_of_each_other_at_once(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    assert trio.current_time() < 5
    assert online(ann, bob)
    assert online(bob, ann)
    row = await ann.until_knows("bob")
    assert (row["kind"], row["me"], row["status"], row["role"]) == ("human", False, "online", "member")


async def test_a_quiet_machine_is_heard_every_interval(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    frames: list[bytes] = []
    world.cable(ann).incoming = kept(frames)
    await trio.sleep(10 * INTERVAL_S)
    assert 9 <= len(frames) <= 11
    assert online(ann, bob)


async def test_a_short_drop_is_invisible_and_a_long_one_is_not(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.crash()
    await trio.sleep(LEASE_S - INTERVAL_S - 5)
    assert online(ann, bob)
    await trio.sleep(INTERVAL_S + 10)
    assert not online(ann, bob)
    rows = {row["to"]: row for row in (await ann.call("peer.list"))["peers"]}
    assert (rows["bob"]["online"], rows["bob"]["status"]) == (False, "away")
    assert rows["bob"]["last_seen_ms"] > 0
    await bob.start()
    await ann.until_knows("bob")


async def test_who_says_goodbye_is_away_at_once(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.claude("web")
    await ann.until_knows("bob/web")
    await bob.stop()
    await world.settle(1)
    assert not online(ann, bob)
    rows = [row["to"] for row in (await ann.call("peer.list"))["peers"]]
    assert rows == ["ann", "bob"]


async def test_a_change_is_told_at_once_and_at_most_once_a_second(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    await world.settle(2)
    frames: list[bytes] = []
    world.cable(ann).incoming = kept(frames)
    before = trio.current_time()
    for number in range(20):
        await web.tool("set_summary", summary=f"step {number}")
    await world.until(lambda: frames and opened(ann, frames[-1]).sessions[0].summary == "step 19", what="the last one")
    assert trio.current_time() - before <= 1.1
    assert len(frames) <= 3


async def test_sessions_are_told_with_what_they_say_of_themselves(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await web.tool("set_summary", summary="mending the parser")
    await web.tool("set_profile", role="reviewer", title="Parser", name="parser")
    web.begin_turn()
    await web.hook("UserPromptSubmit")
    row = await ann.until_knows("bob/parser")
    await world.settle(3)
    row = await ann.until_knows("bob/parser")
    told = {key: row[key] for key in ("kind", "status", "summary", "role", "title", "cwd")}
    assert told == {
        "kind": "ai",
        "status": "working",
        "summary": "mending the parser",
        "role": "reviewer",
        "title": "Parser",
        "cwd": "",
    }
    own = await bob.until_knows("bob/parser")
    assert own["cwd"] == "/home/bob/web", "the folder is told on its own machine only"


async def test_a_hidden_session_is_in_no_list_and_still_gets_its_mail(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    await web.tool("set_visible", visible=False)
    await world.settle(3)
    assert "bob/web" not in [row["to"] for row in (await ann.call("peer.list"))["peers"]]
    assert (await ann.send("bob/web", "psst", wait="shown"))["reached"]
    await web.tool("set_visible", visible=True)
    await ann.until_knows("bob/web")


async def test_what_a_session_says_of_itself_survives_a_restart(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await web.tool("set_summary", summary="mending")
    await web.tool("set_profile", role="lead", capabilities=["python", "sql"], name="mender")
    await web.tool("set_visible", visible=False)
    await bob.restart()
    session = bob.app.sessions.get(web.key)
    assert session is not None
    assert (session.name, session.summary, session.visible) == ("mender", "mending", False)
    assert session.profile == {"role": "lead", "capabilities": ["python", "sql"]}


async def test_replayed_and_older_frames_are_dropped_also_after_a_restart(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    frames: list[bytes] = []
    world.cable(ann).incoming = kept(frames)
    await trio.sleep(2.5 * INTERVAL_S)
    await bob.crash()
    await trio.sleep(LEASE_S + 5)
    assert not online(ann, bob)
    for frame in frames:
        assert not ann.app.board.hear(ann.mesh(), frame)
    assert not online(ann, bob)
    await ann.restart()
    await ann.until_online()
    for frame in frames[:-1]:
        ann.app.board.hear(ann.mesh(), frame)
    assert not online(ann, bob)
    await bob.start()
    await ann.until_knows("bob")


async def test_a_frame_with_a_higher_number_is_heard_and_a_lower_generation_is_not(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    board, mesh = ann.app.board, ann.mesh()
    board.hear(mesh, frame_of(bob, view("new")))
    heard = board.of(mesh.id, bob.app.node.device)
    assert heard is not None
    assert [session.name for session in heard.presence.sessions] == ["new"]
    board.hear(mesh, frame_of(bob, view("old"), generation=0, n=99_999))
    assert board.of(mesh.id, bob.app.node.device) == heard
    board.hear(mesh, frame_of(bob, view("newer"), generation=9, n=1))
    assert board.of(mesh.id, bob.app.node.device) != heard


async def test_nothing_is_published_behind_a_goodbye(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await trio.sleep(PRESENCE_MIN_S * 2)
    for pause in (0.01, PRESENCE_MIN_S - 0.03):  # published at once, and again as soon as that is allowed
        bob.app.brokers.presence_changed()
        await trio.sleep(pause)
    await bob.stop()
    await trio.sleep(1)
    assert not online(ann, bob)


async def test_who_is_first_heard_under_a_newer_key_is_answered_once(world: World) -> None:
    ann, bob, _ = await world.mesh("ann", "bob", "cid")
    board, mesh, bobs = ann.app.board, ann.mesh(), bob.app.node.device
    before = board.of(mesh.id, bobs)
    assert before is not None
    assert not board.hear(mesh, frame_of(bob, view("old key")))
    await ann.call("member.remove", peer="cid", wait_s=0)

    def have_new_key() -> bool:
        keys = [machine.mesh().keys for machine in (ann, bob)]
        return all(each is not None and 2 in each.epochs for each in keys)

    await world.until(have_new_key, what="both hold the new key")
    board._heard[mesh.id, bobs] = before  # as if nothing had come under the new key yet
    heard = [board.hear(mesh, frame_of(bob, view("new key"), n=number)) for number in (10_001, 10_002)]
    assert heard == [True, False]


@pytest.mark.parametrize(
    "changes",
    [
        {"created_ms": 1},
        {"kind": "stream"},
        {"content": b"\xc1"},
        {"content": b""},
        {"content": msgspec.msgpack.encode([True, [["x" * 65, "idle", 1, ""]]])},
        {"content": msgspec.msgpack.encode([True, [["web", "idle", -1, ""]]])},
        {"content": msgspec.msgpack.encode([True, [["web", "idle", 1, ""]] * 200])},
        {"content": b"\x92\xc3" + b"\x91" * 60},
        {"channel": b"c" * 16},
    ],
)
async def test_what_is_no_presence_is_dropped(world: World, changes: dict[str, object]) -> None:
    ann, bob = await world.mesh("ann", "bob")
    before = ann.app.board.of(ann.mesh().id, bob.app.node.device)
    assert not ann.app.board.hear(ann.mesh(), frame_of(bob, view("odd"), **changes))
    assert ann.app.board.of(ann.mesh().id, bob.app.node.device) == before


async def test_a_frame_far_from_our_time_is_dropped(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    board, mesh, now = ann.app.board, ann.mesh(), ann.app.node.now()
    for created, heard in ((now - MAX_SKEW_MS - 1, False), (now + MAX_SKEW_MS + 1, False), (now - MAX_SKEW_MS, True)):
        board.hear(mesh, frame_of(bob, view("odd"), created_ms=created))
        found = board.of(mesh.id, bob.app.node.device)
        assert found is not None
        assert (found.presence.sessions != []) == heard


async def test_forged_and_foreign_frames_are_dropped(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    board, mesh = ann.app.board, ann.mesh()
    broken = bytearray(frame_of(bob, view("odd")))
    broken[-1] ^= 1
    assert mesh.keys is not None
    other_key = seal_live(
        LiveFrame(
            mesh.id,
            eve.app.node.device,
            1,
            9,
            9,
            bytes(16),
            CHANNEL,
            ann.app.node.now(),
            mesh.tip,
            msgspec.msgpack.encode(Presence(True, [view("odd")])),
        ),
        b"k" * 32,
        eve.app.node.key,
        bytes(24),
    )
    for data in (b"", b"x" * 300, bytes(broken), other_key, frame_of(ann, view("myself"))):
        assert not board.hear(mesh, data)
    for machine in (bob, eve):
        found = board.of(mesh.id, machine.app.node.device)
        assert found is not None
        assert found.presence.sessions == []
    outsider = await world.machine("outsider")
    await outsider.call("mesh.new", name="elsewhere", me="o", broker=next(iter(world.network.brokers)))
    assert not board.hear(mesh, frame_of(outsider, view("odd")))


@pytest.mark.parametrize(("count", "summary"), [(1, 500), (5, 500), (12, 120), (40, 500)])
async def test_a_frame_is_cut_to_a_kibibyte(world: World, count: int, summary: int) -> None:
    ann, bob = await world.mesh("ann", "bob")
    sessions = [view(f"session-{n}", summary="é" * summary, title="t" * 100, role="r" * 20) for n in range(count)]
    _, data = bob.app.board.frame(bob.mesh(), sessions)
    assert ann.mesh().keys is not None
    content = open_live(data, ann.mesh().keys.epochs[1]).content  # type: ignore[union-attr]
    assert len(content) <= 1024
    told = msgspec.msgpack.decode(content, type=Presence).sessions
    assert [session.name for session in told] == [f"session-{n}" for n in range(len(told))]
    assert len(told) == count or count == 40
    assert ann.app.board.hear(ann.mesh(), frame_of(bob, *told)) is False
    if count == 1:
        assert told[0].summary == "é" * summary or len(told[0].summary) in (120, 0)


async def test_a_newcomer_hears_of_everybody_at_once(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.claude("web")
    await ann.until_knows("bob/web")
    await trio.sleep(INTERVAL_S * 3.5)
    eve = await world.machine("eve")
    await eve.call("mesh.join", url=await world.invite(ann), me="eve")
    before = trio.current_time()
    await eve.until_knows("bob/web")
    await eve.until_knows("ann")
    assert trio.current_time() - before < 3


async def test_a_machine_that_comes_back_is_told_of_everybody_at_once(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await bob.claude("web")
    await world.settle(50)
    await ann.restart()
    before = trio.current_time()
    await ann.until_knows("bob/web")
    assert trio.current_time() - before < 3


async def test_peers_are_listed_by_mesh_and_refused_for_an_unknown_one(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    assert [row["to"] for row in (await ann.call("peer.list", mesh="team"))["peers"]] == ["ann", "bob"]
    assert await ann.refusal("peer.list", mesh="guild") == "unknown_mesh"
    eve = await world.machine("eve")
    assert await eve.refusal("peer.list") == "no_mesh"
