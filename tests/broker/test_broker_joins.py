"""The invite mailbox: who may ask, who is told, how long it lies."""

from pathlib import Path

import pytest

from broker_kit.people import START_MS, Device, Mesh, invite_id, join_request, seeded
from broker_kit.side import Side
from broker_kit.stand import Stand, open_memory_stand
from mesh_broker.invites import MAX_JOIN
from mesh_broker.limits import DAY_MS, Limits
from mesh_protocol.broker_api import Done, JoinAnswer, JoinAsk, JoinDrop, JoinList, JoinListAnswer
from mesh_protocol.chain import AddSigner, InviteClose, Record
from mesh_protocol.invite import invite_key

SECRET = seeded("secret")


async def invited(stand: Stand, uses: int = 1) -> tuple[Mesh, Side, Record, Side]:
    """A mesh with an invite, its owner's connection, and one that has proved the invite's key."""
    mesh, ann = await stand.create()
    record = await ann.invite(mesh, SECRET, uses)
    side = await stand.connect()
    await side.hello(mesh.id, invite_key(SECRET), invite=True)
    return mesh, ann, record, side


def ask(mesh: Mesh, record: Record) -> JoinAsk:
    return JoinAsk(mesh=mesh.id, invite=invite_id(record))


async def test_a_request_is_pushed_to_the_signers_and_waits_for_them(stand: Stand) -> None:
    mesh, ann, record, side = await invited(stand)
    body = join_request(mesh, record, SECRET, Device("bob"))
    answer = await side.call(ask(mesh, record), JoinAnswer, body)
    assert answer.signers_online == 1
    pushed = await ann.heard("join_request")
    assert (pushed.params, pushed.body) == ({"mesh": mesh.id, "id": answer.id}, body)
    ids = await ann.call(JoinList(mesh=mesh.id), JoinListAnswer)
    assert ids.ids == [answer.id]
    assert await ann.items(JoinList(mesh=mesh.id), JoinListAnswer) == [body]


async def test_with_no_signer_there_the_request_waits_even_over_a_restart(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path) as stand:
        mesh, ann, record, side = await invited(stand)
        await ann.connection.aclose()
        await stand.until(lambda: len(stand.broker.clients) == 1)
        answer = await side.call(ask(mesh, record), JoinAnswer, join_request(mesh, record, SECRET, Device("bob")))
        assert answer.signers_online == 0
    async with open_memory_stand(tmp_path) as stand:
        ann = await stand.enter(mesh, mesh.owner)
        assert (await ann.call(JoinList(mesh=mesh.id), JoinListAnswer)).ids == [answer.id]


async def test_asking_again_replaces_the_request_and_keeps_its_id(memory_stand: Stand) -> None:
    mesh, ann, record, side = await invited(memory_stand)
    body = join_request(mesh, record, SECRET, Device("bob"))
    first = await side.call(ask(mesh, record), JoinAnswer, body)
    assert (await side.call(ask(mesh, record), JoinAnswer, body)).id == first.id
    assert len((await ann.call(JoinList(mesh=mesh.id), JoinListAnswer)).ids) == 1


async def test_a_signer_drops_a_request_and_its_id_is_never_given_again(memory_stand: Stand) -> None:
    mesh, ann, record, side = await invited(memory_stand)
    body = join_request(mesh, record, SECRET, Device("bob"))
    first = await side.call(ask(mesh, record), JoinAnswer, body)
    await ann.call(JoinDrop(mesh=mesh.id, id=first.id), Done)
    assert (await ann.call(JoinList(mesh=mesh.id), JoinListAnswer)).ids == []
    assert (await side.call(ask(mesh, record), JoinAnswer, body)).id > first.id


async def test_a_signer_of_one_mesh_drops_nothing_of_another(memory_stand: Stand) -> None:
    mesh, ann, record, side = await invited(memory_stand)
    answer = await side.call(ask(mesh, record), JoinAnswer, join_request(mesh, record, SECRET, Device("bob")))
    other, zoe = await memory_stand.create("zoe", "other")
    await zoe.call(JoinDrop(mesh=other.id, id=answer.id), Done)
    assert (await ann.call(JoinList(mesh=mesh.id), JoinListAnswer)).ids == [answer.id]


async def test_only_signers_see_and_drop_requests(memory_stand: Stand) -> None:
    mesh, ann, _, side = await invited(memory_stand)
    bob = Device("bob")
    await ann.append(mesh, mesh.add_member(bob))
    member = await memory_stand.enter(mesh, bob)
    for each in (member, side):
        assert await each.refusal(JoinList(mesh=mesh.id)) == "not_allowed"
        assert await each.refusal(JoinDrop(mesh=mesh.id, id=1)) == "not_allowed"


async def test_only_the_invites_own_key_asks_under_it(memory_stand: Stand) -> None:
    mesh, ann, record, side = await invited(memory_stand)
    other = await ann.invite(mesh, seeded("another secret"))
    body = join_request(mesh, record, SECRET, Device("bob"))
    assert await ann.refusal(ask(mesh, record), body) == "not_allowed"
    assert await side.refusal(ask(mesh, other), body) == "not_allowed"


@pytest.mark.parametrize("wrong", ["bytes", "key", "invite", "mesh", "large"])
async def test_a_request_that_is_not_genuine_is_refused(memory_stand: Stand, wrong: str) -> None:
    mesh, ann, record, side = await invited(memory_stand)
    bob = Device("bob")
    another = await ann.invite(mesh, seeded("another secret"))
    elsewhere, zoe = await memory_stand.create("zoe", "other")
    foreign = await zoe.invite(elsewhere, SECRET)
    body = {
        "bytes": join_request(mesh, record, SECRET, bob)[:-1],
        "key": join_request(mesh, record, seeded("another secret"), bob),
        "invite": join_request(mesh, another, SECRET, bob),
        "mesh": join_request(elsewhere, foreign, SECRET, bob),
        "large": bytes(MAX_JOIN + 1),
    }[wrong]
    assert await side.refusal(ask(mesh, record), body) == ("too_large" if wrong == "large" else "bad_envelope")
    assert (await ann.call(JoinList(mesh=mesh.id), JoinListAnswer)).ids == []


async def test_only_so_many_requests_wait_in_one_mesh(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path, Limits(join_waiting=2)) as stand:
        mesh, _, record, side = await invited(stand, uses=10)
        for n in range(2):
            await side.call(ask(mesh, record), JoinAnswer, join_request(mesh, record, SECRET, Device(f"bob {n}")))
        body = join_request(mesh, record, SECRET, Device("bob 2"))
        assert await side.refusal(ask(mesh, record), body) == "rate_limited"


async def test_one_address_asks_only_so_often(memory_stand: Stand) -> None:
    mesh, ann = await memory_stand.create()
    record = await ann.invite(mesh, SECRET, uses=100)
    side = await memory_stand.connect(loopback=False, address="192.0.2.1")
    await side.hello(mesh.id, invite_key(SECRET), invite=True)
    body = join_request(mesh, record, SECRET, Device("bob"))
    for _ in range(5):
        await side.call(ask(mesh, record), JoinAnswer, body)
    assert await side.refusal(ask(mesh, record), body) == "rate_limited"
    other = await memory_stand.connect(loopback=False, address="192.0.2.2")
    await other.hello(mesh.id, invite_key(SECRET), invite=True)
    await other.call(ask(mesh, record), JoinAnswer, body)


async def test_a_request_lies_a_month_longer_than_its_invite(tmp_path: Path) -> None:
    async with open_memory_stand(tmp_path) as stand:
        mesh, _, record, side = await invited(stand)
        await side.call(ask(mesh, record), JoinAnswer, join_request(mesh, record, SECRET, Device("bob")))
        store = stand.broker.store
        for days, left in ((29, 1), (31, 0)):
            await store.expire(START_MS + 3_600_000 + days * DAY_MS, 0, 100).wait()
            assert len(store.joins(mesh.id, 10**6)) == left


async def test_a_denied_device_is_told_and_asks_no_more_under_that_invite(memory_stand: Stand) -> None:
    mesh, ann, record, side = await invited(memory_stand, uses=2)
    body = join_request(mesh, record, SECRET, Device("bob"))
    asked = await side.call(ask(mesh, record), JoinAnswer, body)
    other = await memory_stand.connect()
    await other.hello(mesh.id, invite_key(SECRET), invite=True)
    await other.call(ask(mesh, record), JoinAnswer, join_request(mesh, record, SECRET, Device("carl")))
    await ann.call(JoinDrop(mesh=mesh.id, id=asked.id, denied=True), Done)
    assert (await side.heard("join_denied")).params == {"mesh": mesh.id}
    assert await side.refusal(ask(mesh, record), body) == "invite_denied"
    assert len((await ann.call(JoinList(mesh=mesh.id), JoinListAnswer)).ids) == 1, "carl's still waits"
    assert other.waiting("join_denied") == 0
    again = await ann.invite(mesh, seeded("another secret"))
    anew = await memory_stand.connect()
    await anew.hello(mesh.id, invite_key(seeded("another secret")), invite=True)
    await anew.call(ask(mesh, again), JoinAnswer, join_request(mesh, again, seeded("another secret"), Device("bob")))


async def test_a_denial_takes_no_room_and_outlives_a_restart_as_long_as_the_request_would(tmp_path: Path) -> None:
    limits = Limits(join_waiting=1)
    async with open_memory_stand(tmp_path, limits) as stand:
        mesh, ann, record, side = await invited(stand, uses=5)
        body = join_request(mesh, record, SECRET, Device("bob"))
        asked = await side.call(ask(mesh, record), JoinAnswer, body)
        await ann.call(JoinDrop(mesh=mesh.id, id=asked.id, denied=True), Done)
        await side.call(ask(mesh, record), JoinAnswer, join_request(mesh, record, SECRET, Device("carl")))
    async with open_memory_stand(tmp_path, limits) as stand:
        side = await stand.connect()
        await side.hello(mesh.id, invite_key(SECRET), invite=True)
        assert await side.refusal(ask(mesh, record), body) == "invite_denied"
        await stand.broker.store.expire(START_MS + 3_600_000 + 31 * DAY_MS, 0, 100).wait()
        assert (await side.call(ask(mesh, record), JoinAnswer, body)).id > asked.id


@pytest.mark.parametrize("denied", [True, False])
async def test_the_other_signers_are_told_that_a_request_is_answered(memory_stand: Stand, denied: bool) -> None:
    mesh, ann, record, side = await invited(memory_stand)
    bob = Device("bob")
    await ann.append(mesh, mesh.add_member(bob))
    await ann.append(mesh, mesh.signed("add_signer", AddSigner(bob.id).encode()))
    second = await memory_stand.enter(mesh, bob)
    asked = await side.call(ask(mesh, record), JoinAnswer, join_request(mesh, record, SECRET, Device("carl")))
    await ann.call(JoinDrop(mesh=mesh.id, id=asked.id, denied=denied), Done)
    assert (await second.heard("join_gone")).params == {"mesh": mesh.id, "id": asked.id}
    assert ann.waiting("join_gone") == side.waiting("join_gone") == 0


async def test_what_is_not_there_is_denied_without_harm(memory_stand: Stand) -> None:
    mesh, ann, record, side = await invited(memory_stand)
    await ann.call(JoinDrop(mesh=mesh.id, id=4711, denied=True), Done)
    await side.call(ask(mesh, record), JoinAnswer, join_request(mesh, record, SECRET, Device("bob")))


async def test_a_closed_invite_is_told_apart_from_a_used_one(memory_stand: Stand) -> None:
    mesh, ann, record, _ = await invited(memory_stand)
    await ann.append(mesh, mesh.signed("invite_close", InviteClose(invite_id(record)).encode()))
    late = await memory_stand.connect()
    request, _ = late.hello_request(mesh.id, invite_key(SECRET), invite=True)
    assert await late.refusal(request) == "invite_closed"
