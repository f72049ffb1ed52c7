"""A broker that was restored from a backup and went on: both histories are kept and shown, nothing is sent, and a resolve
ends it for everybody in the same way."""

import contextlib
from collections.abc import Sequence

import pytest
import trio

from core_kit.forked import backup, broker_of, forked, put_back
from core_kit.membership import until_groups
from mesh_protocol.chain import Record, Resolve, make_record
from mesh_protocol.forks import Head
from mesh_protocol.io.link import LinkClosed
from mesh_protocol.seals import check_epoch_keys
from mesh_protocol.tip import TipRef, sign_tip
from mesh_protocol.wire.errors import MeshError, RemoteError
from meshd.branches import weigh
from meshd.link.branching import keep_evidence
from meshd.recovery import print_recovery, recovery_seed
from meshd.statusline import Asked, compose
from world.machine import Machine
from world.world import World


async def until_read(world: World, machine: Machine, text: str) -> None:
    """Until exactly this lies in the person's inbox."""

    async def there() -> bool:
        rows = (await machine.call("inbox.read", all=True))["messages"]
        return [row["message"] for row in rows] == [text]

    await world.until(there, what=f"{machine.name} reads {text}")


def heads_of(machine: Machine) -> tuple[Head, ...]:
    fork = machine.mesh().fork
    assert fork is not None
    return fork.result.heads


async def require_whole(world: World, machines: Sequence[Machine], head: bytes) -> None:
    """All go on with the chain that has `head`, under one new key, and what was queued arrives."""
    for machine in machines:
        await machine.until_online()
        await world.until(
            lambda m=machine: m.mesh().state.head == machines[0].mesh().state.head, what="one chain again"
        )  # type: ignore[misc]
        mesh = machine.mesh()
        assert (mesh.alarm, mesh.fork) == ("", None)
        assert head in mesh.hashes
        await world.until(lambda m=mesh: m.state.epoch in m.keys.epochs, what="the new key")  # type: ignore[misc,union-attr]
        assert mesh.keys is not None
        check_epoch_keys(mesh.state, mesh.keys)
    assert len({machine.mesh().keys.epochs[machine.mesh().state.epoch] for machine in machines}) == 1  # type: ignore[union-attr]
    assert len({tuple(sorted(machine.mesh().state.members)) for machine in machines}) == 1


async def test_both_sides_of_a_restored_broker_see_the_same_freeze(world: World) -> None:
    ann, bob, cid = await forked(world)
    assert len({heads_of(each) for each in (ann, bob, cid)}) == 1
    assert {head.hash for head in heads_of(ann)} == {ann.mesh().state.head, bob.mesh().state.head}
    for machine in (ann, bob, cid):
        with pytest.raises(MeshError) as refused:
            await machine.send("bob" if machine is ann else "ann", "is anybody there?")
        assert refused.value.code == "broker_rollback"
        trouble = (await machine.call("daemon.status"))["meshes"][0]["trouble"]
        for head in heads_of(ann):
            assert f"record {head.seq} {head.hash.hex()[:12]}" in trouble
        assert "signed by ann, " in trouble
        assert "signed by bob, " in trouble
        assert "mesh resolve" in trouble
    for method, params in (("mesh.invite", {}), ("member.remove", {"peer": "cid"})):
        with pytest.raises(MeshError, match="run mesh resolve"):
            await ann.call(method, **params)
    assert "frozen (mesh resolve)" in compose(ann.app, Asked(plain=True))
    findings = (await ann.call("daemon.doctor"))["checks"]
    assert [each["ok"] for each in findings if "frozen, nothing is sent" in each["text"]] == ["bad"]
    await bob.restart()
    assert heads_of(bob) == heads_of(ann)
    assert bob.mesh().alarm
    world.take_errors()


@pytest.mark.parametrize("winner", ["ann", "bob"])
@pytest.mark.parametrize("removal", [False, True])
async def test_a_resolve_ends_the_fork_for_everybody_and_what_was_queued_is_sent(
    world: World, winner: str, removal: bool
) -> None:
    ann, bob, cid = await forked(world, removal=removal)
    chosen = world.machines[winner].mesh().state.head
    listed = await cid.call("resolve.list")
    assert not any(row["may"] for row in listed["heads"])
    assert await cid.refusal("resolve.choose", head=chosen.hex()[:10]) == "not_allowed"
    listed = await ann.call("resolve.list")
    assert [row["here"] for row in listed["heads"]].count(True) == 1
    assert all(row["may"] for row in listed["heads"])
    done = await ann.call("resolve.choose", head=chosen.hex()[:10])
    lost = ["dan" if winner == "ann" else "eve"] if removal else []
    assert (done["signed_by"], done["lost"], done["unsealed"]) == ("this machine", [], [])
    await require_whole(world, (ann, bob, cid), chosen)
    assert sorted(bob.mesh().former_names.values()) == lost
    await until_read(world, bob, "queued by ann")
    await until_read(world, cid, "queued by bob")
    await until_read(world, ann, "queued by cid")
    for machine in (ann, bob, cid):
        await machine.restart()
        await machine.until_online()
        assert machine.mesh().fork is None
    await bob.send("cid", "all is well", wait="stored")
    world.take_errors()


@pytest.mark.parametrize("winner", ["ann", "bob"])
async def test_the_recovery_key_chooses_from_any_machine_and_settles_two_choices(world: World, winner: str) -> None:
    """Each history has a resolve of its own: no signer can end that any more."""
    ann, bob, cid = await forked(world)
    seed = recovery_seed(ann.app.node, ann.mesh())
    assert seed is not None
    resolves: list[Record] = []
    for machine in (ann, bob):
        node, mesh = machine.app.node, machine.mesh()
        assert mesh.last is not None
        body = Resolve(mesh.state.head, 0, bytes(32)).encode()
        resolves.append(make_record(mesh.last, "resolve", body, node.key, mesh.id))
    for machine in (ann, bob, cid):
        await weigh(machine.app.node, machine.mesh(), resolves)
    for record in resolves:  # the broker took each of them, in another of its lives
        tip = sign_tip(broker_of(world)._key, cid.mesh().id, TipRef(record.seq, record.hash, record.seq, bytes(32)))
        await keep_evidence(cid.app.node, cid.mesh(), record.hash, tip.encode())
    await world.settle(65)  # he shows them to the broker as he tries again
    await ann.app.node.db.write(lambda tx: tx.execute("DELETE FROM recovery").fetchall())
    for machine in (ann, bob, cid):
        assert len(heads_of(machine)) == 2
        assert not any(row["may"] for row in (await machine.call("resolve.list"))["heads"])
        assert await machine.refusal("resolve.choose", head=heads_of(machine)[0].hash.hex()[:8]) == "not_allowed"
    chosen = next(
        row["head"] for row in (await cid.call("resolve.list"))["heads"] if row["signed_by"].startswith(winner)
    )
    wrong = print_recovery(bytes(32))
    assert await cid.refusal("resolve.choose", head=chosen[:12], recovery=wrong) == "not_allowed"
    assert await cid.refusal("resolve.choose", head=chosen[:12], recovery="AAAA-BBBB") == "bad_request"
    done = await cid.call("resolve.choose", head=chosen[:12], recovery=print_recovery(seed))
    assert done["signed_by"] == "the recovery key"
    await require_whole(world, (ann, bob, cid), bytes.fromhex(chosen))
    world.take_errors()


async def test_of_two_who_choose_differently_at_once_one_is_first_and_all_follow_him(world: World) -> None:
    ann, bob, cid = await forked(world)
    outcomes: list[str] = []
    refused: list[str] = []

    async def choose(machine: Machine) -> None:
        try:
            done = await machine.call("resolve.choose", head=machine.mesh().state.head.hex()[:12])
            outcomes.append(str(done["head"]))
        except MeshError as error:
            refused.append(error.code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(choose, ann)
        nursery.start_soon(choose, bob)
    assert len(outcomes) == 1
    assert refused[0] in ("broker_refused", "not_found", "not_allowed")
    await require_whole(world, (ann, bob, cid), bytes.fromhex(outcomes[0]))
    world.take_errors()


async def test_a_machine_that_dies_before_it_hears_that_its_resolve_stands_finds_it_at_its_next_start(
    world: World,
) -> None:
    ann, bob, cid = await forked(world)
    chosen = bob.mesh().state.head

    async def choose() -> None:
        with contextlib.suppress(RemoteError, MeshError, LinkClosed):
            await ann.call("resolve.choose", head=chosen.hex()[:12])

    room = broker_of(world).broker.rooms._rooms[ann.mesh().id]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(choose)
        await world.until(lambda: not room.frozen, what="the broker has it")
        await ann.crash()
        nursery.cancel_scope.cancel()
    await ann.start()
    await require_whole(world, (ann, bob, cid), chosen)
    world.take_errors()


async def test_a_machine_that_is_away_while_its_history_is_given_up_follows_when_it_is_back(world: World) -> None:
    ann, bob, cid = await forked(world)
    cable = world.cable(ann)
    cable.down = True
    await cable.cut()
    chosen = bob.mesh().state.head
    await bob.call("resolve.choose", head=chosen.hex()[:12])
    await bob.until_online()
    await bob.send("cid", "we go on without ann", wait="stored")
    await ann.restart()
    cable.down = False
    await require_whole(world, (bob, ann, cid), chosen)
    world.take_errors()


async def test_who_was_let_in_on_the_chosen_history_hears_of_the_groups_of_those_who_come_over(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.call("member.role", peer="bob", role="owner")
    await world.until(lambda: bob.mesh().state.head == ann.mesh().state.head, what="bob is an owner")
    broker = broker_of(world)
    kept = await backup(broker)
    await ann.until_online()
    await world.unplug(bob)
    for _ in range(4):
        await world.invite(ann)
    web = await ann.claude("web")
    await web.tool("join_group", name="web")
    await world.settle(5)
    await world.unplug(ann)
    await put_back(broker, kept)
    await world.plug(bob)
    eve = await world.machine("eve")
    await eve.call("mesh.join", url=await world.invite(bob), me="eve")
    chosen = bob.mesh().state.head
    world.cable(ann).down = False
    await world.until(lambda: ann.mesh().fork is not None, what="ann is frozen")
    await world.until(lambda: bob.mesh().fork is not None, what="bob is frozen")
    await ann.call("resolve.choose", head=chosen.hex()[:12])
    await require_whole(world, (ann, bob, eve), chosen)
    await until_groups(eve, "web ann/web")
    await until_groups(bob, "web ann/web")
    world.take_errors()
