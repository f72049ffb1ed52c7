"""Removals between real daemons and a broker: the new key reaches who stays and nobody else, whatever dies meanwhile."""

import pytest
import trio

from mesh_protocol.keys import CryptoError
from mesh_protocol.live import open_live
from mesh_protocol.wire.codec import decode
from mesh_protocol.wire.errors import RemoteError
from mesh_protocol.wire.framing import split_message
from world.machine import Machine
from world.world import World


def epochs(machine: Machine) -> list[int]:
    keys = machine.mesh().keys
    assert keys is not None
    return sorted(keys.epochs)


def heard_epoch(machine: Machine, other: Machine) -> int:
    heard = machine.app.board.of(machine.mesh().id, other.app.node.device)
    return heard.epoch if heard is not None else 0


async def test_who_stays_has_the_new_key_and_goes_on_talking(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    await ann.call("member.remove", peer="bob")
    assert [epochs(each) for each in (ann, bob, cid)] == [[1, 2], [1], [1, 2]]
    await world.until(
        lambda: heard_epoch(ann, cid) == heard_epoch(cid, ann) == 2, what="both are heard under the new key"
    )
    sent = await cid.call("message.send", to="ann", message="still here")
    await world.until(lambda: _has(ann, str(sent["id"])), what="ann has it")


async def _has(machine: Machine, msg_id: str) -> bool:
    rows = (await machine.call("inbox.read"))["messages"]
    return any(row["id"] == msg_id for row in rows)


async def test_nothing_that_is_heard_after_a_removal_opens_for_the_removed(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    old = bob.mesh().keys
    assert old is not None
    frames: list[bytes] = []

    def keep(frame: bytes) -> list[bytes]:
        parts = split_message(frame)
        match decode(parts.header):
            case [2, "live", *_]:
                frames.append(parts.body)
        return [frame]

    await ann.call("member.remove", peer="bob")
    world.cable(cid).incoming = keep
    await world.settle(65)
    assert frames
    for frame in frames:
        for key in old.epochs.values():
            with pytest.raises(CryptoError):
                open_live(frame, key)


async def test_the_removed_is_told_and_served_no_more(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    await ann.call("member.remove", peer="bob")
    await world.until(lambda: bob.mesh().link.value == "refused", what="bob is refused")
    for machine in (ann, cid):
        assert machine.app.board.online_count(machine.mesh()) == 1
        names = [row["to"] for row in (await machine.call("peer.list"))["peers"]]
        assert "bob" not in names
        assert await machine.refusal("message.send", to="bob", message="are you there?") == "unknown_recipient"
    await bob.call("message.send", to="ann", message="am I still in it?")
    for away in (False, True):  # told in the middle of a connection, and at the next hello
        if away:
            await bob.restart()
            await world.until(lambda: bob.mesh().link.value == "refused", what="bob is refused again")
        (status,) = (await bob.call("daemon.status"))["meshes"]
        assert "not in the mesh" in status["trouble"]
        checks = {row["name"]: row for row in (await bob.call("daemon.doctor"))["checks"]}
        slug = bob.mesh().slug
        assert "not in the mesh" in checks[f"mesh {slug}"]["text"]
        assert f"mesh leave {slug}" in checks[f"mesh {slug}"]["fix"]
        assert "if this machine was taken out" in checks[f"outbox {slug}"]["fix"]


async def test_what_waited_for_the_removed_ends_as_removed(world: World) -> None:
    ann, _, cid = await world.mesh("ann", "bob", "cid")
    await world.unplug(cid)
    sent = await cid.call("message.send", to="bob", message="too late")
    await ann.call("member.remove", peer="bob", wait_s=0)
    await world.plug(cid)

    async def ended() -> bool:
        state = await cid.call("message.status", id=str(sent["id"]))
        return [row["state"] for row in state["recipients"]] == ["removed"]

    await world.until(ended, what="it ended")


async def test_who_was_away_confirms_when_he_comes_back(world: World) -> None:
    ann, _, cid = await world.mesh("ann", "bob", "cid")
    await world.unplug(cid)
    gone = await ann.call("member.remove", peer="bob", wait_s=2)
    device = cid.app.node.device.hex()[:8]
    assert (gone["confirmed"], gone["waiting"], gone["unsealed"]) == (0, [f"cid {device}"], [])
    assert epochs(cid) == [1]
    await world.plug(cid)
    await world.until(lambda: epochs(cid) == [1, 2], what="cid has the key")
    await world.until(lambda: heard_epoch(ann, cid) == 2, what="ann hears it")


async def test_who_knows_of_the_removal_and_lacks_the_key_says_nothing_under_the_old_one(world: World) -> None:
    ann, _, cid = await world.mesh("ann", "bob", "cid")
    seals: set[object] = set()
    published: list[bytes] = []

    def outgoing(frame: bytes) -> list[bytes]:
        match decode(split_message(frame).header):
            case [0, number, "seals.read", *_]:
                seals.add(number)
                return []
            case [2, "live.publish", *_]:
                published.append(frame)
        return [frame]

    world.cable(cid).outgoing = outgoing
    await ann.call("member.remove", peer="bob", wait_s=0)
    await world.until(lambda: bool(seals), what="cid asks for its key")
    assert cid.mesh().state.epoch == 2
    published.clear()
    await world.settle(5)
    assert published == []
    assert epochs(cid) == [1]
    world.cable(cid).outgoing = None
    await world.cable(cid).cut()
    await world.until(lambda: epochs(cid) == [1, 2], what="cid has the key after all")


async def test_a_daemon_that_dies_after_its_removal_takes_its_own_seal(world: World) -> None:
    ann, _, cid = await world.mesh("ann", "bob", "cid")
    answered: list[bytes] = []

    def lose_the_answer(frame: bytes) -> list[bytes]:
        match decode(split_message(frame).header):
            case [1, _, None, dict() as result] if "tip" in result and len(result) == 1:
                answered.append(frame)
                return []
        return [frame]

    world.cable(ann).incoming = lose_the_answer
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(Exception):  # noqa: B017 - the daemon dies under it
                await ann.call("member.remove", peer="bob", wait_s=0)

        nursery.start_soon(ask)
        await world.until(lambda: bool(answered), what="the append is done")
        await ann.crash()
        nursery.cancel_scope.cancel()
    world.cable(ann).incoming = None
    await ann.start()
    await ann.until_online()
    assert epochs(ann) == [1, 2]
    await world.until(lambda: heard_epoch(cid, ann) == 2, what="cid hears ann under the new key")


async def test_a_removal_survives_restarts_of_everybody(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    await ann.call("member.ban", peer="bob")
    for machine in (ann, bob, cid):
        await machine.restart()
    await ann.until_online()
    await cid.until_online()
    assert [epochs(each) for each in (ann, bob, cid)] == [[1, 2], [1], [1, 2]]
    listed = (await cid.call("member.list"))["members"]
    assert [(row["member"], row["state"]) for row in listed] == [
        ("ann", "member"),
        ("cid", "member"),
        ("bob", "banned"),
    ]
    await world.until(lambda: bob.mesh().link.value == "refused", what="bob is refused")


async def test_who_may_not_is_told_who_may(world: World) -> None:
    _, bob, cid = await world.mesh("ann", "bob", "cid")
    for method, given in (
        ("member.remove", {"peer": "cid"}),
        ("member.role", {"peer": "bob", "role": "owner"}),
        ("device.revoke", {"device": cid.app.node.device.hex()}),
    ):
        assert await bob.refusal(method, **given) == "not_allowed"


async def test_nobody_removes_himself_or_the_last_owner(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    for method, given in (
        ("member.remove", {"peer": "ann"}),
        ("device.revoke", {"device": ann.app.node.device.hex()}),
        ("member.role", {"peer": "ann", "role": "member"}),
    ):
        assert await ann.refusal(method, **given) == "not_allowed"
    await ann.call("member.role", peer="bob", role="owner")
    await world.until(lambda: bob.app.node.device in bob.mesh().state.signers, what="bob signs")
    await bob.call("member.remove", peer="ann")
    await world.until(lambda: ann.mesh().link.value == "refused", what="ann is refused")


async def test_an_invited_admin_can_invite_and_remove(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    url = str((await ann.call("mesh.invite", role="admin"))["url"])
    cid = await world.machine("cid")
    await cid.call("mesh.join", url=url, me="cid")
    await cid.until_online()
    await cid.call("member.remove", peer="bob")
    await world.until(lambda: bob.mesh().link.value == "refused", what="bob is refused")
    dan = await world.machine("dan")
    assert (await dan.call("mesh.join", url=await world.invite(cid), me="dan"))["state"] == "joined"
    assert epochs(dan) == [1, 2]
    assert await cid.refusal("member.remove", peer="ann") == "not_allowed"


async def test_a_newcomer_is_let_in_by_a_signer_only_under_the_newest_key(world: World) -> None:
    ann, _, cid = await world.mesh("ann", "bob", "cid")
    await ann.call("member.role", peer="cid", role="admin")
    url = await world.invite(ann)

    def no_seals(frame: bytes) -> list[bytes]:
        match decode(split_message(frame).header):
            case [0, _, "seals.read", *_]:
                return []
        return [frame]

    world.cable(cid).outgoing = no_seals
    await ann.call("member.remove", peer="bob", wait_s=0)
    url = await world.invite(ann)
    await world.unplug(ann)
    dan = await world.machine("dan")
    assert (await dan.call("mesh.join", url=url, me="dan", wait_s=5))["state"] == "pending"
    await world.plug(ann)
    await world.until(lambda: dan.mesh().active, what="ann lets dan in")
    assert epochs(dan) == [1, 2]


async def test_what_the_removed_wrote_keeps_his_name(world: World) -> None:
    ann, bob, _ = await world.mesh("ann", "bob", "cid")
    sent = await bob.send("ann", "before I go")
    await bob.until_state(sent, "stored")
    await ann.call("member.remove", peer="bob")
    (row,) = (await ann.call("inbox.read"))["messages"]
    assert row["sender"] == "bob"


async def test_another_bob_is_bob_and_the_former_one_is_told_apart(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    await ann.call("member.remove", peer="bob")
    other = await world.machine("other")
    await other.call("mesh.join", url=await world.invite(ann), me="bob")
    listed = (await ann.call("member.list"))["members"]
    (former,) = [row for row in listed if row["state"] == "removed"]
    assert former["member"] == f"bob~{former['id'][:4]}"
    assert [row["member"] for row in listed if row["state"] == "member"] == ["ann", "bob"]
    await ann.call("member.ban", peer=former["id"][:12])
    assert await ann.refusal("member.unban", peer="bob") == "unknown_recipient"


async def test_of_two_who_remove_each_other_at_once_one_goes(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    await ann.call("member.role", peer="bob", role="owner")
    await world.until(lambda: bob.app.node.device in bob.mesh().state.signers, what="bob signs")
    before = cid.mesh().state.epoch
    ended: list[str] = []

    async def attempt(machine: Machine, peer: str) -> None:
        ended.append(await _try_remove(machine, peer) or "done")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(attempt, ann, "bob")
        nursery.start_soon(attempt, bob, "ann")
    done, refused = sorted(ended, key=lambda word: word != "done")
    assert done == "done"
    assert refused.partition(":")[0] in ("not_allowed", "broker_refused", "broker_unreachable")
    await world.until(lambda: epochs(cid) == [before, before + 1], what="cid has the new key")
    assert len(cid.mesh().state.members) == 2


async def test_of_two_who_remove_somebody_at_once_one_is_told_he_is_gone(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    await ann.call("member.role", peer="bob", role="owner")
    await world.until(lambda: bob.app.node.device in bob.mesh().state.signers, what="bob signs")
    ended: list[str] = []

    async def attempt(machine: Machine) -> None:
        ended.append(await _try_remove(machine, "cid"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(attempt, ann)
        nursery.start_soon(attempt, bob)
    quicker = f"not_allowed: somebody else was quicker: that member is not in {ann.mesh().slug} any more"
    assert sorted(ended) == ["", quicker]
    await world.until(lambda: epochs(ann) == epochs(bob) == [1, 2], what="both hold the one new key")
    assert ann.mesh().state.former.keys() == {cid.mesh().row.member}


async def _try_remove(machine: Machine, peer: str) -> str:
    """The refusal, code and text, or an empty text."""
    try:
        await machine.call("member.remove", peer=peer, wait_s=0)
    except RemoteError as error:
        return f"{error.code}: {error.message}"
    return ""
