"""The recovery key of a mesh at its broker: it reads the chain, appends what it signs, and nothing else."""

from typing import Final

import pytest

from broker_kit.people import Device, Mesh, seeded
from broker_kit.side import PATIENCE, Side, append_body
from broker_kit.stand import Stand
from mesh_protocol import broker_api, broker_chain, broker_meeting
from mesh_protocol.broker_api import Done, Hello, PrekeyAnswer, PrekeyPut, PrekeyTake, TipAnswer
from mesh_protocol.broker_chain import ChainAnswer, ChainAppend, ChainRead
from mesh_protocol.chain import AddDevice, Epoch, Record, RevokeDevice, epoch_kc, make_record
from mesh_protocol.keys import SigningKey
from mesh_protocol.op import Request
from mesh_protocol.registry import operations_in
from mesh_protocol.wire.errors import RemoteError

KEY: Final = SigningKey.from_seed(seeded("recovery", "mesh"))


async def entered(stand: Stand, mesh: Mesh) -> Side:
    side = await stand.connect()
    await side.hello(mesh.id, KEY, generation=0)
    return side


def replaced(mesh: Mesh, device: Device, signer: SigningKey) -> list[Record]:
    """The owner's device goes and another of his comes, signed by this key."""
    bodies = [
        ("revoke_device", RevokeDevice(mesh.owner.id, ()).encode()),
        ("add_device", AddDevice(mesh.owner.member_id, device.id).encode()),
        ("epoch", Epoch(2, epoch_kc(mesh.id, 2, seeded("gk", 2))).encode()),
    ]
    records = [mesh.records[-1]]
    for kind, body in bodies:
        records.append(make_record(records[-1], kind, body, signer, mesh.id))
    return records[1:]


async def test_it_reads_the_chain_and_lets_a_new_device_in(stand: Stand) -> None:
    mesh, owner = await stand.create()
    await owner.call(PrekeyPut(mesh=mesh.id), Done, mesh.owner.signed_prekey(mesh.id).encode())
    side = await entered(stand, mesh)
    records = await side.items(ChainRead(mesh=mesh.id, after=0), ChainAnswer)
    assert records == [record.encode() for record in mesh.records]
    taken = await side.call(PrekeyTake(mesh=mesh.id, devices=[mesh.owner.id]), PrekeyAnswer)
    assert taken.count == 1
    phone = Device("phone")
    new = replaced(mesh, phone, KEY)
    await side.call(ChainAppend(mesh=mesh.id, previous=mesh.head), TipAnswer, append_body(new))
    assert (await owner.heard("tip")).params["mesh"] == mesh.id
    later = await stand.connect()
    await later.hello(mesh.id, phone.key)


async def test_it_appends_nothing_that_another_key_signed(stand: Stand) -> None:
    mesh, _ = await stand.create()
    side = await entered(stand, mesh)
    body = append_body(replaced(mesh, Device("phone"), mesh.owner.key))
    assert await side.refusal(ChainAppend(mesh=mesh.id, previous=mesh.head), body) == "not_allowed"
    reader = await stand.enter(mesh, mesh.owner)
    assert len(await reader.items(ChainRead(mesh=mesh.id, after=0), ChainAnswer)) == 2


async def test_everything_else_is_refused_to_it(memory_stand: Stand) -> None:
    mesh, _ = await memory_stand.create()
    side = await entered(memory_stand, mesh)
    allowed: tuple[type[Request], ...] = (Hello, ChainRead, ChainAppend, PrekeyTake)
    for method, operation in operations_in([broker_api, broker_chain, broker_meeting]).items():
        if operation.request not in allowed:
            with pytest.raises(RemoteError) as caught:
                await side.connection.call(method, {"mesh": mesh.id}, seconds=PATIENCE)
            assert caught.value.code == "not_allowed", method


async def test_two_of_its_connections_and_the_devices_do_not_put_each_other_out(memory_stand: Stand) -> None:
    mesh, owner = await memory_stand.create()
    one, two = await entered(memory_stand, mesh), await entered(memory_stand, mesh)
    for side in (one, two, owner):
        assert len(await side.items(ChainRead(mesh=mesh.id, after=0), ChainAnswer)) == 2


async def test_the_recovery_key_of_another_mesh_is_a_stranger(memory_stand: Stand) -> None:
    mesh, _ = await memory_stand.create("ann", "mesh")
    other, _ = await memory_stand.create("bob", "other")
    side = await memory_stand.connect()
    request, _ = side.hello_request(other.id, KEY)
    assert await side.refusal(request) == "broker_refused"
    assert mesh.id != other.id
