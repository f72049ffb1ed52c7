"""Linking another device of the same person, between real daemons and a broker: words, a yes, and nothing left of a no."""

import contextlib

import pytest
import trio

from mesh_protocol.io.link import LinkClosed
from mesh_protocol.wire.codec import decode
from mesh_protocol.wire.errors import MeshError
from mesh_protocol.wire.framing import encode_frame, split_message
from world.machine import Machine
from world.network import Change
from world.talk import Answer
from world.world import World


async def offered(machine: Machine) -> Answer:
    return await machine.call("link.open")


async def step(machine: Machine, attempt: Answer, seen: str = "", wait_s: float = 30.0) -> Answer:
    return await machine.call("link.wait", id=attempt["id"], seen=seen, wait_s=wait_s)


async def both_have_words(host: Machine, guest: Machine) -> tuple[Answer, Answer]:
    """Two attempts that have got as far as the words, which are the same."""
    offer = await offered(host)
    joined = await guest.call("link.join", url=offer["url"])
    mine, theirs = await step(host, offer, "waiting"), await step(guest, joined, "waiting")
    assert mine["state"] == theirs["state"] == "words"
    assert mine["words"] == theirs["words"]
    assert len(mine["words"]) == 4
    return offer, joined


async def link(host: Machine, guest: Machine) -> None:
    offer, joined = await both_have_words(host, guest)
    done = await host.call("link.confirm", id=offer["id"], same=True)
    assert (done["state"], done["device"]) == ("done", guest.app.node.device.hex())
    await host.world.until(lambda: _is_done(guest, joined), what="the new one is in")
    await guest.until_online()


async def _is_done(guest: Machine, joined: Answer) -> bool:
    return bool((await step(guest, joined, wait_s=0))["state"] == "done")


async def failure(machine: Machine, attempt: Answer) -> MeshError:
    """What the attempt ends with, whatever it gets through before."""
    seen = "waiting"
    with trio.fail_after(90):
        while True:
            try:
                seen = (await step(machine, attempt, seen, 60))["state"]
            except MeshError as error:
                return error


def is_clean(machine: Machine) -> bool:
    """Nothing of the mesh is left, in memory or on the disk."""
    rows = machine.app.node.db.reader.execute("SELECT (SELECT count(*) FROM mesh), (SELECT count(*) FROM prekey)")
    return machine.app.node.meshes == {} and tuple(rows.fetchone() or ()) == (0, 0)


@pytest.mark.parametrize("who", ["ann", "bob"])
async def test_a_member_links_a_second_device_whether_he_may_sign_for_others_or_not(world: World, who: str) -> None:
    ann, bob = await world.mesh("ann", "bob")
    host, other = (ann, bob) if who == "ann" else (bob, ann)
    phone = await world.machine("phone")
    await link(host, phone)
    device = phone.app.node.device
    for machine in (ann, bob, phone):
        await world.until(lambda m=machine: m.mesh().state.is_active(device), what="all know of it")  # type: ignore[misc]
        assert machine.mesh().state.active_devices(host.mesh().row.member) == (host.app.node.device, device)
    assert phone.mesh().row.me == who
    assert phone.mesh().state.devices[device].added_by == host.app.node.device
    assert phone.mesh().keys is not None
    assert sorted(phone.mesh().keys.epochs) == [1, 2]
    assert (device in ann.mesh().state.signers) is (who == "ann"), "the second machine of an owner signs too"
    sent = await phone.send("bob" if who == "ann" else "ann", "from my phone")
    await phone.until_state(sent, "stored")
    assert await other.read() == ["from my phone"]


async def test_messages_reach_each_device_also_of_a_sender_who_did_not_know_of_it_yet(world: World) -> None:
    ann, bob, cid = await world.mesh("ann", "bob", "cid")
    await world.unplug(cid)
    phone = await world.machine("phone")
    await link(bob, phone)
    await ann.until_knows("bob")
    await ann.send("bob", "to both", wait="stored")
    await world.plug(cid)
    await world.until(lambda: cid.mesh().state.is_active(phone.app.node.device), what="cid knows of the phone")
    await cid.send("bob", "later", wait="stored")
    for machine in (bob, phone):
        got: list[str] = []

        async def all_there(machine: Machine = machine, got: list[str] = got) -> bool:
            got += await machine.read()
            return sorted(got) == ["later", "to both"]

        await world.until(all_there, what=f"{machine.name} has both")


async def test_a_lost_laptop_is_revoked_from_the_other_device_in_one_command(world: World) -> None:
    laptop, bob = await world.mesh("laptop", "bob")
    phone = await world.machine("phone")
    await link(laptop, phone)
    await world.unplug(laptop)
    gone = await phone.call("device.revoke", device=laptop.app.node.device.hex()[:12], keep=[], wait_s=30)
    assert (gone["state"], gone["devices"]) == ("revoked", 1)
    assert phone.mesh().state.active_devices(phone.mesh().row.member) == (phone.app.node.device,)
    sent = await phone.send("bob", "my laptop is gone")
    await phone.until_state(sent, "stored")
    await bob.send("laptop", "sorry to hear", wait="stored")
    assert await phone.read() == ["sorry to hear"]
    world.cable(laptop).down = False
    await world.until(lambda: laptop.mesh().link.value == "refused", what="the laptop is told")
    assert laptop.mesh().keys is not None
    assert max(laptop.mesh().keys.epochs) < phone.mesh().state.epoch


async def test_a_revocation_takes_along_what_the_device_added(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    laptop, phone = await world.machine("laptop"), await world.machine("phone")
    await link(bob, laptop)
    await link(laptop, phone)
    gone = await bob.call("device.revoke", device=laptop.app.node.device.hex())
    assert gone["devices"] == 2
    await world.until(lambda: not ann.mesh().state.is_active(phone.app.node.device), what="ann knows")


async def test_words_that_differ_link_nothing_and_leave_nothing(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    phone = await world.machine("phone")
    offer, joined = await both_have_words(bob, phone)
    talk = await bob.talk_of(bob.processes.shell)
    assert (await talk.refusal("link.confirm", id=offer["id"], same=False)).code == "words_differ"
    assert "said no" in (await failure(phone, joined)).message
    assert is_clean(phone)
    assert phone.app.node.device not in ann.mesh().state.devices
    await link(bob, phone)


@pytest.mark.parametrize("who", ["host", "guest"])
@pytest.mark.parametrize("when", ["before", "words"])
async def test_ctrl_c_on_either_side_ends_it_on_both_and_leaves_nothing(world: World, who: str, when: str) -> None:
    ann, bob = await world.mesh("ann", "bob")
    phone = await world.machine("phone")
    if when == "words":
        offer, joined = await both_have_words(bob, phone)
    else:
        offer = await offered(bob)
        bob.app.linking.find(offer["id"])
        world.cable(phone).outgoing = _without("meet.say")
        joined = await phone.call("link.join", url=offer["url"])
        await world.settle(1)
    stopped, other = ((bob, offer), (phone, joined)) if who == "host" else ((phone, joined), (bob, offer))
    ended = await stopped[0].call("link.end", id=stopped[1]["id"])
    assert ended["state"] == "failed"
    assert (await failure(*other)).code == "link_ended"
    assert is_clean(phone)
    assert len(ann.mesh().state.devices) == 2
    world.cable(phone).outgoing = _without("")
    await link(bob, phone)


def _without(method: str) -> Change:
    """Drops the calls of one method."""

    def drop(frame: bytes) -> list[bytes]:
        match decode(split_message(frame).header):
            case [0, _, str() as called, *_] if called == method:
                return []
        return [frame]

    return drop


async def test_a_second_machine_with_the_link_ends_it_for_all(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    phone, thief = await world.machine("phone"), await world.machine("thief")
    offer, joined = await both_have_words(bob, phone)
    stolen = await thief.call("link.join", url=offer["url"])
    assert (await failure(thief, stolen)).code == "link_used"
    for machine, attempt in ((bob, offer), (phone, joined)):
        assert "second machine" in (await failure(machine, attempt)).message
    assert is_clean(phone)
    assert is_clean(thief)
    assert await bob.refusal("link.confirm", id=offer["id"], same=True) == "link_ended"
    assert phone.app.node.device not in bob.mesh().state.devices


async def test_a_link_serves_once(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    phone, thief = await world.machine("phone"), await world.machine("thief")
    offer, joined = await both_have_words(bob, phone)
    await bob.call("link.confirm", id=offer["id"], same=True)
    await world.until(lambda: _is_done(phone, joined), what="it is in")
    stolen = await thief.call("link.join", url=offer["url"])
    assert (await failure(thief, stolen)).code == "link_unknown"
    assert await phone.refusal("link.join", url=offer["url"]) == "already_member"
    assert await bob.refusal("link.confirm", id=offer["id"], same=True) == "link_ended"


@pytest.mark.parametrize("way", ["flip", "repeat"])
async def test_a_broker_that_changes_what_is_said_ends_the_attempt_and_learns_nothing(world: World, way: str) -> None:
    _, bob = await world.mesh("ann", "bob")
    phone = await world.machine("phone")
    seen: list[bytes] = []

    def tamper(frame: bytes) -> list[bytes]:
        header, body = split_message(frame)
        match decode(header):
            case [2, "meet", *_]:
                seen.append(body)
                if way == "flip":
                    return [encode_frame(header, body[:-1] + bytes([body[-1] ^ 1]))]
                if way == "repeat":
                    return [frame, frame]
        return [frame]

    world.cable(phone).incoming = tamper
    offer = await offered(bob)
    joined = await phone.call("link.join", url=offer["url"])
    assert (await failure(phone, joined)).code == "link_ended"
    assert (await failure(bob, offer)).code == "link_ended"
    assert is_clean(phone)
    assert all(bob.app.node.device not in body and phone.app.node.device not in body for body in seen)


async def test_nothing_comes_of_a_device_that_nobody_said_yes_to(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    phone = await world.machine("phone")
    offer, joined = await both_have_words(bob, phone)
    await trio.sleep(700)
    for machine, attempt in ((bob, offer), (phone, joined)):
        assert await machine.refusal("link.wait", id=attempt["id"]) in ("link_ended", "not_found")
    assert is_clean(phone)


async def test_a_command_that_went_away_takes_its_attempt_along(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    phone = await world.machine("phone")
    offer = await offered(bob)
    await trio.sleep(45)
    assert await bob.refusal("link.wait", id=offer["id"]) == "link_ended"
    late = await phone.call("link.join", url=offer["url"])
    assert (await failure(phone, late)).code == "link_unknown"


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_a_daemon_that_ends_while_the_words_are_shown_leaves_nothing_that_works(world: World, how: str) -> None:
    _, bob = await world.mesh("ann", "bob")
    phone = await world.machine("phone")
    offer, _ = await both_have_words(bob, phone)
    await (phone.crash() if how == "killed" else phone.stop())
    await phone.start()
    assert (await failure(bob, offer)).code == "link_ended"
    await world.until(lambda: phone.mesh().row.trouble == "link_ended", what="it is said")
    status = (await phone.call("mesh.list"))["meshes"]
    assert [row["state"] for row in status] == ["failed"]


async def test_a_device_that_was_signed_in_as_its_daemon_died_finds_itself_in(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    phone = await world.machine("phone")
    offer, _ = await both_have_words(bob, phone)
    world.cable(phone).incoming = _silent
    await bob.call("link.confirm", id=offer["id"], same=True)
    await phone.crash()
    world.cable(phone).incoming = lambda frame: [frame]
    await phone.start()
    await world.until(lambda: phone.mesh().active, 120, "it is in")
    assert phone.mesh().row.me == "bob"


def _silent(frame: bytes) -> list[bytes]:
    match decode(split_message(frame).header):
        case [2, *_]:
            return []
    return [frame]


async def test_a_lost_connection_after_the_yes_still_ends_inside(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    phone = await world.machine("phone")
    offer, joined = await both_have_words(bob, phone)
    world.cable(phone).incoming = _silent
    await bob.call("link.confirm", id=offer["id"], same=True)
    world.cable(phone).incoming = lambda frame: [frame]
    await world.cable(phone).cut()
    await world.until(lambda: _is_in(phone), what="it found itself in")
    assert (await step(phone, joined, wait_s=0))["state"] == "done"


async def test_a_host_that_dies_before_it_said_yes_has_signed_the_new_device_in_all_the_same(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    phone = await world.machine("phone")
    offer, joined = await both_have_words(bob, phone)
    world.cable(bob).outgoing = _without("meet.say")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_confirm_until_killed, bob, offer)
        await world.until(lambda: ann.mesh().state.is_active(phone.app.node.device), what="it is signed in")
        await bob.crash()
    await world.until(lambda: _is_in(phone), what="it found itself in")
    assert (await step(phone, joined, "words", 30))["state"] in ("entering", "done")
    sent = await phone.send("ann", "in, without a yes")
    await phone.until_state(sent, "stored")


async def _confirm_until_killed(machine: Machine, offer: Answer) -> None:
    with contextlib.suppress(LinkClosed, MeshError):
        await machine.call("link.confirm", id=offer["id"], same=True)


async def test_two_attempts_in_two_meshes_at_once_do_not_disturb_each_other(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    phone, tablet = await world.machine("phone"), await world.machine("tablet")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link, ann, phone)
        nursery.start_soon(link, bob, tablet)
    for machine, host in ((phone, ann), (tablet, bob)):
        assert machine.mesh().row.member == host.mesh().row.member


async def test_a_new_link_followed_while_an_older_one_is_waited_on_takes_its_place(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    phone = await world.machine("phone")
    _, older = await both_have_words(ann, phone)
    await link(bob, phone)
    assert (await failure(phone, older)).code == "link_ended"
    assert phone.mesh().row.member == bob.mesh().row.member
    await phone.restart()
    await phone.until_online()


async def _is_in(phone: Machine) -> bool:
    return bool(phone.app.node.meshes) and phone.mesh().active


async def test_a_new_attempt_takes_the_place_of_the_one_before(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    phone = await world.machine("phone")
    first = await offered(bob)
    await link(bob, phone)
    assert await bob.refusal("link.wait", id=first["id"]) == "link_ended"
    late = await (await world.machine("late")).call("link.join", url=first["url"])
    assert (await failure(world.machines["late"], late)).code == "link_unknown"


async def test_a_device_that_was_revoked_is_not_linked_again(world: World) -> None:
    _, bob = await world.mesh("ann", "bob")
    phone = await world.machine("phone")
    await link(bob, phone)
    await bob.call("device.revoke", device=phone.app.node.device.hex())
    await phone.call("mesh.leave", forget=True)
    offer = await offered(bob)
    await phone.call("link.join", url=offer["url"])
    assert "taken out of the mesh for good" in (await failure(bob, offer)).message
    assert is_clean(phone)
