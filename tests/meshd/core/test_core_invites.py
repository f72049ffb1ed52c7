"""Invites for several, and those that want a person's yes: who waits is seen, survives restarts, and is let in or not."""

import pytest
import trio

from mesh_protocol.invite import parse_link
from mesh_protocol.wire.codec import JsonValue
from mesh_protocol.wire.errors import MeshError
from world.machine import Machine
from world.talk import Answer
from world.world import World


async def waits(world: World, name: str, url: str) -> Machine:
    machine = await world.machine(name)
    asked = await machine.call("mesh.join", url=url, me=name, wait_s=1)
    assert asked["state"] == "pending"
    return machine


async def waiting(machine: Machine) -> list[tuple[str, str]]:
    return [(row["name"], row["why"]) for row in (await machine.call("invite.list"))["waiting"]]


async def until_waits(machine: Machine, *names: str) -> None:
    async def there() -> bool:
        return sorted(name for name, _ in await waiting(machine)) == sorted(names)

    await machine.world.until(there, what=f"{machine.name} sees {names} wait")


async def mesh_status(machine: Machine) -> Answer:
    (mesh,) = (await machine.call("daemon.status"))["meshes"]
    return dict(mesh)


async def test_of_many_who_ask_at_once_exactly_as_many_as_it_says_are_let_in(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    url = (await ann.call("mesh.invite", uses=2))["url"]
    await ann.crash()
    asking = [await waits(world, name, url) for name in ("cid", "dan", "eve", "fay")]
    await ann.start()
    await world.until(lambda: sum(each.mesh().active for each in asking) == 2, 120, "two are in")
    await world.settle(60)
    outside = [each for each in asking if not each.mesh().active]
    assert [each.mesh().row.trouble for each in outside] == ["invite_used", "invite_used"]
    assert len(bob.mesh().state.members) == 4


async def test_who_waits_for_a_yes_is_shown_to_those_who_may_say_it_and_to_nobody_else(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    eve = await waits(world, "eve", (await ann.call("mesh.invite", approve=True))["url"])
    await until_waits(ann, "eve")
    assert (await mesh_status(ann))["asking"] == 1
    line = bytes((await ann.call("statusline", columns=0))["body"]).decode()
    assert "1 asks to join (mesh invites)" in line
    checks = {check["name"]: check for check in (await ann.call("daemon.doctor"))["checks"]}
    assert "eve waits for your yes" in checks["joining team"]["text"]
    assert await waiting(bob) == []
    assert (await mesh_status(bob))["asking"] == 0
    assert await bob.refusal("invite.approve", who="eve") == "not_allowed"
    assert await bob.refusal("invite.deny", who="eve") == "not_allowed"
    status = await mesh_status(eve)
    assert (status["state"], status["waiting_for"]) == ("pending", "ann to say yes and let you in")


async def test_a_yes_can_be_given_after_restarts_of_both_sides_and_after_the_invite_expired(world: World) -> None:
    (ann,) = await world.mesh("ann")
    eve = await waits(world, "eve", (await ann.call("mesh.invite", approve=True, expires_s=60))["url"])
    await until_waits(ann, "eve")
    await trio.sleep(120)
    for machine in (ann, eve):
        await machine.restart()
    await ann.until_online()
    await until_waits(ann, "eve")
    await ann.call("invite.approve", who="EVE")
    await world.until(lambda: eve.mesh().active, 120, "she is in")


async def test_a_request_first_seen_after_the_invite_expired_waits_for_a_person_who_may_let_it_in(world: World) -> None:
    (ann,) = await world.mesh("ann")
    url = (await ann.call("mesh.invite", expires_s=60))["url"]
    await ann.crash()
    eve = await waits(world, "eve", url)
    await trio.sleep(120)
    await ann.start()
    await until_waits(ann, "eve")
    assert await waiting(ann) == [("eve", "expired")]
    assert not eve.mesh().active
    await ann.call("invite.approve", who="eve")
    await world.until(lambda: eve.mesh().active, 120, "she is in")


async def test_who_was_turned_away_is_told_and_cannot_ask_again_with_the_same_invite(world: World) -> None:
    (ann,) = await world.mesh("ann")
    url = (await ann.call("mesh.invite", approve=True, uses=2))["url"]
    eve = await waits(world, "eve", url)
    await until_waits(ann, "eve")
    await eve.crash()
    await ann.call("invite.deny", who="eve")
    await eve.start()
    await world.until(lambda: eve.mesh().row.trouble == "invite_denied", what="she is told when she comes back")
    await world.settle(60)
    assert await waiting(ann) == []
    dan = await waits(world, "dan", url)
    await until_waits(ann, "dan")
    await ann.call("invite.approve", who="dan")
    await world.until(lambda: dan.mesh().active, what="the invite is open for others")
    joined = await eve.call("mesh.join", url=await world.invite(ann), me="eve")
    assert joined["state"] == "joined", "another invite mends it"


async def test_what_one_signer_decided_waits_for_no_other(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.call("member.role", peer="bob", role="admin")
    await world.until(lambda: bob.app.node.device in bob.mesh().state.signers, what="bob signs")
    made = await ann.call("mesh.invite", approve=True, uses=3)
    eve, dan = await waits(world, "eve", made["url"]), await waits(world, "dan", made["url"])
    for machine in (ann, bob):
        await until_waits(machine, "dan", "eve")
    await bob.call("invite.deny", who="dan")
    await until_waits(ann, "eve")
    await bob.call("invite.approve", who="eve")
    await until_waits(ann)
    await world.until(lambda: eve.mesh().active, what="she is in")
    assert not dan.mesh().active


async def test_an_approval_that_two_give_at_once_admits_once(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.call("member.role", peer="bob", role="admin")
    await world.until(lambda: bob.app.node.device in bob.mesh().state.signers, what="bob signs")
    eve = await waits(world, "eve", (await ann.call("mesh.invite", approve=True, uses=9))["url"])
    for machine in (ann, bob):
        await until_waits(machine, "eve")
    codes: list[str] = []

    async def say_yes(machine: Machine) -> None:
        try:
            codes.append(str((await machine.call("invite.approve", who="eve"))["state"]))
        except MeshError as error:
            codes.append(error.code)

    async with trio.open_nursery() as nursery:
        for machine in (ann, bob):
            nursery.start_soon(say_yes, machine)
    assert sorted(codes) == ["joined", "not_found"]
    await world.until(lambda: eve.mesh().active, what="she is in")
    for machine in (ann, bob):
        assert sorted(machine.mesh().names.values()) == ["ann", "bob", "eve"]


async def test_a_removal_closes_the_invites_and_who_waits_under_them_is_told(world: World) -> None:
    ann, _ = await world.mesh("ann", "bob")
    eve = await waits(world, "eve", (await ann.call("mesh.invite", approve=True))["url"])
    await until_waits(ann, "eve")
    await ann.call("member.remove", peer="bob")
    await until_waits(ann)
    await world.until(lambda: eve.mesh().row.trouble == "invite_closed", what="she is told")


async def test_an_invite_to_a_role_above_ones_own_is_refused(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.call("member.role", peer="bob", role="admin")
    await world.until(lambda: bob.app.node.device in bob.mesh().state.signers, what="bob signs")
    assert await bob.refusal("mesh.invite", role="owner") == "not_allowed"
    url = (await bob.call("mesh.invite", role="admin"))["url"]
    cid = await world.machine("cid")
    assert (await cid.call("mesh.join", url=url, me="cid"))["state"] == "joined"
    await world.until(lambda: cid.app.node.device in ann.mesh().state.signers, what="an admin's machine signs")


async def test_the_link_says_who_made_it_and_an_older_one_without_a_name_still_works(world: World) -> None:
    (ann,) = await world.mesh("ann")
    link = parse_link(await world.invite(ann))
    assert link.inviter == "ann"
    await ann.crash()
    bare = type(link)(link.mesh_id, link.invite_id, link.broker_url, link.secret)
    eve = await waits(world, "eve", bare.url())
    assert (await mesh_status(eve))["waiting_for"] == "somebody to let you in"


async def test_a_lower_role_closes_the_open_invites_that_it_does_not_allow_and_names_them(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    for peer, machine in (("bob", bob), ("cid", cid)):
        await ann.call("member.role", peer=peer, role="owner")
        await world.until(lambda m=machine: m.app.node.device in m.mesh().state.signers, what="he signs")  # type: ignore[misc]
    high = await bob.call("mesh.invite", role="owner")
    low = await bob.call("mesh.invite", role="admin")
    other = await cid.call("mesh.invite", role="owner")
    await world.until(lambda: len(ann.mesh().state.invites) == 5, what="ann knows of all")

    async def still_open() -> set[str]:
        return {str(row["id"]) for row in (await ann.call("invite.list"))["invites"]}

    await world.invite(ann)  # his own
    before = await still_open()
    changed = await ann.call("member.role", peer="bob", role="admin")
    assert changed["closed_invites"] == [str(high["id"])[:12]]
    assert await still_open() == before - {high["id"]}
    dan = await world.machine("dan")
    assert await dan.refusal("mesh.join", url=high["url"], me="dan") in ("invite_closed", "invite_unknown")
    changed = await ann.call("member.role", peer="bob", role="member")
    assert changed["closed_invites"] == [str(low["id"])[:12]]
    assert await still_open() == before - {high["id"], low["id"]}
    assert other["id"] in await still_open()
    assert (await ann.call("member.role", peer="bob", role="admin"))["closed_invites"] == []


@pytest.mark.parametrize(
    "change", [{"op": "member.role", "role": "member"}, {"op": "member.deny", "keys": ["invite", "manage_permissions"]}]
)
async def test_who_may_not_invite_any_more_leaves_no_invite_however_many_he_opened(
    world: World, change: dict[str, JsonValue]
) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await ann.call("member.role", peer="bob", role="admin")
    await world.until(lambda: bob.app.node.device in bob.mesh().state.signers, what="bob signs")
    for number in range(70):
        await bob.call("mesh.invite")
        if number % 10 == 9:
            await trio.sleep(3600)
            await bob.until_online()
    params = dict(change)
    changed = await ann.call(str(params.pop("op")), peer="bob", **params)
    assert len(changed["closed_invites"]) == 70
    assert not any(invite.open for invite in ann.mesh().state.invites.values())
    assert not ann.mesh().state.may(bob.app.node.device, "invite")
