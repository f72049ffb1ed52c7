"""Prekeys: only one's own is put, only those of the mesh are taken, and an invite's key sees the signers' alone."""

from pathlib import Path

from broker_kit.people import Device, seeded
from broker_kit.stand import Stand, open_memory_stand
from mesh_broker.limits import Limits
from mesh_protocol.broker_api import Done, PrekeyAnswer, PrekeyPut, PrekeyTake
from mesh_protocol.invite import invite_key


async def test_a_prekey_is_given_to_the_members_in_the_order_they_ask(stand: Stand) -> None:
    mesh, ann = await stand.create()
    bob = Device("bob")
    await ann.append(mesh, mesh.add_member(bob))
    side = await stand.enter(mesh, bob)
    keys = {}
    for device, each in ((mesh.owner, ann), (bob, side)):
        keys[device.id] = device.signed_prekey(mesh.id).encode()
        await each.call(PrekeyPut(mesh=mesh.id), Done, keys[device.id])
    for order in ([mesh.owner.id, bob.id], [bob.id, mesh.owner.id]):
        found = await side.items(PrekeyTake(mesh=mesh.id, devices=[*order]), PrekeyAnswer)
        assert found == [keys[device] for device in order]


async def test_the_newest_prekey_replaces_the_one_before(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    for number in (1, 2):
        await ann.call(PrekeyPut(mesh=mesh.id), Done, mesh.owner.signed_prekey(mesh.id, number).encode())
    found = await ann.items(PrekeyTake(mesh=mesh.id, devices=[mesh.owner.id]), PrekeyAnswer)
    assert found == [mesh.owner.signed_prekey(mesh.id, 2).encode()]


async def test_devices_without_a_prekey_or_outside_the_mesh_are_left_out(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    bob = Device("bob")
    await ann.append(mesh, mesh.add_member(bob))
    devices = [bob.id, Device("stranger").id]
    assert await ann.items(PrekeyTake(mesh=mesh.id, devices=[*devices]), PrekeyAnswer) == []


async def test_only_ones_own_prekey_for_this_mesh_is_taken(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    other, _ = await memory_stand.create("zoe", "other")
    good = mesh.owner.signed_prekey(mesh.id).encode()
    forged = good[:-1] + bytes([good[-1] ^ 1])
    for body in (
        Device("bob").signed_prekey(mesh.id).encode(),
        mesh.owner.signed_prekey(other.id).encode(),
        forged,
        b"",
    ):
        assert await ann.refusal(PrekeyPut(mesh=mesh.id), body) == "bad_envelope"
    assert await ann.refusal(PrekeyPut(mesh=mesh.id), bytes(2000)) == "bad_request"


async def test_an_invites_key_takes_the_signers_prekeys_and_no_others(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    bob = Device("bob")
    await ann.append(mesh, mesh.add_member(bob))
    await ann.call(PrekeyPut(mesh=mesh.id), Done, mesh.owner.signed_prekey(mesh.id).encode())
    await ann.invite(mesh, seeded("secret"))
    side = await memory_stand.connect()
    await side.hello(mesh.id, invite_key(seeded("secret")), invite=True)
    assert len(await side.items(PrekeyTake(mesh=mesh.id, devices=[mesh.owner.id]), PrekeyAnswer)) == 1
    assert await side.refusal(PrekeyTake(mesh=mesh.id, devices=[mesh.owner.id, bob.id])) == "not_allowed"
    assert await side.refusal(PrekeyPut(mesh=mesh.id), bob.signed_prekey(mesh.id).encode()) == "not_allowed"


async def test_taking_without_end_is_slowed_down(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(prekey_rate=0.001, prekey_burst=2)) as stand:
        mesh, ann = await stand.create()
        request = PrekeyTake(mesh=mesh.id, devices=[mesh.owner.id])
        for _ in range(2):
            await ann.items(request, PrekeyAnswer)
        assert await ann.refusal(request) == "rate_limited"


async def test_a_prekey_outlives_a_restart(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path) as stand:
        mesh, ann = await stand.create()
        await ann.call(PrekeyPut(mesh=mesh.id), Done, mesh.owner.signed_prekey(mesh.id).encode())
    async with open_memory_stand(tmp_path) as stand:
        ann = await stand.enter(mesh, mesh.owner)
        assert len(await ann.items(PrekeyTake(mesh=mesh.id, devices=[mesh.owner.id]), PrekeyAnswer)) == 1
