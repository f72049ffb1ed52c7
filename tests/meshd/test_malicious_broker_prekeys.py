"""A broker that hands out no one-time prekey: messages go to the signed one, and none too old."""

from trio.testing import MockClock

from core_kit.core import until
from core_kit.liar import Said
from core_kit.town import Town
from mesh_protocol.envelope import parse_outer
from mesh_protocol.pae import lst
from mesh_protocol.prekeys import is_onetime
from mesh_protocol.wire.items import unpack_items


async def test_a_broker_that_starves_a_sender_of_one_time_prekeys_does_not_stop_him(
    town: Town, autojump_clock: MockClock
) -> None:
    alice, bob, liar = town.cores["alice"], town.cores["bob"], town.liars["alice"]
    asked: list[int] = []
    sent: list[bytes] = []

    def starve(said: Said) -> list[Said]:
        if not said.is_answer_to("prekey.take"):
            return [said]
        signed = unpack_items(said.body)[: said.value["count"]]
        asked.append(said.value["onetime"])
        return [said.with_value(onetime=0).changed(body=lst(*signed))]

    def note(said: Said) -> list[Said]:
        if said.is_call("mail.send"):
            sent.append(said.body)
        return [said]

    liar.down, liar.up = starve, note
    shelf = alice.mesh().shelf
    shelf.take(bob.app.node.device)
    alice.mesh().peer_prekeys.clear()
    await alice.send("bob", "there is always a key")
    assert asked
    assert await bob.texts() == ["there is always a key"]
    assert sent
    assert not is_onetime(parse_outer(sent[0]).prekey_id)
    await until(lambda: alice.mesh().link.value == "online", "still online")
    assert alice.mesh().alarm == ""
    assert not alice.failures
