"""Who may come in, who comes instead of whom, and what a refusal says."""

from pathlib import Path

import msgspec
import pytest
import trio

from broker_kit.people import START_MS, Device, invite_id, join_request, new_mesh, seeded
from broker_kit.stand import TOKEN, Stand, open_memory_stand
from mesh_broker.limits import DAY_MS, Limits
from mesh_protocol.broker_api import HelloAnswer, JoinAnswer, JoinAsk, Stats, StatsAnswer
from mesh_protocol.broker_chain import ChainAnswer, ChainRead
from mesh_protocol.ids import MeshId
from mesh_protocol.invite import invite_key
from mesh_protocol.pae import lst
from mesh_protocol.tip import Tip, verify_tip
from mesh_protocol.wire.errors import RemoteError

SECRET = seeded("an invite's secret")


async def test_a_device_of_the_mesh_is_greeted_with_the_brokers_signed_tip(stand: Stand) -> None:
    mesh, _ = await stand.create()
    side = await stand.connect()
    answer = await side.hello(mesh.id, mesh.owner.key)
    tip = Tip.decode(answer.tip)
    verify_tip(tip, mesh.id, stand.broker.public_key)
    assert (tip.ref.chain_seq, tip.ref.chain_hash, tip.ref.log_seq) == (2, mesh.head, 2)
    assert answer.server_ms == START_MS


async def test_the_first_words_are_the_brokers_key_and_a_fresh_challenge(stand: Stand) -> None:
    one, two = await stand.connect(), await stand.connect()
    assert one.challenge.broker_key == two.challenge.broker_key == stand.broker.public_key
    assert one.challenge.challenge != two.challenge.challenge


async def test_nothing_is_answered_before_a_hello(stand: Stand) -> None:
    mesh, _ = await stand.create()
    side = await stand.connect()
    assert await side.refusal(ChainRead(mesh=mesh.id, after=0)) == "not_allowed"
    assert await side.refusal(Stats(mesh=mesh.id)) == "not_allowed"


async def test_a_hello_for_one_mesh_opens_no_other(memory_stand: Stand) -> None:
    mesh, _ = await memory_stand.create("ann", "one")
    other, _ = await memory_stand.create("bob", "two")
    side = await memory_stand.enter(mesh, mesh.owner)
    assert await side.refusal(ChainRead(mesh=other.id, after=0)) == "not_allowed"


async def test_one_connection_enters_several_meshes(memory_stand: Stand) -> None:
    mesh, side = await memory_stand.create("ann", "one")
    second = new_mesh(mesh.owner, memory_stand.broker.public_key, "two")
    await side.hello(second.id, mesh.owner.key, create=second)
    for each in (mesh, second):
        assert (await side.call(Stats(mesh=each.id), StatsAnswer)).devices_online == 1


async def test_a_hello_signed_by_another_key_is_refused(stand: Stand) -> None:
    mesh, _ = await stand.create()
    side = await stand.connect()
    request, _ = side.hello_request(mesh.id, mesh.owner.key, signer=Device("mallory").key)
    assert await side.refusal(request) == "broker_refused"


@pytest.mark.parametrize(
    ("field", "value"), [("nonce", bytes(32)), ("generation", 9), ("ver_max", 2), ("mesh", bytes(32))]
)
async def test_no_part_of_a_hello_can_be_changed_after_it_was_signed(
    memory_stand: Stand, field: str, value: int | bytes
) -> None:
    mesh, _ = await memory_stand.create()
    side = await memory_stand.connect()
    request, _ = side.hello_request(mesh.id, mesh.owner.key)
    assert await side.refusal(msgspec.structs.replace(request, **{field: value})) == "broker_refused"


async def test_a_hello_cannot_be_replayed_on_another_connection(memory_stand: Stand) -> None:
    mesh, _ = await memory_stand.create()
    one, two = await memory_stand.connect(), await memory_stand.connect()
    request, _ = one.hello_request(mesh.id, mesh.owner.key)
    await one.call(request, HelloAnswer)
    assert await two.refusal(request) == "broker_refused"


async def test_a_device_outside_the_mesh_is_refused(stand: Stand) -> None:
    mesh, _ = await stand.create()
    side = await stand.connect()
    request, _ = side.hello_request(mesh.id, Device("stranger").key)
    assert await side.refusal(request) == "broker_refused"


async def test_an_unknown_mesh_is_said_to_be_unknown(stand: Stand) -> None:
    side = await stand.connect()
    request, _ = side.hello_request(MeshId(seeded("nowhere")), Device("ann").key)
    assert await side.refusal(request) == "unknown_on_broker"


async def test_versions_that_do_not_meet_are_refused(memory_stand: Stand) -> None:
    mesh, _ = await memory_stand.create()
    side = await memory_stand.connect()
    request, _ = side.hello_request(mesh.id, mesh.owner.key, ver=(2, 9))
    assert await side.refusal(request) == "version_mismatch"


async def test_a_newer_daemon_that_still_speaks_our_version_is_greeted_in_it(memory_stand: Stand) -> None:
    mesh, _ = await memory_stand.create()
    side = await memory_stand.connect()
    request, _ = side.hello_request(mesh.id, mesh.owner.key, ver=(0, 9))
    assert (await side.call(request, HelloAnswer)).version == 1


# Generations: one device, one daemon.


async def test_a_lower_generation_is_a_clone_and_the_number_is_kept(memory_stand: Stand) -> None:
    mesh, _ = await memory_stand.create()
    await memory_stand.enter(mesh, mesh.owner, generation=7)
    side = await memory_stand.connect()
    request, _ = side.hello_request(mesh.id, mesh.owner.key, generation=6)
    assert await side.refusal(request) == "clone"
    box = memory_stand.broker.store.box(mesh.id, mesh.owner.id)
    assert box is not None
    assert memory_stand.broker.store.mailbox(box).generation == 7
    assert any('"clone"' in line for line in memory_stand.log)


async def test_a_newer_connection_of_a_device_takes_the_place_of_the_older(stand: Stand) -> None:
    mesh, older = await stand.create()
    newer = await stand.enter(mesh, mesh.owner)
    await older.closed()
    assert (await newer.call(Stats(mesh=mesh.id), StatsAnswer)).devices_online == 1


async def test_a_second_hello_on_the_same_connection_keeps_it(memory_stand: Stand) -> None:
    mesh, side = await memory_stand.create()
    await side.hello(mesh.id, mesh.owner.key, generation=2)
    assert (await side.call(Stats(mesh=mesh.id), StatsAnswer)).devices_online == 1


# New meshes.


async def test_off_this_machine_a_new_mesh_needs_the_admission_token(memory_stand: Stand) -> None:
    mesh = new_mesh(Device("ann"), memory_stand.broker.public_key)
    side = await memory_stand.connect(loopback=False, address="192.0.2.7")
    for token in (b"", TOKEN + b"x"):
        with pytest.raises(RemoteError) as caught:
            await side.hello(mesh.id, mesh.owner.key, create=mesh, token=token)
        assert caught.value.code == "admission_needed"
    await side.hello(mesh.id, mesh.owner.key, create=mesh, token=TOKEN)


async def test_a_device_of_this_machine_makes_ten_meshes_without_a_token(memory_stand: Stand) -> None:
    ann = Device("ann")
    meshes = [new_mesh(ann, memory_stand.broker.public_key, f"mesh {n}") for n in range(12)]
    side = await memory_stand.connect()
    for mesh in meshes[:10]:
        await side.hello(mesh.id, ann.key, create=mesh)
    with pytest.raises(RemoteError) as caught:
        await side.hello(meshes[10].id, ann.key, create=meshes[10])
    assert caught.value.code == "admission_needed"
    await side.hello(meshes[11].id, ann.key, create=meshes[11], token=TOKEN)


async def test_creating_a_mesh_again_is_an_ordinary_hello(memory_stand: Stand) -> None:
    mesh, _ = await memory_stand.create()
    side = await memory_stand.connect()
    await side.hello(mesh.id, mesh.owner.key, create=mesh)
    assert memory_stand.broker.store.records(mesh.id, 0, 10, 10**6) == [record.encode() for record in mesh.records]


@pytest.mark.parametrize("wrong", ["broker", "device", "mesh", "epoch", "bytes"])
async def test_a_genesis_that_does_not_fit_makes_no_mesh(memory_stand: Stand, wrong: str) -> None:
    ann, bob = Device("ann"), Device("bob")
    mesh = new_mesh(ann, seeded("another broker") if wrong == "broker" else memory_stand.broker.public_key)
    side = await memory_stand.connect()
    request, _ = side.hello_request(
        MeshId(seeded("else")) if wrong == "mesh" else mesh.id, (bob if wrong == "device" else ann).key, create=True
    )
    records = mesh.records[:1] if wrong == "epoch" else mesh.records
    body = lst(*(record.encode() for record in records))
    assert await side.refusal(request, body[:-1] if wrong == "bytes" else body) == "chain_invalid"
    assert memory_stand.broker.store.chain_end(mesh.id) is None


# Invites.


async def test_the_key_of_an_open_invite_may_read_the_chain_and_no_more(stand: Stand) -> None:
    mesh, owner = await stand.create()
    await owner.invite(mesh, SECRET)
    side = await stand.connect()
    await side.hello(mesh.id, invite_key(SECRET), invite=True)
    assert len(await side.items(ChainRead(mesh=mesh.id, after=0), ChainAnswer)) == 3
    assert await side.refusal(Stats(mesh=mesh.id)) == "not_allowed"


async def test_a_key_of_no_invite_is_refused(memory_stand: Stand) -> None:
    mesh, _ = await memory_stand.create()
    side = await memory_stand.connect()
    request, _ = side.hello_request(mesh.id, invite_key(SECRET), invite=True)
    assert await side.refusal(request) == "invite_unknown"


async def test_an_invites_key_is_no_device(memory_stand: Stand) -> None:
    mesh, owner = await memory_stand.create()
    await owner.invite(mesh, SECRET)
    side = await memory_stand.connect()
    request, _ = side.hello_request(mesh.id, invite_key(SECRET))
    assert await side.refusal(request) == "broker_refused"


async def test_a_used_invite_opens_nothing_any_more(memory_stand: Stand) -> None:
    mesh, owner = await memory_stand.create()
    record = await owner.invite(mesh, SECRET)
    other = await memory_stand.connect()
    await other.hello(mesh.id, invite_key(SECRET), invite=True)
    await owner.append(mesh, mesh.add_member(Device("bob"), invite=invite_id(record)))
    late = await memory_stand.connect()
    request, _ = late.hello_request(mesh.id, invite_key(SECRET), invite=True)
    assert await late.refusal(request) == "invite_used"
    assert await other.refusal(ChainRead(mesh=mesh.id, after=0)) == "not_allowed"


async def test_whoever_asked_and_was_admitted_sees_it_and_comes_back_as_a_device(memory_stand: Stand) -> None:
    mesh, owner = await memory_stand.create()
    record = await owner.invite(mesh, SECRET)
    bob, side = Device("bob"), await memory_stand.connect()
    await side.hello(mesh.id, invite_key(SECRET), invite=True)
    await side.call(
        JoinAsk(mesh=mesh.id, invite=invite_id(record)), JoinAnswer, join_request(mesh, record, SECRET, bob)
    )
    await owner.append(mesh, mesh.add_member(bob, invite=invite_id(record)))
    await side.heard("tip")
    assert len(await side.items(ChainRead(mesh=mesh.id, after=3), ChainAnswer)) == 1
    await side.hello(mesh.id, invite_key(SECRET), invite=True)
    assert len(await side.items(ChainRead(mesh=mesh.id, after=3), ChainAnswer)) == 1
    await side.hello(mesh.id, bob.key)
    assert (await side.call(Stats(mesh=mesh.id), StatsAnswer)).devices_online == 2


async def test_an_invite_that_expired_a_month_ago_opens_nothing(memory_stand: Stand) -> None:
    mesh, owner = await memory_stand.create()
    await owner.invite(mesh, SECRET)
    memory_stand.clock.ms += 31 * DAY_MS
    side = await memory_stand.connect()
    request, _ = side.hello_request(mesh.id, invite_key(SECRET), invite=True)
    assert await side.refusal(request) == "invite_expired"


# Deadlines and failures.


async def test_a_connection_that_says_no_hello_is_closed(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with open_memory_stand(tmp_path) as stand:
        side = await stand.connect()
        began = trio.current_time()
        await side.connection.wait_closed()
        assert trio.current_time() - began == pytest.approx(stand.broker.limits.hello_seconds, abs=1.1)


async def test_a_connection_with_nothing_but_refused_hellos_is_closed(memory_stand: Stand) -> None:
    side = await memory_stand.connect()
    request, _ = side.hello_request(MeshId(seeded("nowhere")), Device("ann").key)
    for _ in range(memory_stand.broker.limits.hellos_refused):
        assert await side.refusal(request) == "unknown_on_broker"
    await side.closed()


async def test_a_mesh_that_is_refused_again_and_again_does_not_end_the_connection_of_another(
    memory_stand: Stand,
) -> None:
    mesh, _ = await memory_stand.create()
    side = await memory_stand.connect()
    await side.hello(mesh.id, mesh.owner.key)
    request, _ = side.hello_request(MeshId(seeded("nowhere")), mesh.owner.key)
    for _ in range(memory_stand.broker.limits.hellos_refused + 1):
        assert await side.refusal(request) in ("unknown_on_broker", "rate_limited")
    assert side.connection.closed is None


async def test_failing_hellos_bring_a_penalty_to_that_device_at_that_address_alone(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    async with open_memory_stand(tmp_path, Limits(hellos_refused=100, hello_seconds=1000)) as stand:
        mesh, _ = await stand.create()
        side = await stand.connect()
        stranger, _ = side.hello_request(mesh.id, Device("stranger").key)
        codes = [await side.refusal(stranger) for _ in range(6)]
        assert codes == ["broker_refused"] * 5 + ["rate_limited"]
        await side.hello(mesh.id, mesh.owner.key)
        elsewhere = await stand.connect(address="192.0.2.9")
        request, _ = elsewhere.hello_request(mesh.id, Device("stranger").key)
        assert await elsewhere.refusal(request) == "broker_refused"
        await trio.sleep(61)
        assert await side.refusal(stranger) == "broker_refused"


async def test_forged_hellos_do_not_lock_out_the_device_they_claim(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(hellos_refused=100)) as stand:
        mesh, _ = await stand.create()
        forger = await stand.connect()
        forged, _ = forger.hello_request(mesh.id, mesh.owner.key, signer=Device("mallory").key)
        codes = [await forger.refusal(forged) for _ in range(7)]
        assert codes == ["broker_refused"] * 5 + ["rate_limited"] * 2
        await (await stand.connect()).hello(mesh.id, mesh.owner.key)


async def test_a_hello_with_a_body_nobody_asked_for_is_too_much(memory_stand: Stand) -> None:
    side = await memory_stand.connect()
    for create, size in ((False, 1), (True, 64 * 1024 + 1)):
        request, _ = side.hello_request(MeshId(seeded("nowhere")), Device("ann").key, create=create)
        assert await side.refusal(request, bytes(size)) == "bad_request"
