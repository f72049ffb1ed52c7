"""One-time prekeys: each is handed out once, whoever asks, whatever dies; who asks too often, or too late, gets none."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from broker_kit.people import START_MS, Device, Mesh, seeded
from broker_kit.side import Side
from broker_kit.stand import Stand, open_memory_stand
from mesh_broker.limits import Limits
from mesh_protocol.broker_api import (
    PREKEYS_LOW,
    Done,
    PrekeyAdd,
    PrekeyAnswer,
    PrekeyLeft,
    PrekeyPut,
    PrekeyStock,
    PrekeyTake,
    PrekeyWithdraw,
)
from mesh_protocol.invite import invite_key
from mesh_protocol.keys import PrekeyPrivate
from mesh_protocol.pae import unlst
from mesh_protocol.prekeys import FIRST_ONETIME, MAX_BATCH, OneTimeBatch, sign_batch, unpack_given, verify_batch

FREE = Limits(onetime_seconds=0, prekey_burst=10_000)


def batch_of(device: Device, mesh: Mesh, count: int = 3, number: int = 0) -> OneTimeBatch:
    pubs = [PrekeyPrivate.from_seed(seeded("onetime", device.name, number, place)).public for place in range(count)]
    return sign_batch(device.key, mesh.id, FIRST_ONETIME + number * MAX_BATCH, START_MS, pubs)


async def take(side: Side, mesh: Mesh, *devices: Device) -> list[int]:
    """The ids of the one-time prekeys that are given."""
    wanted = [device.id for device in devices]
    request = PrekeyTake(mesh=mesh.id, devices=[*wanted], onetime=[*wanted])
    answer, body = await side.call_with_body(request, PrekeyAnswer)
    given = [unpack_given(item) for item in unlst(body, max_items=64)[answer.count :]]
    assert len(given) == answer.onetime
    for _, batch in given:
        verify_batch(batch, mesh.id, batch.device)
    return [batch.key(place).prekey_id for place, batch in given]


async def with_bob(stand: Stand) -> tuple[Mesh, Side, Device, Side]:
    mesh, ann = await stand.create()
    bob = Device("bob")
    await ann.append(mesh, mesh.add_member(bob))
    return mesh, ann, bob, await stand.enter(mesh, bob)


async def add(side: Side, mesh: Mesh, batch: OneTimeBatch, *, replace: bool = False) -> int:
    return (await side.call(PrekeyAdd(mesh=mesh.id, replace=replace), PrekeyStock, batch.encode())).left


async def left(side: Side, mesh: Mesh) -> int:
    return (await side.call(PrekeyLeft(mesh=mesh.id), PrekeyStock)).left


async def test_each_one_time_prekey_is_given_once_and_then_only_the_signed_one(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, FREE) as stand:
        mesh, ann, bob, side = await with_bob(stand)
        await side.call(PrekeyPut(mesh=mesh.id), Done, bob.signed_prekey(mesh.id).encode())
        assert await add(side, mesh, batch_of(bob, mesh)) == 3
        found = [await take(ann, mesh, bob) for _ in range(4)]
        assert found == [[FIRST_ONETIME], [FIRST_ONETIME + 1], [FIRST_ONETIME + 2], []]
        assert await left(side, mesh) == 0
        signed = await ann.items(PrekeyTake(mesh=mesh.id, devices=[bob.id], onetime=[bob.id]), PrekeyAnswer)
        assert signed == [bob.signed_prekey(mesh.id).encode()]


async def test_what_was_given_is_gone_after_a_restart_and_the_rest_is_there(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, FREE) as stand:
        mesh, ann, bob, side = await with_bob(stand)
        await add(side, mesh, batch_of(bob, mesh))
        assert await take(ann, mesh, bob) == [FIRST_ONETIME]
    async with open_memory_stand(tmp_path, FREE) as stand:
        ann = await stand.enter(mesh, mesh.owner)
        assert await take(ann, mesh, bob) == [FIRST_ONETIME + 1]


async def test_one_device_gets_one_of_another_in_ten_seconds_and_a_third_is_not_slowed(memory_stand: Stand) -> None:
    mesh, ann, bob, side = await with_bob(memory_stand)
    eve = Device("eve")
    await ann.append(mesh, mesh.add_member(eve))
    third = await memory_stand.enter(mesh, eve)
    await add(side, mesh, batch_of(bob, mesh))
    assert await take(ann, mesh, bob) == [FIRST_ONETIME]
    assert await take(ann, mesh, bob) == []
    assert await take(third, mesh, bob) == [FIRST_ONETIME + 1]
    assert await left(side, mesh) == 1


async def test_many_devices_are_asked_for_in_one_call(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, FREE) as stand:
        mesh, ann, bob, side = await with_bob(stand)
        eve = Device("eve")
        await ann.append(mesh, mesh.add_member(eve))
        other = await stand.enter(mesh, eve)
        await add(side, mesh, batch_of(bob, mesh, number=1))
        await add(other, mesh, batch_of(eve, mesh, number=2))
        assert await take(ann, mesh, eve, bob) == [FIRST_ONETIME + 200, FIRST_ONETIME + 100]
        assert await take(side, mesh, bob) == [], "one's own are not for oneself"


async def test_a_second_batch_is_used_after_the_first_a_third_drops_the_oldest_and_one_may_replace_all(
    tmp_path: Path,
) -> None:
    async with open_memory_stand(tmp_path, FREE) as stand:
        mesh, ann, bob, side = await with_bob(stand)
        assert [await add(side, mesh, batch_of(bob, mesh, number=each)) for each in (0, 1)] == [3, 6]
        assert await add(side, mesh, batch_of(bob, mesh, number=1)) == 6, "the same again changes nothing"
        assert await take(ann, mesh, bob) == [FIRST_ONETIME]
        assert await add(side, mesh, batch_of(bob, mesh, number=2)) == 6
        assert await take(ann, mesh, bob) == [FIRST_ONETIME + 100]
        assert await add(side, mesh, batch_of(bob, mesh, number=3), replace=True) == 3
        assert await take(ann, mesh, bob) == [FIRST_ONETIME + 300]


async def test_a_device_is_told_when_few_are_left(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, FREE) as stand:
        mesh, ann, bob, side = await with_bob(stand)
        await add(side, mesh, batch_of(bob, mesh, 31))
        await take(ann, mesh, bob)
        await take(ann, mesh, bob)
        told = await side.heard(PREKEYS_LOW)
        assert told.params["left"] == 29


@pytest.mark.parametrize("wrong", ["foreign", "elsewhere", "forged", "none", "cut"])
async def test_only_ones_own_batch_for_this_mesh_is_taken(memory_stand: Stand, wrong: str) -> None:
    mesh, ann = await memory_stand.create()
    other, _ = await memory_stand.create("zoe", "other")
    good = batch_of(mesh.owner, mesh).encode()
    body = {
        "foreign": batch_of(Device("bob"), mesh).encode(),
        "elsewhere": batch_of(mesh.owner, other).encode(),
        "forged": good[:-1] + bytes([good[-1] ^ 1]),
        "none": b"",
        "cut": good[:-1],
    }[wrong]
    assert await ann.refusal(PrekeyAdd(mesh=mesh.id), body) == "bad_envelope"
    assert await left(ann, mesh) == 0


async def test_a_device_takes_its_prekeys_away_and_nobody_elses(memory_stand: Stand) -> None:
    mesh, ann, bob, side = await with_bob(memory_stand)
    for device, each in ((mesh.owner, ann), (bob, side)):
        await add(each, mesh, batch_of(device, mesh))
        await each.call(PrekeyPut(mesh=mesh.id), Done, device.signed_prekey(mesh.id).encode())
    await side.call(PrekeyWithdraw(mesh=mesh.id), Done)
    assert (await left(side, mesh), await left(ann, mesh)) == (0, 3)
    wanted: Sequence[bytes] = [bob.id, mesh.owner.id]
    found = await ann.items(PrekeyTake(mesh=mesh.id, devices=[*wanted], onetime=[*wanted]), PrekeyAnswer)
    assert found == [mesh.owner.signed_prekey(mesh.id).encode()]
    await add(side, mesh, batch_of(bob, mesh))
    assert await left(side, mesh) == 3, "it may come back"


async def test_an_invites_key_gets_no_one_time_prekey_and_adds_none(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    batch = batch_of(mesh.owner, mesh)
    await add(ann, mesh, batch)
    await ann.invite(mesh, seeded("secret"))
    side = await memory_stand.connect()
    await side.hello(mesh.id, invite_key(seeded("secret")), invite=True)
    owner: Sequence[bytes] = [mesh.owner.id]
    request = PrekeyTake(mesh=mesh.id, devices=[*owner], onetime=[*owner])
    for asked, body in (
        (request, b""),
        (PrekeyAdd(mesh=mesh.id), batch.encode()),
        (PrekeyLeft(mesh=mesh.id), b""),
        (PrekeyWithdraw(mesh=mesh.id), b""),
    ):
        assert await side.refusal(asked, body) == "not_allowed"
    assert await left(ann, mesh) == 3


async def test_a_device_that_was_removed_is_not_handed_out(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, FREE) as stand:
        mesh, ann, bob, side = await with_bob(stand)
        await add(side, mesh, batch_of(bob, mesh))
        assert await take(ann, mesh, Device("stranger")) == []
        assert await take(ann, mesh, Device("stranger"), bob) == [FIRST_ONETIME]
