"""Sending over one connection: what the broker's answers mean, what an answer that does not come means, what may not go."""

from dataclasses import replace
from types import MappingProxyType

import pytest
import trio

from mesh_protocol.wire.codec import decode, encode
from mesh_protocol.wire.framing import encode_frame, split_message
from meshd.link.greeting import CALL_S
from meshd.outbox import Draft
from meshd.targets import Recipient
from world.machine import Machine
from world.network import Cable
from world.world import World

MONTH_MS = 31 * 24 * 3600 * 1000


class Answers:
    """A broker that answers one method otherwise, for so many times: with a refusal, or not at all."""

    def __init__(self, cable: Cable, method: str, code: str | None, times: int, **data: float) -> None:
        self._cable = cable
        self._method = method
        self._code = code
        self._times = times
        self._data = data
        self._lost: set[object] = set()
        self.asked = 0

    def outgoing(self, frame: bytes) -> list[bytes]:
        header = decode(split_message(frame).header)
        if not isinstance(header, list) or header[0] != 0 or header[2] != self._method:
            return [frame]
        self.asked += 1
        if self.asked > self._times:
            return [frame]
        if self._code is None:
            self._lost.add(header[1])
            return [frame]
        error = {"code": self._code, "message": "not so", "data": {**self._data}}
        self._cable.say(encode_frame(encode([1, header[1], error, None])))
        return []

    def incoming(self, frame: bytes) -> list[bytes]:
        header = decode(split_message(frame).header)
        lost = isinstance(header, list) and header[0] == 1 and header[1] in self._lost
        return [] if lost else [frame]


def answering(
    world: World, machine: Machine, code: str | None, times: int = 1, method: str = "mail.send", **data: float
) -> Answers:
    """Change what a machine's broker answers."""
    cable = world.cable(machine)
    answers = Answers(cable, method, code, times, **data)
    cable.outgoing, cable.incoming = answers.outgoing, answers.incoming
    return answers


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("unknown_device", "removed"),
        ("not_allowed", "refused"),
        ("too_large", "too_large"),
        ("bad_envelope", "refused"),
    ],
)
async def test_an_answer_that_no_retry_changes_ends_the_message_with_its_reason(
    world: World, code: str, state: str
) -> None:
    ann, bob = await world.mesh("ann", "bob")
    answers = answering(world, ann, code)
    sent = await ann.send("bob", "no", wait="stored")
    assert (sent["state"], sent["reached"]) == (state, False)
    assert sent["recipients"][0]["reason"]
    await world.settle(100)
    assert answers.asked == 1
    assert (await ann.send("bob", "the next one goes", wait="stored"))["reached"]
    assert (await bob.read())[-1] == "the next one goes"


@pytest.mark.parametrize("code", ["mailbox_full", "rate_limited", "storage_full", "a_code_of_a_newer_broker"])
async def test_any_other_answer_is_tried_again_until_it_is_taken(world: World, code: str) -> None:
    ann, bob = await world.mesh("ann", "bob")
    answers = answering(world, ann, code, 4)
    sent = await ann.send("bob", "at last", wait="stored", timeout=100)
    assert sent["reached"]
    assert answers.asked >= 5
    assert await bob.read() == ["at last"]


async def test_the_brokers_own_pause_is_kept(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    answering(world, ann, "rate_limited", retry_after=12)
    before = trio.current_time()
    assert (await ann.send("bob", "later", wait="stored"))["reached"]
    assert 12 <= trio.current_time() - before < 13


async def test_an_answer_that_does_not_come_ends_the_connection_and_the_message_goes_again(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    cable = world.cable(ann)
    link = cable.links[0]
    answering(world, ann, None)
    before = trio.current_time()
    sent = await ann.send("bob", "once", wait="stored")
    assert sent["reached"], "the recipient's own word came; the broker's did not"
    await world.until(lambda: link not in cable.links, 60, "the connection was given up")
    assert trio.current_time() - before <= CALL_S + 1
    await ann.until_online()
    await world.settle(5)
    assert await bob.read(all=True) == ["once"]


async def test_a_receipt_whose_answer_does_not_come_is_sent_again(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    cable = world.cable(bob)
    link = cable.links[0]
    answering(world, bob, None)
    sent = await ann.send("bob", "hello", wait="stored")
    assert sent["reached"]
    await world.until(lambda: link not in cable.links, 60, "the connection was given up")
    await bob.until_online()
    await world.settle(5)
    assert bob.app.node.db.reader.execute("SELECT count(*) FROM receipt_out").fetchall() == [(0,)]


@pytest.mark.parametrize(("code", "kept"), [("mailbox_full", True), ("unknown_device", False)])
async def test_a_receipt_that_is_refused_is_kept_or_dropped_as_the_answer_says(
    world: World, code: str, kept: bool
) -> None:
    ann, bob = await world.mesh("ann", "bob")
    answering(world, bob, code, 3 if kept else 1)
    sent = await ann.send("bob", "hello", wait="accepted")
    await world.settle(20)
    assert (await ann.progress(sent))["state"] == ("stored" if kept else "accepted")
    assert bob.app.node.db.reader.execute("SELECT count(*) FROM receipt_out").fetchall() == [(0,)]


async def test_what_waited_too_long_is_called_expired_and_not_refused(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await world.unplug(ann)
    sent = await ann.send("bob", "too late")
    for machine in (ann, bob):
        machine.clock.off_ms = MONTH_MS
    next(iter(world.network.brokers.values())).clock.off_ms = MONTH_MS
    await world.plug(ann)
    await world.settle(3)
    row = await ann.progress(sent)
    assert (row["state"], row["reason"]) == ("expired", "no receipt came in time")
    assert await bob.read(all=True) == []


async def test_nothing_goes_to_a_device_that_left_the_mesh_meanwhile(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await world.unplug(ann)
    sent = await ann.send("bob", "you are gone")
    mesh = ann.mesh()
    left = {**mesh.state.devices, bob.app.node.device: replace(mesh.state.devices[bob.app.node.device], active=False)}
    mesh.chain = replace(mesh.state, devices=MappingProxyType(left))
    await world.plug(ann)
    row = await ann.until_state(sent, "removed")
    assert row["reason"] == "the device is no longer in the mesh"
    assert await bob.read(all=True) == []


async def test_nothing_is_told_to_a_device_that_left_the_mesh_meanwhile(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    cable = world.cable(bob)
    cable.outgoing = lambda frame: [] if b"mail.send" in frame else [frame]
    await ann.send("bob", "hello", wait="accepted")
    await world.until(lambda: bob.mesh().streams, what="it came")
    await world.unplug(bob)
    cable.outgoing = None
    mesh = bob.mesh()
    left = {**mesh.state.devices, ann.app.node.device: replace(mesh.state.devices[ann.app.node.device], active=False)}
    mesh.chain = replace(mesh.state, devices=MappingProxyType(left))
    await world.plug(bob)
    await world.settle(2)
    assert bob.app.node.db.reader.execute("SELECT count(*) FROM receipt_out").fetchall() == [(0,)]


async def test_while_the_broker_shows_another_history_nothing_goes_out(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    mesh = ann.mesh()
    mesh.alarm = "another history"
    assert await ann.refusal("message.send", to="bob", message="x") == "broker_rollback"
    to = Recipient("bob", bob.mesh().row.member, (bob.app.node.device,), "")
    # One that was on its way into the outbox when the alarm rose.
    await ann.app.outbox.send(Draft(mesh, [to], "held", "human", "", "next", b"", b"", "user", ""))
    await bob.send("ann", "no receipt for this one yet")
    await world.settle(20)
    assert await bob.read(all=True) == []
    assert ann.app.node.db.reader.execute("SELECT count(*) FROM receipt_out").fetchall() == [(1,)]
    await world.cable(ann).cut()
    await world.until(lambda: not mesh.alarm, what="the broker agrees again")
    await world.settle(5)
    assert await bob.read() == ["held"]


async def test_mail_that_cannot_be_stored_for_want_of_room_comes_again(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    db = bob.app.node.db
    pages = await db.write(lambda tx: tx.pragma("page_count"))
    await db.write(lambda tx: tx.pragma("max_page_count", pages))
    sent = await ann.send("bob", "x" * 60_000, wait="accepted")
    await world.settle(20)
    assert (await ann.progress(sent))["state"] == "accepted"
    await db.write(lambda tx: tx.pragma("max_page_count", 2**30))
    await ann.until_state(sent, "stored", 120)
    assert await bob.read() == ["x" * 60_000]
