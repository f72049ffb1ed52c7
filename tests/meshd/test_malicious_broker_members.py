"""A broker that hides a removal, keeps the removed in, or lets somebody in twice."""

from trio.testing import MockClock

from core_kit.core import Core, until
from core_kit.forgery import own_envelope
from core_kit.liar import Said, honest
from core_kit.town import Town
from mesh_protocol.seals import MeshKeys, check_epoch_keys, seal_keys
from mesh_protocol.wire.items import pack_items


async def _with_carol(town: Town) -> tuple[Core, Core, Core]:
    alice, bob, carol = town.cores["alice"], town.cores["bob"], await town.settle("carol")
    await town.join(alice, carol, "team")
    await until(lambda: bob.mesh().state.seq == alice.mesh().state.seq, "bob knows carol")
    await until(lambda: carol.app.board.online_count(carol.mesh()) == 2, "all know each other")
    return alice, bob, carol


async def test_a_removal_that_is_hidden_from_one_member_stops_him_when_he_hears_from_another(
    town: Town, autojump_clock: MockClock
) -> None:
    """In the dark he goes on writing to the removed: until a message of one who knows reaches him."""
    alice, bob, carol = await _with_carol(town)
    liar = town.liars["bob"]
    liar.down = lambda said: [] if said.is_news("tip") else [said]
    await alice.call("member.remove", peer="carol", mesh="team", wait_s=0)
    assert bob.mesh().state.is_active(carol.app.node.device)
    await alice.call("message.send", "carol is out", to="bob", mesh="team")
    await until(lambda: bob.mesh().alarm, "bob's alarm", 120)
    assert "carol is out" not in await bob.texts()
    liar.down = honest
    await liar.cut()
    await bob.until_online()
    assert not bob.mesh().state.is_active(carol.app.node.device)
    await until(lambda: not bob.mesh().doubts.authors, "what alice wrote")
    assert "carol is out" in await bob.texts()
    assert not bob.failures


async def test_what_a_removed_device_writes_is_not_shown_though_the_broker_delivers_it(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, bob, carol = await _with_carol(town)
    late = own_envelope(carol, bob, "I am still here")
    await alice.call("member.remove", peer="carol", mesh="team", wait_s=0)
    await until(lambda: not bob.mesh().state.is_active(carol.app.node.device), "bob knows")
    await town.liars["bob"].news("mail", late, mesh=bob.mesh().id, mseq=bob.mesh().heard_mseq + 50)
    await alice.send("bob", "all is well")
    assert await bob.texts() == ["all is well"]
    assert not bob.failures


async def test_a_key_that_the_broker_seals_in_place_of_the_new_epochs_is_not_taken(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, bob, _ = await _with_carol(town)
    forged: list[bytes] = []

    def lie(said: Said) -> list[Said]:
        if not said.is_answer_to("seals.read"):
            return [said]
        mesh = bob.mesh()
        assert mesh.prekey is not None
        assert mesh.keys is not None
        keys = MeshKeys(mesh.keys.name_key, {2: bytes(32)})
        forged.append(seal_keys(mesh.id, 2, mesh.prekey, keys, mesh.tip).encode())
        return [said.with_value(count=1).changed(body=pack_items([forged[-1]]))]

    town.liars["bob"].down = lie
    await alice.call("member.remove", peer="carol", mesh="team", wait_s=0)
    await until(lambda: forged, "the broker's key")
    await until(lambda: bob.mesh().state.epoch >= 2, "bob knows of the epoch")
    assert bob.mesh().keys is not None
    assert bytes(32) not in bob.mesh().keys.epochs.values()  # type: ignore[union-attr]
    town.liars["bob"].down = honest
    await town.liars["bob"].cut()
    await until(lambda: bob.mesh().state.epoch in bob.mesh().keys.epochs, "the true key")  # type: ignore[union-attr]
    check_epoch_keys(bob.mesh().state, bob.mesh().keys)  # type: ignore[arg-type]
    assert not bob.failures


async def test_a_request_to_join_that_the_broker_repeats_lets_nobody_in_a_second_time(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, liar = town.cores["alice"], town.liars["alice"]
    kept: list[Said] = []

    def note(said: Said) -> list[Said]:
        if said.is_news("join_request"):
            kept.append(said)
        return [said]

    liar.down = note
    _, bob, carol = await _with_carol(town)
    assert kept
    await alice.call("member.remove", peer="carol", mesh="team", wait_s=0)
    before = alice.mesh().state.seq
    for number, said in enumerate(kept):
        await liar.news("join_request", said.body, mesh=alice.mesh().id, id=9000 + number)
    await bob.send("alice", "did you hear a knock?")
    assert alice.mesh().state.seq == before
    assert not alice.mesh().state.is_active(carol.app.node.device)
    assert not alice.failures
