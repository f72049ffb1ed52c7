"""Order, gaps and repeats: each way keeps its order, what stays missing is told, what comes twice is kept once."""

from collections.abc import Callable
from itertools import pairwise

import apsw
import pytest
import trio

from mesh_broker.limits import Limits
from mesh_protocol.wire.codec import decode, encode
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.framing import encode_frame, split_message
from meshd.store import inbox as inbox_rows
from meshd.store.inbox import InboxRow
from world.machine import Machine
from world.network import Change
from world.talk import Answer, Talk
from world.world import World


def method_of(frame: bytes) -> str:
    header = decode(split_message(frame).header)
    assert isinstance(header, list)
    return str(header[2] if header[0] == 0 else header[1]) if header[0] in (0, 2) else ""


def pushes(change: Callable[[bytes], list[bytes]]) -> Change:
    """Changes the mail that a broker pushes, and nothing else."""
    return lambda frame: change(frame) if method_of(frame) == "mail" else [frame]


def dropped(numbers: set[int]) -> Change:
    """Loses the pushes with these positions, counted from 1."""
    seen = iter(range(1, 1000))
    return pushes(lambda frame: [] if next(seen) in numbers else [frame])


async def gaps_of(machine: Machine) -> Talk:
    events = await machine.talk(machine.processes.shell)
    await events.call("events.subscribe", kinds=["gap"])
    return events


async def finding(machine: Machine, name: str) -> Answer | None:
    checks = (await machine.call("daemon.doctor"))["checks"]
    return next((check for check in checks if check["name"] == name), None)


async def test_messages_of_one_sender_arrive_in_his_order(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    for number in range(30):
        await ann.send("bob", f"{number}")
    await world.settle(5)
    assert await bob.read(limit=100) == [f"{number}" for number in range(30)]


async def test_order_holds_over_cuts_of_the_link(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    for number in range(12):
        await ann.send("bob", f"{number}")
        if number % 3 == 1:
            await world.cable(ann).cut()
        if number % 4 == 1:
            await world.cable(bob).cut()
    await world.settle(20)
    assert await bob.read(limit=100) == [f"{number}" for number in range(12)]


async def test_order_holds_when_the_clock_was_set_back(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await world.unplug(ann)
    await ann.send("bob", "first")
    ann.clock.off_ms = -3_000_000
    await ann.send("bob", "second")
    await ann.restart()
    await ann.send("bob", "third")
    await world.plug(ann)
    await world.settle(5)
    assert await bob.read() == ["first", "second", "third"]


async def test_order_holds_when_the_broker_slows_a_sender_down(world: World) -> None:
    """A burst above the rate: what is refused for now is tried again, and nothing goes past it."""
    ann, bob = await world.mesh("ann", "bob")
    events = await gaps_of(bob)
    for number in range(260):
        await ann.send("bob", f"{number}")
    await world.until(lambda: bob.mesh().streams[ann.app.node.device].got == 260, 120, "all have arrived")
    read: list[str] = []
    while rows := await bob.read(limit=100):
        read.extend(rows)
    assert read == [f"{number}" for number in range(260)]
    await world.settle(120)
    assert not events.events


async def test_a_full_mailbox_holds_up_nobody_else(world: World) -> None:
    await world.broker(limits=Limits(mailbox_rows=3, member_share=1.0))
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    await bob.crash()
    for number in range(3):
        await ann.send("bob", f"{number}", wait="accepted")
    tries: list[float] = []

    def note(frame: bytes) -> list[bytes]:
        if method_of(frame) == "mail.send":
            tries.append(trio.current_time())
        return [frame]

    world.cable(ann).outgoing = note
    fourth = await ann.send("bob", "3", wait="accepted", timeout=100)
    assert fourth["state"] == "queued"
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert len(pauses) > 5
    assert max(pauses) <= 30
    await ann.send("bob", "4")
    assert (await ann.send("eve", "at once", wait="stored"))["state"] == "stored"
    assert await eve.read() == ["at once"]
    await bob.start()
    await ann.until_state(fourth, "stored")
    await world.settle(35)
    assert await bob.read() == ["0", "1", "2", "3", "4"]


async def test_an_urgent_message_that_overtakes_is_no_gap(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.send("bob", "first", wait="stored")
    events = await gaps_of(bob)
    await world.unplug(bob)
    for lane in ("low", "next", "now"):
        await ann.send("bob", lane, priority=lane, wait="accepted")
    await world.plug(bob)
    await world.settle(200)
    assert await bob.read() == ["first", "now", "next", "low"]
    assert not events.events
    assert await finding(bob, "gap team") is None


async def test_what_stays_missing_is_told_within_a_minute(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.send("bob", "1", wait="stored")
    events = await gaps_of(bob)
    world.cable(bob).incoming = dropped({1, 2})
    for number in ("2", "3", "4"):
        await ann.send("bob", number, wait="accepted")
    await world.until(lambda: bob.mesh().streams[ann.app.node.device].got == 4, what="the fourth came")
    since = trio.current_time()
    event = await events.next_event()
    assert trio.current_time() - since <= 60
    assert event["data"] == {"mesh": "team", "sender": "ann", "missing": 2}
    found = await finding(bob, "gap team")
    assert found is not None
    assert "2 messages of ann" in found["text"]
    await world.cable(bob).cut()
    await bob.until_online()
    await world.settle()
    assert await bob.read() == ["1", "4", "2", "3"], "what the broker still has comes with the next connection"
    assert await finding(bob, "gap team") is None


async def test_the_first_number_of_a_stream_is_its_start(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    events = await gaps_of(bob)
    world.cable(bob).incoming = dropped({1})
    for number in ("1", "2", "3"):
        await ann.send("bob", number, wait="accepted")
    await world.settle(120)
    assert not events.events


async def test_a_stream_goes_on_over_a_restart_of_both_ends(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    events = await gaps_of(bob)
    await ann.send("bob", "1", wait="stored")
    await ann.restart()
    await bob.restart()
    events = await gaps_of(bob)
    await ann.until_online()
    await ann.send("bob", "2", wait="stored")
    assert bob.mesh().streams[ann.app.node.device].got == 2
    assert ann.mesh().streams[bob.app.node.device].sent == 2
    await world.settle(120)
    assert not events.events


async def test_a_push_that_comes_twice_is_kept_once(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    world.cable(bob).incoming = pushes(lambda frame: [frame, frame])
    sent = await ann.send("bob", "once", wait="stored")
    await world.settle(5)
    assert await bob.read(all=True) == ["once"]
    world.cable(bob).incoming = None
    assert (await ann.until_state(sent, "shown"))["state"] == "shown"


async def test_what_came_before_a_restart_is_known_after_it(world: World) -> None:
    """The acknowledgement was lost with the daemon: the broker pushes again, the daemon knows it and says so."""
    ann, bob = await world.mesh("ann", "bob")
    world.cable(bob).outgoing = lambda frame: [] if method_of(frame) == "mail.ack" else [frame]
    await ann.send("bob", "once", wait="stored")
    await bob.crash()
    world.cable(bob).outgoing = None
    await bob.start()
    await bob.until_online()
    await world.settle(5)
    assert await bob.read(all=True) == ["once"]
    broker = next(iter(world.network.brokers.values())).database
    assert broker.reader.execute("SELECT count(*) FROM mail").fetchall() == [(0,)]


async def test_an_old_envelope_under_a_new_mailbox_number_is_not_shown_again(world: World) -> None:
    """A broker that replays: the same envelope, another number, after a restart."""
    ann, bob = await world.mesh("ann", "bob")
    kept: list[bytes] = []
    world.cable(bob).incoming = pushes(lambda frame: kept.append(frame) or [frame])  # type: ignore[func-returns-value]
    await ann.send("bob", "once", wait="stored")
    await bob.restart()
    await bob.until_online()
    frame = split_message(kept[0])
    header = decode(frame.header)
    assert isinstance(header, list)
    params = header[2]
    assert isinstance(params, dict)
    replayed = encode_frame(encode([2, "mail", {**params, "mseq": 77}]), frame.body)
    world.cable(bob).incoming = pushes(lambda frame: [replayed, frame])
    await ann.send("bob", "twice", wait="stored")
    await world.settle(5)
    assert await bob.read(all=True) == ["once", "twice"]


async def test_what_comes_behind_a_message_that_has_no_room_waits_for_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await world.unplug(bob)
    for text in ("one", "two", "three"):
        await ann.send("bob", text, wait="accepted")
    add, refused = inbox_rows.add_inbox, []

    def add_once_there_is_room(tx: apsw.Connection, row: InboxRow) -> int:
        if not refused:
            refused.append(row)
            raise MeshError("storage_full")
        return add(tx, row)

    monkeypatch.setattr(inbox_rows, "add_inbox", add_once_there_is_room)
    await world.plug(bob)
    await world.settle(90)
    assert refused
    assert await bob.read() == ["one", "two", "three"]
