"""An audit that is full: it loses its oldest entries, and nothing that was wrong with them."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import apsw
import pytest
import trio

from mesh_protocol.wire.errors import MeshError
from meshd.audit_entry import read_entry
from meshd.store.audit import bounds
from world.machine import Machine
from world.world import World

KEPT = 20
SLACK = 10
T = TypeVar("T")
CHANGES = {"peer": "bob", "policy": "allow"}


def keep_few(machine: Machine) -> None:
    machine.app.audit.bound, machine.app.audit.slack = KEPT, SLACK


async def full(world: World) -> Machine:
    """A machine whose audit has dropped some of its entries."""
    ann, _ = await world.mesh("ann", "bob")
    keep_few(ann)
    await change(ann, 30)
    assert bounds(ann.app.node.db.reader)[0] > 1
    return ann


async def change(machine: Machine, times: int) -> None:
    for _ in range(times):
        await machine.call("trust.set", **CHANGES)


def by_hand(machine: Machine, sql: str, *values: object) -> None:
    """By somebody with the rights of this user."""
    db = apsw.Connection(str(machine.paths.database))
    db.execute(sql, values)
    db.close()


async def broken(machine: Machine) -> tuple[object, str]:
    with pytest.raises(MeshError) as caught:
        await machine.call("audit.verify")
    assert caught.value.code == "audit_broken"
    return caught.value.data["entry"], str(caught.value.data["why"])


async def doctor(machine: Machine) -> dict[str, str]:
    checks = (await machine.call("daemon.doctor"))["checks"]
    return next(check for check in checks if check["name"] == "audit")


async def test_it_stays_within_its_bound_and_verifies(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    began = (await ann.call("audit.verify"))["since_ms"]
    keep_few(ann)
    for written in range(5, 100, 2):
        await change(ann, 1)
        first, last = bounds(ann.app.node.db.reader)
        told = await ann.call("audit.verify")
        assert last - first <= KEPT + SLACK
        assert (told["entries"], told["since_ms"]) == (last, began)
        assert told["first"] == (1 if first == 1 else first + 1)
        assert last == written + 2
    assert first > 60
    rows = (await ann.call("audit.list", limit=200))["rows"]
    assert rows[-1]["operation"] == "audit.checkpoint"
    assert (await doctor(ann))["ok"] == "ok"
    await ann.restart()
    assert (await ann.call("audit.verify"))["entries"] == last


async def test_nothing_is_dropped_from_under_who_verifies_it(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await change(ann, 150)
    keep_few(ann)
    node = ann.app.node

    async def slowly(work: Callable[[], T]) -> T:
        await trio.sleep(5)
        return work()

    verified: list[int] = []

    async def verify() -> None:
        verified.append((await ann.call("audit.verify"))["first"])

    async with trio.open_nursery() as nursery:
        quick, node.seams = node.seams, replace(node.seams, threads=slowly)
        nursery.start_soon(verify)
        await trio.sleep(1)
        node.seams = quick
        await change(ann, 2)
    assert verified == [1]
    await change(ann, 1)
    assert bounds(node.db.reader)[0] > 1, "it is dropped afterwards"
    assert (await ann.call("audit.verify"))["first"] > 1


CUTS = {
    "the checkpoint": ("DELETE FROM audit WHERE seq=(SELECT min(seq) FROM audit)", 1),
    "the beginning": ("DELETE FROM audit WHERE seq<(SELECT min(seq)+5 FROM audit)", 1),
    "one behind the checkpoint": ("DELETE FROM audit WHERE seq=(SELECT min(seq)+1 FROM audit)", 0),
}


@pytest.mark.parametrize("cut", CUTS)
async def test_what_is_taken_out_at_its_beginning_is_named(world: World, cut: str) -> None:
    ann = await full(world)
    sql, named = CUTS[cut]
    first, _ = bounds(ann.app.node.db.reader)
    by_hand(ann, sql)
    wrong, _ = await broken(ann)
    assert wrong == (named or first + 1)
    await change(ann, 40)
    assert (await broken(ann))[0] == wrong, "also when all of it was dropped since"
    await ann.restart()
    assert (await broken(ann))[0] == wrong


async def test_what_was_wrong_with_entries_that_are_dropped_stays_named(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    by_hand(ann, "UPDATE audit SET entry=CAST(replace(entry, 'person', 'nobody') AS BLOB) WHERE seq=3")
    entry, why = await broken(ann)
    assert entry == 3
    keep_few(ann)
    for _ in range(3):
        await change(ann, 30)
        assert await broken(ann) == (3, f"{why} (and was dropped since)")
    await ann.restart()
    assert (await broken(ann))[0] == 3
    assert bounds(ann.app.node.db.reader)[0] > 100


async def test_an_older_checkpoint_does_not_stand_for_what_a_newer_one_dropped(world: World) -> None:
    ann = await full(world)
    number, data = ann.app.node.db.reader.execute("SELECT seq, entry FROM audit ORDER BY seq LIMIT 1").fetchone()
    await change(ann, 30)
    first, _ = bounds(ann.app.node.db.reader)
    assert first > number
    by_hand(ann, "DELETE FROM audit WHERE seq=?", first)
    by_hand(ann, "INSERT INTO audit VALUES(?,?)", number, data)
    assert (await broken(ann))[0] == number + 1
    by_hand(ann, "UPDATE audit SET seq=? WHERE seq=?", first, number)
    assert (await broken(ann))[0] == 1, "nor under another number"


async def test_a_checkpoint_says_since_when_and_is_signed(world: World) -> None:
    ann = await full(world)
    number, data = ann.app.node.db.reader.execute("SELECT seq, entry FROM audit ORDER BY seq LIMIT 1").fetchone()
    entry = read_entry(data, ann.app.node.device)
    assert (entry.seq, entry.deed.operation, entry.deed.who) == (number, "audit.checkpoint", "daemon")
    assert dict(entry.deed.target).keys() == {"since"}


async def test_doctor_says_a_broken_end_and_what_to_do(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    assert (await doctor(ann))["text"] == "5 entries, whole at its end"
    by_hand(ann, "DELETE FROM audit WHERE seq=(SELECT max(seq) FROM audit)")
    check = await doctor(ann)
    assert (check["ok"], "docs/audit.md" in check["fix"], "the end is missing" in check["text"]) == ("bad", True, True)
    await change(ann, 1)
    assert (await doctor(ann))["ok"] == "bad", "it stays said when the log has gone on"
    await change(ann, 120)
    assert (await doctor(ann))["ok"] == "bad", "and when that is far behind"


async def test_doctor_counts_a_first_entry_as_one(world: World) -> None:
    assert (await doctor(await world.machine("ann")))["text"] == "1 entry, whole at its end"


async def test_doctor_reads_the_end_of_a_long_log_only(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await change(ann, 60)
    by_hand(ann, "UPDATE audit SET entry=x'00' WHERE seq=2")
    assert (await doctor(ann))["ok"] == "ok", "that is for mesh audit verify"
    assert (await broken(ann))[0] == 2
    by_hand(ann, "UPDATE audit SET entry=x'00' WHERE seq=(SELECT max(seq)-50 FROM audit)")
    assert (await doctor(ann))["ok"] == "bad"


async def test_without_room_to_drop_any_a_change_is_made_and_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, _ = await world.mesh("ann", "bob")
    keep_few(ann)

    def no_room(*_: object) -> None:
        raise MeshError("storage_full")

    with monkeypatch.context() as patch:
        patch.setattr("meshd.store.audit.drop_before", no_room)
        await change(ann, 20)
    first, last = bounds(ann.app.node.db.reader)
    assert (first, last) == (1, 45)
    await change(ann, 1)
    assert bounds(ann.app.node.db.reader)[0] > 1
    assert (await ann.call("audit.verify"))["entries"] == 47
