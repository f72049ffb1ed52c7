"""What the broker refuses for now, what ends on its way, and what was taken back too late: said truly, numbers accounted for."""

import pytest

from mesh_broker.limits import Limits
from world.machine import Machine
from world.talk import Answer, Talk
from world.world import World

DAY_MS = 24 * 3600 * 1000
REASONS = {
    "rate_limited": Limits(member_rate=0.05, member_burst=3),
    "mailbox_full": Limits(mailbox_rows=12),
}


async def queued(machine: Machine) -> list[Answer]:
    rows: list[Answer] = (await machine.call("outbox.list", limit=100))["waiting"]
    return [row for row in rows if row["state"] == "queued"]


async def gaps_of(machine: Machine) -> Talk:
    events = await machine.talk(machine.processes.shell)
    await events.call("events.subscribe", kinds=["gap"])
    return events


@pytest.mark.parametrize("reason", REASONS)
async def test_a_refusal_for_now_is_said_and_its_message_can_be_taken_back(world: World, reason: str) -> None:
    await world.broker(limits=REASONS[reason])
    ann, bob = await world.mesh("ann", "bob")
    await world.unplug(bob)
    sent = [await ann.send("bob", f"{n}") for n in range(7)]
    await world.settle(2)
    rows = await queued(ann)
    assert [row["message"] for row in rows] == ["3", "4", "5", "6"]
    assert {row["code"] for row in rows} == {reason}
    check = next(c for c in (await ann.call("daemon.doctor"))["checks"] if c["name"] == "outbox team")
    assert check["ok"] == ("warn" if reason == "rate_limited" else "ok")
    assert ("so fast" if reason == "rate_limited" else "mailboxes at the broker are full") in check["text"]
    for number in (3, 5):  # the one that was refused, and one behind it
        assert (await ann.call("outbox.cancel", id=sent[number]["id"]))["cancelled"] == 1
    await world.plug(bob)
    events = await gaps_of(bob)
    await world.settle(200)
    assert await bob.read() == ["0", "1", "2", "4", "6"]
    assert not events.events
    assert await queued(ann) == []


async def test_what_expired_while_the_machine_slept_is_followed_by_a_void(world: World) -> None:
    """Its clock is not held against the broker's before the link is up, so the expiry is found on the way out."""
    ann, bob = await world.mesh("ann", "bob")
    await ann.send("bob", "before", wait="stored")
    await world.unplug(ann)
    sent = await ann.send("bob", "too old")
    for machine in (ann, bob):
        machine.clock.off_ms += 31 * DAY_MS
    for house in world.network.brokers.values():
        house.clock.off_ms += 31 * DAY_MS
    await world.plug(ann)
    await ann.until_state(sent, "expired", 120)
    await bob.until_online()
    events = await gaps_of(bob)
    await ann.send("bob", "after", wait="stored")
    await world.settle(120)
    assert await bob.read() == ["before", "after"]
    assert not events.events


async def test_a_cancellation_that_came_too_late_gives_way_to_the_receipt(world: World) -> None:
    """The broker had accepted it; only its word was lost. What the recipient's machine signs is what counts."""
    ann, bob = await world.mesh("ann", "bob")
    cable = world.cable(ann)
    cable.incoming = lambda frame: []
    sent = await ann.send("bob", "on its way")
    await world.settle(1)
    assert (await ann.call("outbox.cancel", id=sent["id"]))["cancelled"] == 1
    assert (await ann.progress(sent))["state"] == "cancelled"
    cable.incoming = None
    await cable.cut()
    await ann.until_online()
    await ann.until_state(sent, "stored")
    assert await bob.read() == ["on its way"]
    await ann.until_state(sent, "shown")
