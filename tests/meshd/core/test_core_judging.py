"""What becomes of an arrived envelope: every verdict, and that judging changes nothing."""

from dataclasses import replace
from types import MappingProxyType

import pytest

from mesh_protocol.ids import DeviceId, MemberId, MeshId
from mesh_protocol.tip import TipRef
from world.letters import judge, letter, post, seal, stranger_prekey
from world.machine import Machine
from world.world import World


def verdict(reader: Machine, envelope: bytes) -> tuple[str, str]:
    found = judge(reader, envelope)
    return found.kind, found.why


async def test_an_honest_message_is_taken(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    found = judge(bob, seal(ann, bob, letter(ann, bob)))
    assert found.kind == "take"
    assert found.signed is not None
    assert found.signed.message.content == b"by hand"


@pytest.mark.parametrize("garbage", [b"", b"\x00" * 400, b"\xff" * 10_000, b"\x0c" + bytes(7) + b"x" * 300])
async def test_what_is_no_envelope_is_dropped(world: World, garbage: bytes) -> None:
    _, bob = await world.mesh("ann", "bob")
    assert verdict(bob, garbage)[0] == "drop"


async def test_what_is_for_another_machine_or_mesh_is_dropped(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    assert verdict(eve, seal(ann, bob, letter(ann, bob))) == ("drop", "not for this device and mesh")
    elsewhere = replace(bob.mesh(), row=bob.mesh().row._replace(mesh=MeshId(bytes(32))))
    assert bob.app.inbox.judge(elsewhere, seal(ann, bob, letter(ann, bob))).kind == "drop"


async def test_what_was_committed_is_seen_whatever_its_attempt(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    message = letter(ann, bob)
    await post(ann, seal(ann, bob, message))
    assert await bob.read(wait_s=5) == ["by hand"]
    assert verdict(bob, seal(ann, bob, message, attempt=2))[0] == "seen"
    assert verdict(bob, seal(ann, bob, replace(message, content=b"other")))[0] == "seen"
    await bob.restart()
    assert verdict(bob, seal(ann, bob, message))[0] == "seen"


async def test_a_device_that_the_chain_does_not_list_waits_for_a_newer_chain(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    envelope = seal(eve, bob, letter(eve, bob))
    mesh = bob.mesh()
    state = mesh.state
    known = {device: entry for device, entry in state.devices.items() if device != eve.app.node.device}
    older = replace(mesh, chain=replace(state, devices=MappingProxyType(known)))
    assert bob.app.inbox.judge(older, envelope).kind == "wait"
    assert judge(bob, envelope).kind == "take"
    assert judge(bob, seal(ann, bob, letter(ann, bob))).kind == "take"


async def test_a_revoked_device_is_dropped(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    state = bob.mesh().state
    gone = {**state.devices, ann.app.node.device: replace(state.devices[ann.app.node.device], active=False)}
    later = replace(bob.mesh(), chain=replace(state, devices=MappingProxyType(gone)))
    assert bob.app.inbox.judge(later, seal(ann, bob, letter(ann, bob))).kind == "drop"


async def test_a_prekey_that_is_not_here_any_more_is_bounced(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    envelope = seal(ann, bob, letter(ann, bob), to=stranger_prekey(bob, 99))
    assert verdict(bob, envelope) == ("bounce", "prekey_gone")


async def test_what_does_not_open_is_bounced(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    assert verdict(bob, seal(ann, bob, letter(ann, bob), to=stranger_prekey(bob, 1))) == ("bounce", "unreadable")
    broken = bytearray(seal(ann, bob, letter(ann, bob)))
    broken[-1] ^= 1
    assert verdict(bob, bytes(broken)) == ("bounce", "unreadable")


async def test_a_member_that_the_device_does_not_belong_to_is_dropped(world: World) -> None:
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    stolen = letter(ann, bob, from_member=eve.mesh().row.member)
    assert verdict(bob, seal(ann, bob, stolen))[0] == "drop"
    nobody = letter(ann, bob, from_member=MemberId(bytes(16)))
    assert verdict(bob, seal(ann, bob, nobody))[0] == "drop"


async def test_what_is_meant_for_another_member_is_dropped(world: World) -> None:
    """Surreptitious forwarding: what ann wrote to eve, sealed by eve to bob, does not even open as ann's."""
    ann, bob, eve = await world.mesh("ann", "bob", "eve")
    assert verdict(bob, seal(ann, bob, letter(ann, bob, to_member=eve.mesh().row.member)))[0] == "drop"


async def test_a_newer_chain_is_waited_for_and_another_history_is_a_fork(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    seq = len(bob.mesh().hashes)
    ahead = TipRef(seq + 1, b"n" * 32, seq + 1, b"l" * 32)
    assert verdict(bob, seal(ann, bob, letter(ann, bob, tip=ahead)))[0] == "wait"
    for place in (1, seq):
        other = TipRef(place, b"o" * 32, place, b"l" * 32)
        assert verdict(bob, seal(ann, bob, letter(ann, bob, tip=other)))[0] == "fork"
    older = TipRef(1, bob.mesh().hashes[0], 1, b"l" * 32)
    assert verdict(bob, seal(ann, bob, letter(ann, bob, tip=older)))[0] == "take", "who is behind is believed"
    silent = TipRef(0, bytes(32), 0, bytes(32))
    assert verdict(bob, seal(ann, bob, letter(ann, bob, tip=silent)))[0] == "take"


async def test_judging_changes_nothing(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    envelope = seal(ann, bob, letter(ann, bob))
    commits = bob.app.node.db.commits
    for _ in range(3):
        assert judge(bob, envelope).kind == "take"
    assert bob.app.node.db.commits == commits
    assert bob.mesh().streams.get(DeviceId(ann.app.node.device)) is None


async def test_a_kind_of_a_newer_version_is_noted_and_shown_to_nobody(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    message = letter(ann, bob, kind="hologram", content=b"?")
    await post(ann, seal(ann, bob, message))
    await world.until(lambda: judge(bob, seal(ann, bob, message)).kind == "seen", what="it was committed")
    assert await bob.read(all=True) == []


async def test_a_receipt_that_cannot_be_read_is_noted_and_harms_nobody(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    sent = await ann.send("bob", "hello", wait="stored")
    message = letter(bob, ann, kind="receipt", content=b"garbage", content_type="")
    await post(bob, seal(bob, ann, message))
    await world.until(lambda: judge(ann, seal(bob, ann, message)).kind == "seen", what="it was committed")
    assert (await ann.progress(sent))["state"] == "stored"


async def test_a_text_that_is_not_utf_8_is_shown_with_its_faults_marked(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await post(ann, seal(ann, bob, letter(ann, bob, content=b"caf\xe9")))
    assert await bob.read(wait_s=5) == ["caf\ufffd"]


async def test_an_odd_creation_time_is_shown_and_not_refused(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    await post(ann, seal(ann, bob, letter(ann, bob, created_ms=5)))
    (row,) = (await bob.call("inbox.read", wait_s=5))["messages"]
    assert row["created_ms"] == 5


async def test_what_a_session_was_told_reaches_it_although_the_link_broke_at_the_commit(world: World) -> None:
    ann, bob = await world.mesh("ann", "bob")
    web = await bob.claude("web")
    await ann.until_knows("bob/web")
    bob.disk.hold()
    await ann.send("bob/web", "hello", wait="accepted")
    await world.settle()
    world.cable(bob).down = True
    await world.cable(bob).cut()
    await world.settle()
    bob.disk.release()
    await world.until(lambda: web.seen, what="the session saw it")
    world.cable(bob).down = False
    await bob.until_online()
    await world.settle(5)
    assert len(web.seen) == 1
